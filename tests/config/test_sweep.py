"""What a sweep is: the paper's points and tables, and files that are refused."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vills.config.checks import ConfigError
from vills.config.load import load_profile
from vills.config.params import Params
from vills.config.sweep import (
    ColumnConfig,
    PointConfig,
    SweepConfig,
    TableConfig,
    find_sweep,
    list_sweeps,
    load_sweep,
    parse_overrides,
)

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SWEEPS = ROOT / "sweeps"
PAPER = ["areas", "components", "lambda_grid", "main"]
OWN = ["converged", "label_efficiency"]
WEIGHTS = ("feature", "masking", "koleo", "alignment")
SHARED = (
    ("lambda_grid", "alignment_2", "components", "perceiver"),
    ("lambda_grid", "alignment_2", "main", "joint"),
    ("areas", "ism", "main", "image_only"),
)


def build_params(sweep: str, point: str, *, base: tuple[str, ...] = ()) -> Params:
    return copy.deepcopy(compose_params(sweep, point, base))


@functools.cache
def compose_params(sweep: str, point: str, base: tuple[str, ...]) -> Params:
    return load_profile("paper_vits", [*base, *list_overrides(load_shipped(sweep), point)])


def list_overrides(sweep: SweepConfig, point: str) -> list[str]:
    return [*sweep.overrides, *sweep.points[point].overrides]


@functools.cache
def load_shipped(name: str) -> SweepConfig:
    return load_sweep(name, folder=SWEEPS)


def test_the_papers_sweeps_are_there_and_load_beside_params_in_any_order() -> None:
    assert list_sweeps(SWEEPS) == sorted([*PAPER, *OWN])
    for name in list_sweeps(SWEEPS):
        sweep = load_sweep(name, folder=SWEEPS)
        assert load_profile("tiny").pretrain.max_steps == 12
        assert load_sweep(name, folder=SWEEPS) == sweep
        assert sweep.command == f"python sweeps/launch.py {name}"


def test_lambda_grid_has_the_13_points_of_table_3() -> None:
    grid: list[tuple[float, ...]] = [(1, 0, 0, 0), (1, 1, 0, 0), (1, 2, 0, 0)]
    grid += [(1, 1, koleo, 0) for koleo in (0.1, 1, 3, 5, 10)]
    grid += [(1, 1, 3, alignment) for alignment in (0.5, 1, 2, 5, 10)]
    sweep = load_sweep("lambda_grid", folder=SWEEPS)
    found = []
    for name, point in sweep.points.items():
        pretrain = build_params("lambda_grid", name).pretrain
        weights = tuple(getattr(pretrain, f"{weight}_weight") for weight in WEIGHTS)
        found.append(weights)
        group = {"L^m": 1, "L^r": 2, "L^a": 3}[point.group]
        assert point.x == weights[group]
        assert set(point.published) == set(sweep.columns)
    assert found == grid
    assert sweep.list_evaluations("koleo_3") == ["market1501", "prid2011"]


def test_areas_are_nested_on_vanilla_and_segmenters_differ_alone() -> None:
    names = ("vanilla", "areas_1", "areas_2", "areas_3")
    points = [build_params("areas", name).pretrain for name in names]
    order = ["upper_body", "lower_body", "head"]
    assert [point.areas for point in points] == [order[:num] for num in range(4)]
    for point in points:
        assert (point.modalities, point.model.resampler) == ("image", False)
        assert [getattr(point, f"{name}_weight") for name in WEIGHTS] == [1, 0, 0, 0]
        point.areas = []
    assert points[0] == points[1] == points[2] == points[3]
    parsing, ism = (build_params("areas", name) for name in ("parsing", "ism"))
    assert (parsing.lse.segmenter, ism.lse.segmenter) == ("parsing", "sam")
    assert [getattr(ism.pretrain, f"{name}_weight") for name in WEIGHTS] == [1, 1, 3, 0]
    parsing.lse.segmenter = "sam"
    assert parsing == ism


def test_components_add_one_thing_at_a_time() -> None:
    names = ("image_only", "shared_encoder", "perceiver")
    points = [build_params("components", name).pretrain for name in names]
    assert [point.modalities for point in points] == ["image", "image+video", "image+video"]
    assert [point.model.resampler for point in points] == [False, False, True]
    points[1].model.resampler = True
    assert points[1] == points[2]


@pytest.mark.parametrize("shared", SHARED)
@pytest.mark.parametrize(
    "base",
    [
        (),
        ("pretrain.modalities=image", "pretrain.alignment_weight=0", "pretrain.koleo_weight=7"),
        ("pretrain.model.resampler=false", "pretrain.feature_weight=7", "pretrain.areas=[head]"),
    ],
)
def test_points_that_sweeps_share_are_equal_whatever_params_yaml_says(
    shared: tuple[str, str, str, str], base: tuple[str, ...]
) -> None:
    first = build_params(*shared[:2], base=base)
    assert first == build_params(*shared[2:], base=base)
    if shared[1] == "alignment_2":
        assert first == load_profile("paper_vits")


def test_no_two_points_of_a_sweep_are_one_run() -> None:
    for name in list_sweeps(SWEEPS):
        sweep = load_sweep(name, folder=SWEEPS)
        profile = "miniature" if name == "converged" else "paper_vits"
        points = [load_profile(profile, list_overrides(sweep, point)) for point in sweep.points]
        assert all(a != b for i, a in enumerate(points) for b in points[:i])


def test_tables_read_what_the_profiles_evaluate() -> None:
    for name in list_sweeps(SWEEPS):
        profiles = ("miniature",) if name == "converged" else ("paper_vits", "tiny_sets")
        for column in load_sweep(name, folder=SWEEPS).columns.values():
            for profile in profiles:
                evaluate = load_profile(profile).evaluate
                if column.evaluate in evaluate:
                    config = evaluate[column.evaluate]
                    assert column.protocol in config.protocols
                    fars = [f"TAR@{far:g}" for far in config.fars]
                    ranks = [f"R-{rank}" for rank in config.ranks]
                    assert column.metric in ("mAP", "minus_scratch_mAP", *ranks, *fars)
                else:
                    assert column.evaluate in ("briar2", "briar3")


def test_published_numbers_are_those_of_the_papers_tables() -> None:
    """Differences that the paper's text states, so that a slip of a digit shows."""
    main = load_sweep("main", folder=SWEEPS)
    joint, image = main.points["joint"].published, main.points["image_only"].published
    rows = {
        (key, row.label): row.published for key, t in main.tables.items() for row in t.references
    }
    said = [
        (joint["prcc_r1"] - rows["table1a", "CCFA"]["prcc_r1"], 1.5),
        (joint["market1501_map"] - rows["table1a", "MoCoV2"]["market1501_map"], 1.9),
        (image["prcc_map"] - rows["table1a", "Instruct-ReID *"]["prcc_map"], 2.7),
        (joint["prcc_r1"] - rows["table1a", "Instruct-ReID *"]["prcc_r1"], 8.5),
        (joint["prid2011_r1"] - rows["table1b", "SDCL"]["prid2011_r1"], 1.3),
        (joint["mars_map"] - rows["table1b", "SDCL"]["mars_map"], 0.8),
        (joint["video_prid2011_r1"] - rows["table1c", "CAViT"]["video_prid2011_r1"], 2.3),
        (joint["video_prid2011_map"] - joint["image_prid2011_map"], 0.7),
        (image["briar2_r1"] - rows["table1d", "PASS"]["briar2_r1"], 6.9),
        (image["briar3_tar_0_01"] - rows["table1d", "SOLIDER †"]["briar3_tar_0_01"], 2.9),
        (image["briar4_tar_0_1"] - rows["table1d", "SOLIDER †"]["briar4_tar_0_1"], 2.5),
    ]
    for found, stated in said:
        assert found == pytest.approx(stated)
    assert not [key for key in joint if "mars" in key and key not in ("mars_map", "mars_r1")]
    parts = load_sweep("components", folder=SWEEPS).points
    gain = parts["perceiver"].published["briar4_tar"] - parts["image_only"].published["briar4_tar"]
    assert gain == pytest.approx(5.1)


