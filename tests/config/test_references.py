"""A run is what its files say: what they would take from elsewhere, DVC does not see: refused."""

import re
from pathlib import Path

import pytest

from vills.config.checks import ConfigError
from vills.config.load import load_params, load_profile, save_params
from vills.config.resources import load_resources
from vills.config.sweep import load_sweep

SWEEPS = Path(__file__).parents[2] / "sweeps"
ELSEWHERE = (
    "${oc.env:SEED}",
    "${oc.env:SEED,0}",
    "${oc.decode:${oc.env:SEED}}",
    "${oc.create:0}",
    "${hydra:runtime.cwd}",
    "${pretrain.seed}",
    "${.seed}",
    "'${miniature.seed}'",
    "a${oc.env:SEED}b",
)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_params(tmp_path_factory.mktemp("written"), profile="tiny").read_text()


@pytest.mark.parametrize("value", ELSEWHERE)
@pytest.mark.parametrize("field", ["seed: 0", "detector_weights: ''"])
def test_a_value_from_elsewhere_is_refused(
    value: str, field: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "7")
    assert field in text
    new = f"{field.partition(':')[0]}: {value}"
    (tmp_path / "params.yaml").write_text(text.replace(field, new, 1))
    said = rf"line \d+.*{re.escape(value[1:-1])}.*refers to a value elsewhere.*What to do: write"
    with pytest.raises(ConfigError, match=said):
        load_params(tmp_path)


@pytest.mark.parametrize(
    "defaults",
    [
        "[schema, other, _self_]",
        "[schema, _self_, other]",
        "[schema, _self_, optional other]",
        "[schema, _self_, other@finetune]",
        "[schema, _self_, ../other]",
        "[schema, '${oc.env:OTHER}', _self_]",
        "[schema, _self_, {other: x}]",
        "[_self_, schema]",
        "[schema]",
        "[]",
        "schema",
    ],
)
def test_params_yaml_names_no_other_file(
    defaults: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER", "other")
    (tmp_path / "other.yaml").write_text("pretrain: {seed: 7}\n")
    (tmp_path / "schema.yaml").write_text("pretrain: {seed: 7}\n")
    path = tmp_path / "params.yaml"
    path.write_text(text)
    assert load_params(tmp_path).pretrain.seed == 0
    path.write_text(text.replace("defaults: [schema, _self_]", f"defaults: {defaults}"))
    with pytest.raises(ConfigError, match=r"params\.yaml.*defaults.*Allowed: .*What to do: "):
        load_params(tmp_path)


@pytest.mark.parametrize(
    "section", ["hydra: {searchpath: [file:///tmp]}", "_target_: os.system", "_recursive_: true"]
)
def test_sections_of_hydra_are_no_parameters(section: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(f"# @package other\n{text}{section}\n")
    with pytest.raises(ConfigError, match="is not a parameter"):
        load_params(tmp_path)


@pytest.mark.parametrize("value", ["${oc.env:SEED}", "${pretrain.seed}", "'${pretrain.seed}'"])
def test_words_and_sweeps_take_nothing_from_elsewhere(value: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="refers to a value elsewhere"):
        load_profile("tiny", [f"miniature.seed={value}"])
    file = tmp_path / "mine.yaml"
    file.write_text(f'defaults: [main, _self_]\ntitle: "{value}"\n')
    with pytest.raises(ConfigError, match="refers to a value elsewhere"):
        load_sweep(str(file), folder=SWEEPS)


def test_lines_of_a_shell_keep_what_is_the_shells(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    file = tmp_path / "slurm/pretrain.yaml"
    line = "export TORCH_HOME=${SCRATCH}/torch"
    file.write_text(f"setup: ['{line}']\n")
    assert load_resources(tmp_path, "pretrain").setup == [line]
    word = f"slurm.pretrain.setup=['{line}']"
    assert load_resources(tmp_path, "pretrain", [word]).setup == [line]
    for field in ("environment", "extra"):
        file.write_text(f"{field}: {{a: '${{oc.env:HOME}}'}}\n")
        with pytest.raises(ConfigError, match="refers to a value elsewhere"):
            load_resources(tmp_path, "pretrain")


def test_what_yaml_repeats_itself_is_seen_by_dvc_too(text: str, tmp_path: Path) -> None:
    from ruamel.yaml import YAML

    both = text.replace("seed: 0", "seed: &seed 3", 1)
    head, tail = both.split("\npretrain:", 1)
    (tmp_path / "params.yaml").write_text(
        head + "\npretrain:" + tail.replace("seed: 0", "seed: *seed", 1)
    )
    read = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())  # as DVC does
    assert load_params(tmp_path).pretrain.seed == read["pretrain"]["seed"] == 3
