"""Entries of finetune and evaluate: their own values, and the defaults that they share."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from vills.config.checks import ConfigError
from vills.config.load import (
    WIDTH,
    WRITTEN_OUT,
    list_profiles,
    load_params,
    load_profile,
    render_params,
    save_params,
)
from vills.pipeline import STAGES
from vills.runner.plan.nodes import build_steps
from vills.runner.work.stage import load_stage

MINIATURE = ("market1501", "market1501_20", "prcc", "mars")


def build_sections(folder: Path) -> dict[str, Any]:
    return {step.name: step.sections for step in build_steps(load_params(folder))}


def edit(path: Path, key: str, value: object) -> None:
    """Set a dotted key of a params.yaml; None removes it."""
    content = yaml.safe_load(path.read_text())
    *parents, name = key.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[name] = value
    if value is None:
        del section[name]
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.slow
@pytest.mark.parametrize("profile", list_profiles())
def test_a_file_says_of_an_entry_what_is_its_own(profile: str) -> None:
    text = render_params(load_profile(profile), profile=profile)
    assert max(map(len, text.splitlines())) <= WIDTH
    content = yaml.safe_load(text)
    for table in ("finetune", "evaluate"):
        for entry in content[table].values():
            assert {"source", "model"} - {"model" if table == "finetune" else ""} <= entry.keys()
            own = {key: entry[key] for key in entry if key not in WRITTEN_OUT}
            assert all(content[f"{table}_defaults"][key] != own[key] for key in own)


@pytest.mark.slow
@pytest.mark.parametrize("profile", list_profiles())
def test_full_entries_without_defaults_are_the_same_parameters(
    profile: str, tmp_path: Path
) -> None:
    params = load_profile(profile)
    content = {"defaults": ["schema", "_self_"], **asdict(params)}
    for table in ("finetune", "evaluate"):
        del content[f"{table}_defaults"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    full = load_params(tmp_path)
    assert (full.finetune, full.evaluate) == (params.finetune, params.evaluate)
    assert build_steps(full) == build_steps(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("finetune_defaults.lr", 0.5, [f"finetune@{name}" for name in MINIATURE]),
        ("finetune_defaults.epochs", 14, ["finetune@market1501"]),
        ("finetune_defaults.num_ids", 9, [f"finetune@{name}" for name in MINIATURE[:3]]),
        ("finetune_defaults.lr_of", {}, [f"finetune@{name}" for name in MINIATURE]),
        ("finetune.prcc.lr_of", {}, ["finetune@prcc"]),
        ("finetune.prcc.epochs", None, ["finetune@prcc"]),
        ("evaluate_defaults.num_frames", 4, ["market1501", "market1501_20", "prcc", "ltcc"]),
    ],
)
def test_a_default_changes_the_entries_that_leave_it_open(
    tmp_path: Path, key: str, value: object, changed: list[str]
) -> None:
    path = save_params(tmp_path, profile="miniature")
    before = build_sections(tmp_path)
    edit(path, key, value)
    after = build_sections(tmp_path)
    differ = [name for name in before if before[name] != after[name]]
    # scores depend on the fine-tuning whose models they are of; the report on all
    stage = key.partition("_")[0].partition(".")[0]
    own = [name for name in differ if name.startswith(f"{stage}@")]
    assert own == [name if "@" in name else f"{stage}@{name}" for name in changed]
    assert {name.partition("@")[0] for name in differ} <= {stage, "evaluate", "report"}
    assert list(before) == list(after)


def test_the_command_line_reaches_defaults_entries_and_tables_in_them() -> None:
    finetune = load_profile(
        "miniature",
        [
            "finetune_defaults.lr=0.5",
            "finetune.mars.lr=0.25",
            "+finetune.mars.lr_of.pretrained=0.125",
            "finetune.prcc.lr_of.scratch=2",
            "~finetune.market1501_20.lr_of.scratch",
            "+finetune.new={source: mars, lr_of: {}}",
        ],
    ).finetune
    assert [entry.lr for entry in finetune.values()] == [0.5, 0.5, 0.5, 0.25, 0.5]
    assert [entry.lr_of for entry in finetune.values()] == [
        {"scratch": 0.001},
        {},
        {"scratch": 2.0},
        {"scratch": 0.001, "pretrained": 0.125},
        {},
    ]
    finetune["prcc"].lr_of["scratch"] = 3.0
    assert finetune["market1501"].lr_of == {"scratch": 0.001}, "two entries share one table"


@pytest.mark.slow
def test_an_entry_may_train_fewer_starts_than_the_defaults_have_rates_for() -> None:
    alone = load_profile("miniature", ["finetune.mars.initialisations=[pretrained]"])
    assert alone.finetune["mars"].lr_of == {"scratch": 0.001}
    with pytest.raises(ConfigError, match="lr_of key = 'scratched' is not allowed"):
        load_profile("miniature", ["+finetune.mars.lr_of.scratched=0.1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (
            "finetune_defaults.epoch=3",
            ["Did you mean finetune_defaults.epochs?", "epochs, num_ids"],
        ),
        ("finetune.mars.epoch=3", ["Did you mean finetune.mars.epochs?", "epochs, num_ids"]),
        ("+evaluate_defaults.rank=3", ["evaluate_defaults.rank is not a parameter", "ranks, fars"]),
        (
            "finetune_defaults.epochs=0",
            ["finetune_defaults.epochs = 0", "1 to 100000", "What to do"],
        ),
        ("finetune_defaults.lr=fast", ["finetune_defaults.lr", "fast", "a number", "What to do"]),
        ("finetune.mars.lr_of=null", ["finetune.mars.lr_of has no value", "{}", "What to do"]),
        ("finetune_defaults=null", ["finetune_defaults has no value", "{}", "What to do"]),
        ("~finetune_defaults.lr", ["finetune_defaults.lr is a field", "What to do"]),
        ("finetune_defaults.lr=???", ["finetune_defaults.lr has no value", "What to do"]),
        ("pretrain.seed=???", ["pretrain.seed has no value", "Allowed", "What to do"]),
        ("finetune.mars.lr=null", ["finetune.mars.lr has no value", "What to do"]),
    ],
)
def test_what_is_wrong_in_defaults_or_entries_is_refused(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile("miniature", [override])
    for part in parts:
        assert part in str(caught.value)


def test_no_run_is_named_after_the_defaults() -> None:
    for name in STAGES:
        assert not any("_defaults" in section for section in load_stage(name).sections)