def test_label_efficiency_trains_every_budget_of_steps_on_its_own_schedule() -> None:
    batches = {5: 3, 10: 3, 20: 7, 60: 22}
    for name in load_sweep("label_efficiency", folder=SWEEPS).points:
        people, steps = (int(text.strip("peolst_")) for text in name.split("_"))
        changes = list_overrides(load_sweep("label_efficiency", folder=SWEEPS), name)
        entry = load_profile("miniature", changes).finetune["market1501"]
        assert entry.num_train_ids == people >= entry.num_ids
        assert abs(entry.epochs * batches[people] - steps) <= batches[people] / 2
        assert {"scratch", "pretrained"} <= set(entry.initialisations)


def test_headers_state_table_command_cost_and_source() -> None:
    for name in PAPER:
        head = (SWEEPS / f"{name}.yaml").read_text().split("\ndefaults")[0]
        assert f"python sweeps/launch.py {name}" in head
        for part in ("Table", "Command:", "Cost:", "GPU-hours", "Published:"):
            assert part in head


def test_overrides_are_split_by_their_first_part() -> None:
    own = ["seeds=[0,1]", "~points.ism", "+points.new.label=x", "title=T", "++tables.a.title=b"]
    params = [
        "profile=tiny",
        "pretrain.epochs=2",
        "+curate.sources.new={path: x}",
        "~finetune.mars",
    ]
    assert parse_overrides([*own, *params]) == (own, params)
    for stranger in ("sead=1", "lambda_grid", "hydra.run.dir=x", "pretrainn.epochs=1"):
        with pytest.raises(ConfigError, match=re.escape(repr(stranger))) as caught:
            parse_overrides([stranger])
        assert "seeds" in str(caught.value)
        assert "pretrain" in str(caught.value)


