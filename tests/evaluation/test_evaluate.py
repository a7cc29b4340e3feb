"""The evaluate stage on a small data set, from curated folder to files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.ddp import run_ranks
from tests.evaluation.curated import NUM_PEOPLE, write_curated
from tests.evaluation.networks import SIZE, make_backbone, make_reid
from vills.config.checks import ConfigError
from vills.config.evaluate import AVERAGE_PRECISIONS, METRICS, EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.data.feature_loading import DamagedRecordError
from vills.data.reid import ReidData, load_reid_data
from vills.evaluation import distance, metrics
from vills.evaluation.accuracy import check_accuracy, compute_accuracy
from vills.evaluation.baselines import (
    Model,
    ModelRow,
    StripeHistogram,
    build_baselines,
    build_untrained,
    check_names,
)
from vills.evaluation.entries import build_test_data
from vills.evaluation.evaluate import run_evaluation
from vills.evaluation.protocols import ProtocolError, Row

VIDEO_CONFIG: dict[str, Any] = {
    "protocols": ["video", "image_to_video"],
    "num_frames": 2,
    "ranks": [1, 5],
    "bootstrap": 20,
}


def evaluate(
    config: EvaluateConfig,
    data: ReidData,
    models: dict[str, Model],
    out: Path,
    **more: Any,
) -> list[Row]:
    """One split, models that are there already."""
    rows = [
        ModelRow(
            name,
            lambda model=model: model,  # type: ignore[misc]
            keep_features=name.startswith("fine"),
        )
        for name, model in models.items()
    ]
    return run_evaluation(
        config,
        splits={0: build_test_data(data)},
        models=rows,
        input_size=SIZE,
        out=out,
        **more,
    )["rows"]


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_config_and_code_name_the_same_choices() -> None:
    assert distance.METRICS == METRICS
    assert metrics.AVERAGE_PRECISIONS == AVERAGE_PRECISIONS


def test_image_rows_and_ranked_lists(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    config = EvaluateConfig(ranks=[1, 5], bootstrap=20)
    models: dict[str, Any] = {"finetuned": make_reid("image"), "histogram": StripeHistogram()}
    calls: list[tuple[str, int, int]] = []
    out = tmp_path / "out"
    rows = evaluate(config, data, models, out, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("histogram, image", 17, 17)  # query and gallery at once
    assert "finetuned, image" in [label for label, _, _ in calls]
    results = json.loads((out / "results.json").read_text())
    assert results == {"rows": rows, "left_out": [], "notes": []}
    assert [(row["row"], row["protocol"], row["neck"]) for row in rows] == [
        ("finetuned", "image", "after"),
        ("histogram", "image", "-"),
    ]
    for row in rows:
        counts = (row["queries"], row["valid_queries"], row["gallery"])
        assert counts == (NUM_PEOPLE, NUM_PEOPLE, 2 * NUM_PEOPLE + 2)
        assert " ".join(list(row)[2:]) == (
            "title ap distance neck flip pooling rerank mAP mAP_low mAP_high "
            "R-1 R-1_low R-1_high R-5 R-5_low R-5_high mINP queries valid_queries people "
            "gallery"
        )
        assert row["mAP_low"] <= row["mAP"] <= row["mAP_high"] <= 1
    table = pq.read_table(out / "ranking" / "histogram_image.parquet").to_pylist()
    first = [row for row in table if row["query_id"] == table[0]["query_id"]]
    assert [row["position"] for row in first] == list(range(len(first)))
    assert sum(row["verdict"] != "junk" for row in first) == 10
    assert {row["verdict"] for row in table} == {"right", "wrong", "junk"}
    assert all(row["query_frame"] == -1 for row in table)
    # One camera-0 entry of the query's own person is junk, the camera-1 entry is right.
    for row in table:
        same = row["gallery_id"].split("_")[1] == row["query_id"].split("_")[1]
        camera = row["gallery_id"].split("_")[2]
        expected = {"c0": "junk", "c1": "right"}[camera] if same else "wrong"
        assert row["verdict"] == expected


@pytest.mark.slow
def test_video_and_image_to_video_files_are_the_same_bytes_twice(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(query_frame="random", **VIDEO_CONFIG)
    for name in ("a", "b"):
        models: dict[str, Model] = {"fine tuned": make_reid("video")}
        models |= {"pretrained": make_backbone(), "histogram": StripeHistogram()}
        evaluate(config, data, models, tmp_path / name)
    files = read_all(tmp_path / "a")
    assert files == read_all(tmp_path / "b")
    assert sorted(files) == [
        "features/fine-tuned_frames_after-neck_mean.parquet",
        "features/fine-tuned_tracklets_after-neck_mean.parquet",
        "per_query.parquet",
        *(
            f"ranking/{row}_{protocol}.parquet"
            for row in ("fine-tuned", "histogram", "pretrained")
            for protocol in ("image_to_video", "video")
        ),
        "results.json",
    ]
    path = tmp_path / "a" / "ranking" / "fine-tuned_image_to_video.parquet"
    assert all(row["query_frame"] >= 0 for row in pq.read_table(path).to_pylist())
    features = pq.read_table(tmp_path / "a" / "features" / sorted(files)[1].split("/")[1])
    ids = features.column("record_id").to_pylist()
    assert ids == sorted(ids)
    assert set(data.query.column("record_id")) < set(ids)


def build_two() -> dict[str, Model]:
    return {"finetuned": make_reid("video"), "mean": lambda crop: crop[:9].mean((0, 1))}


@pytest.fixture(scope="module")
def usual(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[ReidData, list[Row], dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("usual")
    data = write_curated(folder / "set", modality="video")
    rows = evaluate(EvaluateConfig(**VIDEO_CONFIG), data, build_two(), folder / "out")
    return data, rows, read_all(folder / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"distance": "euclidean"},
        {"average_precision": "trapezoid"},
        {"flip": "on"},
        {"neck": "before"},
        {"pooling": "max"},
        {"roles": ["coarse"]},
        {"roles": ["temporal"], "protocols": ["video"]},
        {"num_frames": 3},
        {"sampling": "dense"},
        {"sampling": "evenly"},
        {"sampling": "begin"},
        {"query_frame": "middle"},
        {"rerank": True},
        {"bootstrap": 0},
        {"ranks": [1, 2]},
        {"seed": 3},
    ],
    ids=str,
)
def test_no_parameter_is_inert(
    tmp_path: Path, usual: tuple[ReidData, list[Row], dict[str, bytes]], change: dict[str, Any]
) -> None:
    data, rows, files = usual
    changed = evaluate(EvaluateConfig(**{**VIDEO_CONFIG, **change}), data, build_two(), tmp_path)
    assert changed != rows or read_all(tmp_path) != files
    for column, key in (("distance", "distance"), ("ap", "average_precision"), ("neck", "neck")):
        if key in change:
            assert changed[0][column] == change[key]
            assert changed[0]["title"] != rows[0]["title"]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "block_size"), [({}, 2), ({"batch_size": 6}, 1024)])
def test_what_must_not_change_scores_does_not(
    tmp_path: Path, change: dict[str, Any], block_size: int
) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    models: dict[str, Any] = {"finetuned": make_reid("video")}
    rows = [
        evaluate(
            EvaluateConfig(**{**VIDEO_CONFIG, **extra}),
            data,
            models,
            tmp_path / name,
            block_size=block,
        )
        for name, extra, block in (("a", {}, 1024), ("b", change, block_size))
    ]
    assert rows[0] == rows[1]


def test_baselines_are_fresh_seeded_and_explained() -> None:
    reference = make_reid("video")
    state = torch.random.get_rng_state()
    same, other = (build_untrained(reference, seed=seed) for seed in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    twin = build_untrained(reference, seed=0)
    for a, b, c in zip(same.parameters(), twin.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.shape == c.shape
    assert not torch.equal(same.backbone.resampler.queries, other.backbone.resampler.queries)
    config = EvaluateConfig(baselines=["pretrained", "untrained"])
    rows = build_baselines(config, load_reference=lambda: reference, load_pretrained=make_backbone)
    assert [row.name for row in rows] == ["pretrained", "untrained"]
    untrained: Any = rows[1].load()
    assert untrained.modality == "video"
    with pytest.raises(ConfigError, match=r"'pretrained' has no model"):
        build_baselines(config, load_reference=lambda: reference)
    with pytest.raises(ConfigError, match=r"set evaluate.\*.onnx_weights"):
        build_baselines(EvaluateConfig(baselines=["onnx"]), load_reference=lambda: reference)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    row = ModelRow("histogram", StripeHistogram)
    with pytest.raises(ConfigError, match="two models have the rows 'histogram' and 'histogram'"):
        run_evaluation(
            EvaluateConfig(),
            splits={0: build_test_data(data)},
            models=[row, row],
            input_size=SIZE,
            out=tmp_path / "out",
        )


@pytest.mark.parametrize(
    ("name", "splits"), [("histogram", (0,)), ("Histogram", (0, 1)), ("-histogram_", ())]
)
def test_two_models_of_one_file_name_are_refused(name: str, splits: tuple[int, ...]) -> None:
    """A published model's rows would else be those of the baseline that was scored before it."""
    other = ModelRow(name, StripeHistogram, splits)
    with pytest.raises(
        ConfigError, match=f"the rows 'histogram' and '{name}', which would be the same"
    ):
        check_names([ModelRow("histogram", StripeHistogram), other])
    check_names([ModelRow("histogram", StripeHistogram, (2,)), ModelRow(name, other.load, (3,))])


