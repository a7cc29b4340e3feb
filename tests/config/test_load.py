import os
import re
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.load import (
    has_hand_edits,
    list_profiles,
    load_params,
    load_profile,
    render_params,
    save_params,
)


@pytest.mark.slow
@pytest.mark.parametrize("profile", list_profiles())
def test_every_profile_survives_being_written_and_read(profile: str, tmp_path: Path) -> None:
    path = save_params(tmp_path, profile=profile)
    assert load_params(tmp_path) == load_profile(profile)
    assert not has_hand_edits(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (
            "seed: 0",
            "sead: 0",
            ["line 10, column 3", "sead", "Did you mean miniature.seed?", "What to do"],
        ),
        (
            "depth: 4",
            "depth: deep",
            ["pretrain.model.depth", "deep", "whole number", "line LINE,", "What to do"],
        ),
        ("depth: 4", "depth: 0", ["model.depth = 0", "Allowed: 1 to 256", "What to do"]),
        ("zero_stage: 1", "zero_stage: 5", ["pretrain.zero_stage = 5", "0, 1, 2, 3"]),
        ("areas: [upper_body,", "areas: [arms,", ["'arms'", "upper_body, lower_body, head"]),
        ("num_heads: 4", "num_heads: 5", ["num_heads = 5", "divisor"]),
        ("protocols: [market1501]", "protocols: [mars]", ["evaluate.market1501.protocols", "mars"]),
        ("protocol: prcc_cloth_changing", "protocol: sigset", ["finetune.prcc.protocol", "layout"]),
        ("onnx_weights: ''", "onnx_weights: a.onnx", ["onnx_weights = 'a.onnx'", "baselines"]),
        ("masking_weight: 0.0", "masking_weight: .nan", ["masking_weight = nan", "What to do"]),
        ("defaults: [schema, _self_]", "", ["cannot be checked", "defaults"]),
    ],
)
def test_bad_params_are_refused(old: str, new: str, parts: list[str], tmp_path: Path) -> None:
    path = save_params(tmp_path, profile="miniature")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_params(tmp_path)
    line = text[: text.index(old)].count("\n") + 1
    for part in parts:
        assert part.replace("LINE", str(line)) in str(caught.value)


def test_without_params_the_error_says_how_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="vills configure profile=miniature"):
        load_params(tmp_path)


@pytest.mark.slow
def test_hand_edits_are_kept_without_force(tmp_path: Path) -> None:
    path = save_params(tmp_path, profile="tiny", overrides=["pretrain.seed=7"])
    assert load_params(tmp_path).pretrain.seed == 7
    edited = path.read_text().replace("seed: 7", "seed: 8")
    path.write_text(edited)
    with pytest.raises(ConfigError, match="edited by hand"):
        save_params(tmp_path, profile="tiny")
    assert path.read_text() == edited
    save_params(tmp_path, profile="tiny", force=True)
    assert load_params(tmp_path).pretrain.seed == 0


def test_comments_and_spelling_of_numbers_are_no_hand_edits() -> None:
    text = render_params(load_profile("tiny"), profile="tiny")
    assert not has_hand_edits(text.replace("# The embedded world.", "# Mine."))
    assert has_hand_edits(text.replace("image_batch: 6", "image_batch: 4"))


def test_hardest_pairs_need_pairs() -> None:
    with pytest.raises(ConfigError, match=r"alignment_pairs = 'hardest'.*Allowed: all"):
        load_profile("tiny", ["pretrain.alignment=index", "pretrain.alignment_pairs=hardest"])
    load_profile("tiny", ["pretrain.reading=literal", "pretrain.alignment_pairs=hardest"])


def test_alignment_needs_videos() -> None:
    with pytest.raises(ConfigError, match="alignment_weight"):
        load_profile("tiny", ["pretrain.modalities=image"])
    load_profile("tiny", ["pretrain.modalities=image", "pretrain.alignment_weight=0"])


def test_a_dataset_without_source_is_refused(tmp_path: Path) -> None:
    path = save_params(tmp_path, profile="tiny")
    path.write_text(path.read_text().replace("finetune:", "finetune:\n  duke: {modality: image}"))
    with pytest.raises(ConfigError, match=r"finetune\.duke has no source 'duke'\. Allowed: "):
        load_params(tmp_path)


