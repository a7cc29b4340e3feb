"""Probes of a running pre-training: what they leave, what they must not touch, what they cost."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.ddp import run_ranks
from tests.train.conftest import load_pretrain_data
from tests.train.synthetic import build_config
from tests.train.test_initial import build_initial
from tests.train.test_pretrain import read
from vills.config.checks import ConfigError
from vills.config.load import load_profile
from vills.config.params import OperationConfig
from vills.config.pretrain import PretrainConfig, ProbeConfig
from vills.data.pretrain_sources import PretrainData
from vills.data.probe_crops import build_probe_crops, sample_people
from vills.data.reid import ReidData, load_reid_data
from vills.models.backbone import Backbone
from vills.pipeline import StageContext
from vills.pipeline.pretrain import STAGE
from vills.runner.store.journal import Journal
from vills.train.pretrain import Pretraining, run_pretrain
from vills.train.probe import PretrainProbe

pytestmark = pytest.mark.slow

STEPS = 5
ROLES = ["all", "coarse", "head", "lower_body", "upper_body"]
VALUES = ["camera", "effective_rank", "knn", "lda_knn", "lda_map", "map"]


def build_probed(source: str = "people", **changes: Any) -> PretrainConfig:
    probe = ProbeConfig(every_steps=2, source=source, **changes)
    return build_config(max_steps=STEPS, probe=probe)


@pytest.fixture(scope="module")
def labelled(curated: Path) -> ReidData:
    return load_reid_data(curated / "curated" / "people")


def run(
    config: PretrainConfig,
    data: PretrainData,
    folder: Path,
    *,
    people: ReidData | None = None,
    initial: Path | None = None,
    checkpoint_steps: int = 0,
) -> None:
    run_pretrain(
        config,
        data=data,
        work=folder / "work",
        out=folder / "out",
        journal=Journal(folder / "journal.jsonl"),
        guard=lambda: None,
        initial=initial,
        people=people,
        checkpoint_steps=checkpoint_steps,
    )


def load_health(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "out" / "health.json").read_text())
    return content


@pytest.fixture(scope="module")
def probed(
    pretrain_data: PretrainData, labelled: ReidData, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("probed")
    torch.set_num_threads(1)
    run(build_probed(), pretrain_data, folder, people=labelled)
    return folder


def test_probes_change_nothing_but_what_they_say(
    pretrain_data: PretrainData, probed: Path, tmp_path: Path
) -> None:
    run(build_config(max_steps=STEPS), pretrain_data, tmp_path)
    plain, asked = read(tmp_path), read(probed)
    quiet = [
        (step, rest)
        for step, metrics in asked.pop("journal")
        if (rest := {k: v for k, v in metrics.items() if not k.startswith("probe/")})
    ]
    assert quiet == plain.pop("journal")
    assert load_health(probed).pop("probe")
    asked.pop("health.json")
    health = load_health(probed)
    del health["probe"]
    assert health == json.loads(plain.pop("health.json"))
    assert asked == plain


def test_journal_and_health_hold_every_network_role_and_value(probed: Path) -> None:
    rows: dict[int, dict[str, float]] = {}
    for step, metrics in read(probed)["journal"]:
        found = {k.removeprefix("probe/"): v for k, v in metrics.items() if k.startswith("probe/")}
        if found:
            assert step not in rows
            rows[step] = found
    trained = [f"{net}/{r}/{v}" for net in ("student", "teacher") for r in ROLES for v in VALUES]
    fresh = [f"untrained/{r}/{v}" for r in ROLES for v in VALUES]
    assert sorted(rows) == [0, 2, 4, STEPS]
    assert sorted(rows[0]) == sorted([*trained, *fresh, *(f"pixels/all/{v}" for v in VALUES)])
    assert all(sorted(rows[step]) == trained for step in (2, 4, STEPS))
    report = load_health(probed)["probe"]
    assert (report["start"], report["end"]) == (rows[0], rows[STEPS])
    assert (report["source"], report["crops"], report["people"], report["cameras"]) == (
        "people",
        12,
        4,
        2,
    )
    assert report["widths"] == {**dict.fromkeys(ROLES, 32), "all": 128, "pixels": 384}
    for name in fresh:
        role = name.removeprefix("untrained")
        assert rows[0][name] == rows[0][f"teacher{role}"] == rows[0][f"student{role}"]
    assert rows[STEPS]["student/all/effective_rank"] != rows[0]["student/all/effective_rank"]
    assert rows[STEPS]["student/all/effective_rank"] != rows[STEPS]["teacher/all/effective_rank"]


@pytest.mark.parametrize("kill_at", [1, 2, 4, STEPS])
def test_killed_and_resumed_is_bit_identical(
    pretrain_data: PretrainData,
    labelled: ReidData,
    probed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kill_at: int,
) -> None:
    """Death after the probe of a step: before its checkpoint, and at the end after it."""
    commit = Pretraining.commit_if_due

    def die(self: Pretraining, *args: Any, **kwargs: Any) -> None:
        if self.step == kill_at == STEPS:
            commit(self, *args, **kwargs)
        if self.step == kill_at:
            raise KeyboardInterrupt
        commit(self, *args, **kwargs)

    config = build_probed()
    with monkeypatch.context() as patch:
        patch.setattr(Pretraining, "commit_if_due", die)
        with pytest.raises(KeyboardInterrupt):
            run(config, pretrain_data, tmp_path, people=labelled, checkpoint_steps=3)
    run(config, pretrain_data, tmp_path, people=labelled, checkpoint_steps=3)
    assert read(tmp_path) == read(probed)


def test_cost_is_two_forwards_a_probe_and_pixels_are_read_once(
    pretrain_data: PretrainData,
    labelled: ReidData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode, load = PretrainProbe._encode, PretrainProbe._load
    asked: list[bool] = []
    loaded: list[bool] = []

    def count(self: PretrainProbe, backbone: Backbone) -> Any:
        backbone.encoder.train(), backbone.resampler.eval()  # any mode, to be found again
        modes = [module.training for module in backbone.modules()]
        buffers = {name: value.clone() for name, value in backbone.named_buffers()}
        rng = torch.get_rng_state()
        tokens = encode(self, backbone)
        assert [module.training for module in backbone.modules()] == modes
        assert all(torch.equal(buffers[name], x) for name, x in backbone.named_buffers())
        assert torch.equal(torch.get_rng_state(), rng)
        asked.append(True)
        backbone.train()
        return tokens

    def note(self: PretrainProbe) -> Any:
        if self._pixels is None:
            loaded.append(True)
        return load(self)

    monkeypatch.setattr(PretrainProbe, "_encode", count)
    monkeypatch.setattr(PretrainProbe, "_load", note)
    run(build_probed(), pretrain_data, tmp_path, people=labelled)
    assert len(asked) == 1 + 2 * 3  # the start, then teacher and student at 2, 4 and 5
    assert len(loaded) == 1


def test_tracklets_are_asked_where_no_source_is_named(
    pretrain_data: PretrainData, tmp_path: Path
) -> None:
    run(build_probed(""), pretrain_data, tmp_path)
    report = load_health(tmp_path)["probe"]
    assert (report["source"], report["crops"], report["people"], report["cameras"]) == (
        "",
        18,
        9,
        9,
    )
    # nine videos of one tracklet each: no scene is in both halves
    assert {name.rsplit("/", 1)[1] for name in report["end"]} == {*VALUES} - {"camera"}


@pytest.mark.parametrize("floor", [0.0, 1e6])
def test_a_low_rank_warns_once_in_log_and_health(
    pretrain_data: PretrainData,
    labelled: ReidData,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    floor: float,
) -> None:
    with caplog.at_level(logging.WARNING, logger="vills.train.probe"):
        run(build_probed(min_rank=floor), pretrain_data, tmp_path, people=labelled)
    said = [r.getMessage() for r in caplog.records if r.name == "vills.train.probe"]
    assert said == load_health(tmp_path)["probe"]["warnings"]
    assert len(said) == (1 if floor else 0)
    if floor:
        assert "teacher" in said[0]
        assert "student" in said[0]
        assert "pretrain.probe.min_rank = 1e+06" in said[0]
        assert "What to do:" in said[0]


def test_untrained_is_random_where_a_run_starts_from_a_file(
    pretrain_data: PretrainData, labelled: ReidData, probed: Path, tmp_path: Path
) -> None:
    config, path = build_initial(tmp_path)
    config = replace(config, max_steps=1, probe=build_probed().probe)
    run(config, pretrain_data, tmp_path / "file", people=labelled, initial=path)
    plain = replace(config, initial=build_config().initial)
    run(plain, pretrain_data, tmp_path / "plain", people=labelled)
    start, random = (load_health(tmp_path / name)["probe"]["start"] for name in ("file", "plain"))
    for name in start:
        if name.startswith(("untrained", "pixels")):
            assert start[name] == random[name]
    assert start["teacher/all/effective_rank"] == start["student/all/effective_rank"]
    assert start["teacher/all/effective_rank"] != start["untrained/all/effective_rank"]


def test_the_stage_reads_the_named_source_and_publishes_last_values(
    curated: Path, probed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    context = StageContext(
        item="",
        sections={"pretrain": build_probed()},
        operation=OperationConfig(),
        inputs={name: curated / name for name in ("lse", "curated")},
        work=tmp_path / "work",
        outs={
            "pretrain": out / "pretrain",
            "metrics": out / "metrics.json",
            "plots": out / "plots.csv",
        },
        journal=Journal(tmp_path / "journal.jsonl"),
        guard=lambda: None,
        progress=lambda text, done, total: None,
        fingerprint="f",
    )
    STAGE.run(context)
    report = json.loads((out / "pretrain" / "health.json").read_text())["probe"]
    assert report["start"] == load_health(probed)["probe"]["start"]
    metrics = json.loads((out / "metrics.json").read_text())["probe"]
    assert metrics == {
        f"{net}/{value}": report[when][f"{net}/all/{value}"]
        for net, when in [("pixels", "start"), ("untrained", "start")]
        + [("student", "end"), ("teacher", "end")]
        for value in VALUES
    }


def run_rank(root: str, folder: str) -> None:
    """One rank of a run under ZeRO-3."""
    run(
        replace(build_probed(), zero_stage=3),
        load_pretrain_data(Path(root)),
        Path(folder),
        people=load_reid_data(Path(root) / "curated" / "people"),
    )


def test_two_ranks_with_split_weights_say_what_one_says(
    curated: Path, probed: Path, tmp_path: Path
) -> None:
    run_ranks(run_rank, 2, str(curated), str(tmp_path))
    found = load_health(tmp_path)["probe"]
    expected = load_health(probed)["probe"]
    assert found["start"] == expected["start"]
    assert found["end"].keys() == expected["end"].keys()
    ranks = [name for name in found["end"] if name.endswith("effective_rank")]
    for name in ranks:
        assert found["end"][name] == pytest.approx(expected["end"][name], rel=1e-2)


def test_whole_people_in_two_cameras_are_drawn_alike_every_time() -> None:
    rng = np.random.default_rng(0)
    pids = rng.integers(40, size=900)
    camids = rng.integers(-1, 6, size=900)
    camids[pids == 5] = 2  # in one camera
    rows = sample_people(pids, camids, num_samples=100)
    assert np.array_equal(rows, sample_people(pids, camids, num_samples=100))
    assert np.array_equal(rows, np.unique(rows))
    assert 92 < len(rows) <= 100
    assert (camids[rows] >= 0).all()
    assert 5 not in pids[rows]
    for pid in np.unique(pids[rows]):
        own = rows[pids[rows] == pid]
        known = (pids == pid) & (camids >= 0)
        assert len(own) == min(8, known.sum())
        counts = np.unique(camids[own], return_counts=True)[1]
        assert len(counts) == len(np.unique(camids[known]))  # spread over all its cameras
    assert len(sample_people(pids, camids, num_samples=10_000)) == sum(
        min(8, ((pids == pid) & (camids >= 0)).sum()) for pid in np.unique(pids) if pid != 5
    )


def test_crops_and_labels_belong_together(pretrain_data: PretrainData, labelled: ReidData) -> None:
    crops = build_probe_crops(build_probed(), data=pretrain_data, people=labelled)
    assert crops is not None
    assert crops.pids.tolist() == labelled.train.column("pid").tolist()
    assert crops.views.tolist() == labelled.train.column("camid").tolist()
    assert crops.load([64, 32]).shape == (12, 3, 64, 32)
    crops = build_probe_crops(build_probed(""), data=pretrain_data, people=None)
    assert crops is not None
    pixels = crops.load([64, 32]).astype(int)
    assert crops.views.tolist() == [0, 1] * 9
    first = pixels[crops.views == 0]
    for number, rows in enumerate(pretrain_data.tracklets_of):
        (place,) = np.flatnonzero(crops.cameras[crops.views == 0] == number)
        expected = pretrain_data.clips.read(int(rows[0]), 0).transpose(2, 0, 1)
        assert np.array_equal(first[place], expected)
        last = pretrain_data.clips.num_frames(int(rows[0])) - 1
        expected = pretrain_data.clips.read(int(rows[0]), last).transpose(2, 0, 1)
        assert np.array_equal(pixels[2 * place + 1], expected)
    assert build_probe_crops(build_config(), data=pretrain_data, people=None) is None


def test_what_cannot_be_asked_is_refused(pretrain_data: PretrainData, labelled: ReidData) -> None:
    few = replace(labelled, train=labelled.train.where(pid=[3, 7, 8]))
    with pytest.raises(ConfigError, match=r"'people' is not allowed: it has 3 people.*at least 4"):
        build_probe_crops(build_probed(), data=pretrain_data, people=few)
    still = load_profile("tiny").pretrain
    with pytest.raises(ConfigError, match=r"no pretrain\.probe\.source"):
        replace(still, modalities="image", alignment_weight=0, probe=ProbeConfig(every_steps=5))
    with pytest.raises(ConfigError, match=r"pretrain\.probe\.num_samples = 31"):
        ProbeConfig(num_samples=31)
    with pytest.raises(ConfigError, match=r"pretrain\.probe\.source = 'luperson'.*market1501"):
        load_profile("tiny", ["pretrain.probe.source=luperson"])
    assert load_profile("tiny", ["pretrain.probe.source=market1501"]).pretrain.probe.source