def test_a_protocol_of_the_wrong_modality_is_refused(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    config = EvaluateConfig(protocols=["video"])
    with pytest.raises(ProtocolError, match=r"needs a query of tracklets .* holds images.*What to"):
        evaluate(config, data, {"histogram": StripeHistogram()}, tmp_path / "out")


def test_what_cannot_be_scored_is_said_before_anything_is_described(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    calls: list[str] = []
    config = EvaluateConfig(protocols=["image", "prcc_cloth_changing"])
    with pytest.raises(ProtocolError, match="needs a query of camera 2"):
        evaluate(
            config,
            data,
            {"histogram": StripeHistogram()},
            tmp_path / "out",
            progress=lambda label, done, total: calls.append(label),
        )
    assert calls == []
    for protocol in ("ltcc_cloth_changing", "video", "sigset"):
        with pytest.raises(ProtocolError, match=f"'{protocol}' needs"):
            check_accuracy(data=data, config=FinetuneConfig(protocol=protocol))
    check_accuracy(data=data, config=FinetuneConfig())


def test_features_that_are_not_finite_are_named_by_record(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    model = make_reid("image")
    torch.nn.init.constant_(model.neck.weight, torch.nan)
    with pytest.raises(ProtocolError, match="5 query features are not finite .*: query_0001_c0"):
        evaluate(EvaluateConfig(), data, {"finetuned": model}, tmp_path / "out")


def test_a_damaged_shard_stops_the_stage_by_the_record_s_name(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    record = data.gallery[2]
    shard = tmp_path / "set" / record.shard
    content = bytearray(shard.read_bytes())
    content[record.offsets[0] : record.offsets[0] + record.lengths[0]] = bytes(record.lengths[0])
    shard.write_bytes(content)
    with pytest.raises(DamagedRecordError, match=f"record {record.record_id}, frame 0 cannot"):
        evaluate(EvaluateConfig(), data, {"finetuned": make_reid("image")}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_model_of_another_modality_scores(tmp_path: Path, kind: str) -> None:
    data = write_curated(tmp_path / "set", modality=kind)
    config = EvaluateConfig(protocols=[kind], num_frames=2, bootstrap=0)
    models: dict[str, Any] = {name: make_reid(name) for name in ("image", "video", "mixed")}
    rows = evaluate(config, data, models, tmp_path / "out")
    assert [row["valid_queries"] for row in rows] == [NUM_PEOPLE] * 3
    # a mixed model is a video model that was trained otherwise
    rankings = (tmp_path / "out" / "ranking").iterdir()
    assert len({path.read_bytes() for path in rankings}) == 2


def score_on_rank(folder: str, protocol: str, modality: str) -> dict[str, float]:
    model = make_reid("video").train()
    config = FinetuneConfig(
        modality=modality, num_frames=2, input_size=list(SIZE), protocol=protocol
    )
    data = load_reid_data(Path(folder), modality="video")
    return compute_accuracy(model, data=data, config=config, batch_size=6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "scored"),
    [("", "video"), ("video", "video"), ("mars", "mars"), ("image_to_video", "image_to_video")],
)
def test_accuracy_equals_the_stage_s_row(tmp_path: Path, protocol: str, scored: str) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(
        protocols=[scored], num_frames=2, ranks=[1, 5, 10], batch_size=6, bootstrap=0
    )
    (row,) = evaluate(config, data, {"finetuned": make_reid("video")}, tmp_path / "out")
    accuracy = score_on_rank(str(tmp_path / "set"), protocol, "video")
    assert accuracy == {name: row[name] for name in ("mAP", "R-1", "R-5", "R-10")}
    assert score_on_rank(str(tmp_path / "set"), protocol, "mixed") == accuracy


@pytest.mark.slow
def test_accuracy_is_the_same_on_two_processes(tmp_path: Path) -> None:
    write_curated(tmp_path / "set", modality="video")
    alone = score_on_rank(str(tmp_path / "set"), "", "video")
    both = run_ranks(score_on_rank, 2, str(tmp_path / "set"), "", "video")
    assert both == [alone, alone]


def test_colour_finds_people_of_one_colour_each(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")

    def mean_colour(crop: np.ndarray) -> np.ndarray:
        return crop.reshape(4, -1, 3).mean(1).astype(np.float32).ravel()

    rows = evaluate(EvaluateConfig(**VIDEO_CONFIG), data, {"mean": mean_colour}, tmp_path / "out")
    assert [row["R-1"] for row in rows] == [1.0, 1.0]


@pytest.mark.slow
def test_a_killed_attempt_goes_on_at_its_row_with_the_same_bytes(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(**{**VIDEO_CONFIG, "rerank": True})
    asked: list[int] = []

    def mean_colour(crop: np.ndarray) -> np.ndarray:
        asked.append(1)
        return crop.mean((0, 1)).astype(np.float32)

    def attempt(name: str, *, until: str = "") -> None:
        def kill(label: str, done: int, total: int) -> None:
            if label == until:
                raise KeyboardInterrupt

        evaluate(
            config,
            data,
            {"mean": mean_colour, "finetuned": make_reid("video")},
            tmp_path / name,
            work=tmp_path / f"{name}_work",
            progress=kill,
        )

    attempt("whole")
    num_frames = len(asked)
    with pytest.raises(KeyboardInterrupt):
        attempt("killed", until="finetuned, image_to_video")
    assert len(asked) == 2 * num_frames  # the baseline's rows were done
    assert not (tmp_path / "killed").exists()
    attempt("killed")
    assert len(asked) == 2 * num_frames
    assert read_all(tmp_path / "killed") == read_all(tmp_path / "whole")