@pytest.mark.slow
def test_two_entries_may_have_one_source() -> None:
    few = "+finetune.few={source: market1501, protocol: market1501}"
    params = load_profile("tiny", [few, "+evaluate.few={source: market1501}"])
    assert params.finetune["market1501"].source == "market1501"
    assert (params.evaluate["few"].source, params.evaluate["few"].model) == ("market1501", "few")
    for field, wrong, message in (
        ("finetune", "{source: duke}", r"finetune\.new has no source 'duke'\. .*new\.source"),
        ("evaluate", "{source: duke, model: mars}", r"evaluate\.new has no source 'duke'"),
        ("finetune", "{source: mars, protocol: ltcc_standard}", r"new\.protocol = 'ltcc_stand"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_profile("tiny", [f"+{field}.new={wrong}"])
    entry = {"a/b": FinetuneConfig(source="market1501")}
    with pytest.raises(ConfigError, match="finetune key = 'a/b'"):
        replace(params, finetune=entry, evaluate={})


def test_paper_profiles_take_the_documented_recipes() -> None:
    text = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    recipes: dict[str, dict[str, Any]] = {}
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        for name, fields in yaml.safe_load(block).items():
            recipes.setdefault(name, fields)
    finetune = load_profile("paper_vitb").finetune
    assert list(finetune) == list(recipes)
    for name, fields in recipes.items():
        assert {key: getattr(finetune[name], key) for key in fields} == fields


@pytest.mark.slow
def test_a_changed_file_is_read_again_and_nobody_shares_what_was_loaded(tmp_path: Path) -> None:
    path = save_params(tmp_path, profile="miniature")
    first = load_params(tmp_path)
    first.pretrain.seed = 7
    assert load_params(tmp_path).pretrain.seed == 0
    assert load_params(tmp_path, ["pretrain.seed=5"]).pretrain.seed == 5
    stat = path.stat()
    path.write_text(path.read_text().replace("video_batch: 16", "video_batch: 24"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load_params(tmp_path).pretrain.video_batch == 24


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "new"),
    [
        ("curate.max_corrupt_share", "operation.max_corrupt_share"),
        ("lse.max_corrupt_share", "operation.max_corrupt_share"),
        ("pretrain.checkpoint_minutes", "operation.checkpoint_minutes"),
        ("pretrain.checkpoint_steps", "operation.checkpoint_steps"),
        ("finetune.mars.checkpoint_minutes", "operation.checkpoint_minutes"),
        ("evaluate.mars.block_size", "operation.block_size"),
        ("curate.lost_track_buffer", "curate.lost_track_seconds"),
        ("curate.frame_step", "curate.frames_per_second"),
        ("curate.min_length", "curate.min_seconds"),
        ("curate.max_length", "curate.max_seconds"),
    ],
)
def test_a_former_name_is_refused_with_the_new_one(key: str, new: str, tmp_path: Path) -> None:
    path = save_params(tmp_path, profile="tiny")
    *parents, name = key.split(".")
    content = yaml.safe_load(path.read_text())
    section = content
    for parent in parents:
        section = section[parent]
    section[name] = 1
    said = rf"{key} is now called {new},.*Allowed: {new}.*What to do: set {new} and remove {key}"
    for override in (f"{key}=1", f"+{key}=1"):
        with pytest.raises(ConfigError, match=said):
            load_profile("tiny", [override])
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError, match=said):
        load_params(tmp_path)
    assert attrgetter(new)(load_profile("tiny", [f"{new}=1"])) == 1


def test_a_stage_whose_outs_are_read_cannot_be_switched_off() -> None:
    for override, field in (
        ("pretrain.enabled=false", r"finetune\.market1501\.initialisations"),
        ("lse.enabled=false", r"pretrain\.areas"),
    ):
        with pytest.raises(ConfigError, match=rf"enabled = False .*Allowed: true, since .*{field}"):
            load_profile("tiny", [override])