def test_overrides_change_a_sweep() -> None:
    overrides = ["seeds=[0,3]", "~points.ism", "points.vanilla.x=7", "+points.neu.label=y"]
    overrides += [
        "+points.new={label: x, overrides: ['pretrain.epochs=2', 'pretrain.areas=[head]']}"
    ]
    sweep = load_sweep("areas", folder=SWEEPS, overrides=overrides)
    assert sweep.seeds == [0, 3]
    assert list(sweep.points)[-3:] == ["parsing", "neu", "new"]
    assert sweep.points["vanilla"].x == 7
    assert sweep.points["new"] == PointConfig(
        "x", overrides=["pretrain.epochs=2", "pretrain.areas=[head]"]
    )


def test_the_readmes_own_files_load(tmp_path: Path) -> None:
    text = (SWEEPS / "README.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    for name, block in zip(("mine", "finer"), blocks, strict=True):
        (tmp_path / f"{name}.yaml").write_text(block)
    mine = load_sweep(str(tmp_path / "mine.yaml"), folder=SWEEPS)
    assert list(mine.points) == ["cold", "warm"]
    finer = load_sweep(str(tmp_path / "finer.yaml"), folder=SWEEPS, overrides=["seeds=[5]"])
    shipped = load_sweep("lambda_grid", folder=SWEEPS)
    assert list(finer.points) == [*shipped.points, "alignment_3"]
    assert finer.tables == shipped.tables
    for name in PAPER:
        assert f"| `{name}` | Table" in text
    assert all(f"| `{name}` |" in text for name in OWN)


def test_an_unknown_sweep_lists_those_that_exist(tmp_path: Path) -> None:
    for name in ("lambda", "areas.yaml", "../sweeps/areas"):
        with pytest.raises(ConfigError, match=", ".join(sorted([*PAPER, *OWN]))):
            load_sweep(name, folder=SWEEPS)
    with pytest.raises(ConfigError, match="Allowed: none"):
        find_sweep("areas", folder=tmp_path)
    (tmp_path / "My sweep.yaml").write_text("defaults: [lambda_grid]")
    with pytest.raises(ConfigError, match="letters a to z"):
        load_sweep(str(tmp_path / "My sweep.yaml"), folder=SWEEPS)


def make_sweep() -> dict[str, Any]:
    column = {"head": "M", "evaluate": "market1501", "protocol": "market1501", "metric": "mAP"}
    return {
        "defaults": ["sweep_schema", "_self_"],
        "title": "T",
        "command": "c",
        "cost": "none",
        "tables": {"one": {"title": "One", "columns": {"map": dict(column)}}},
        "points": {"a": {"label": "A"}, "b": {"label": "B", "overrides": ["pretrain.epochs=1"]}},
    }


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("+points.a.published={prid: 90}", ["points.a.published key = 'prid'", "Allowed: map"]),
        ("+points.a.published.map=190", ["points.a.published.map = 190", "0 to 100"]),
        ("points.a.overrides=[pretrain.epochs]", []),
        (
            "points.a.overrides=['pretrain.epochs=1']",
            ["points.b.overrides", "points.a has the same"],
        ),
        ("points.a.tables=[two]", ["points.a.tables entry = 'two'", "Allowed: one"]),
        ("seeds=[0,1,0]", ["seeds = [0, 1, 0]", "at most once"]),
        ("seeds=[-1]", ["seeds entry = -1", "0 to 2147483647"]),
        ("seeds=[x]", ["seeds", "whole number"]),
        (
            "+points.-b={label: x}",
            ["points key = '-b'", "letters a to z or A to Z, digits, _ and -"],
        ),
        (
            "+tables.two={title: T, columns: {map: "
            "{head: M, evaluate: m, protocol: market1501, metric: mAP}}}",
            ["'map'", "rename"],
        ),
        ("tables.one.columns.map.protocol=marke", ["'marke'", "market1501", "What to do"]),
        (
            "tables.one.columns.map.metric=map",
            ["tables.one.columns.map.metric = 'map'", "TAR@0.001"],
        ),
        ("tables.one.columns.map.heat=x", ["heat", "What to do"]),
        ("points.c.label=x", ["no entry 'c'", "+points.c"]),
        ("+point.c.label=x", ["point is not a field of a sweep", "points"]),
        ("~points.a.label", ["points", "label"]),
    ],
)
def test_bad_sweeps_are_refused(override: str, parts: list[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(make_sweep()))
    if not parts:
        assert load_sweep(str(path), folder=SWEEPS, overrides=[override]).points["a"].overrides
        return
    with pytest.raises(ConfigError) as caught:
        load_sweep(str(path), folder=SWEEPS, overrides=[override])
    for part in (*parts, "What to do"):
        assert part in str(caught.value)


@pytest.mark.parametrize("field", ["points", "tables"])
def test_a_sweep_without_points_or_tables_is_refused(field: str) -> None:
    column = ColumnConfig("M", "market1501", "market1501", "mAP")
    parts: dict[str, Any] = {
        "tables": {"one": TableConfig("One", {"map": column})},
        "points": {"a": PointConfig("A")},
    }
    assert SweepConfig("T", "c", "none", **parts).columns["map"].label == "mAP"
    with pytest.raises(ConfigError, match=f"{field} = {{}} .* 0 entries"):
        SweepConfig("T", "c", "none", **{**parts, field: {}})
    with pytest.raises(ConfigError, match=r"tables\.\*\.columns = {} .* 0 entries"):
        TableConfig("One", {})


def test_a_file_without_the_schema_is_not_taken(tmp_path: Path) -> None:
    content = make_sweep()
    del content["defaults"]
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match="`defaults` lack the schema.*sweep_schema"):
        load_sweep(str(path), folder=SWEEPS)


@pytest.mark.parametrize(
    ("defaults", "said"),
    [("[mine, _self_]", "lead back to it"), ("[nobody]", "Could not load 'nobody'. Allowed in")],
)
def test_defaults_that_lead_nowhere_are_refused(defaults: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"defaults: {defaults}\n")
    with pytest.raises(ConfigError, match=re.escape(said)):
        load_sweep(str(path), folder=SWEEPS)
