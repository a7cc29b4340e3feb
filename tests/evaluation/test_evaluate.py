"""The evaluate stage on a small data set, from curated folder to files."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ddp import run_ranks

from tests.evaluation.curated import NUM_PEOPLE, write_curated
from tests.evaluation.networks import SIZE, make_backbone, make_reid
from vills.config.checks import ConfigError
from vills.config.evaluate import AVERAGE_PRECISIONS, METRICS, EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.data.reid import load_reid_data
from vills.evaluation import distance, metrics
from vills.evaluation.accuracy import compute_accuracy
from vills.evaluation.baselines import build_baselines, build_untrained
from vills.evaluation.evaluate import evaluate_dataset
from vills.evaluation.histogram import StripeHistogram

VIDEO_CONFIG = {"protocols": ["video", "image_to_video"], "num_frames": 2, "ranks": [1, 5]}


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
    config = EvaluateConfig(ranks=[1, 5])
    models = {"finetuned": make_reid("image"), "histogram": StripeHistogram()}
    calls: list[tuple[str, int, int]] = []
    results = evaluate_dataset(
        config,
        data=data,
        models=models,
        input_size=SIZE,
        out=tmp_path / "out",
        progress=lambda *call: calls.append(call),
    )
    assert calls[-1] == ("histogram, image", 12, 12)
    assert "finetuned, image" in [label for label, _, _ in calls]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == results
    assert [(row["row"], row["protocol"]) for row in results["rows"]] == [
        ("finetuned", "image"),
        ("histogram", "image"),
    ]
    for row in results["rows"]:
        counts = (row["queries"], row["valid_queries"], row["gallery"])
        assert counts == (NUM_PEOPLE, NUM_PEOPLE, 2 * NUM_PEOPLE + 2)
        assert list(row)[2:6] == ["mAP", "R-1", "R-5", "mINP"]
        assert 0 < row["mAP"] <= 1
    table = pq.read_table(tmp_path / "out" / "ranking" / "histogram_image.parquet").to_pylist()
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


def test_video_and_image_to_video_files_are_the_same_bytes_twice(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(query_frame="random", baselines=["histogram"], **VIDEO_CONFIG)
    for name in ("a", "b"):
        models = {"fine tuned": make_reid("video"), "pretrained": make_backbone()}
        models |= build_baselines(config, reference=make_reid("video"))
        evaluate_dataset(config, data=data, models=models, input_size=SIZE, out=tmp_path / name)
    files = read_all(tmp_path / "a")
    assert files == read_all(tmp_path / "b")
    assert sorted(files) == [
        "features/fine-tuned_gallery_video.parquet",
        "features/fine-tuned_query_image.parquet",
        "features/fine-tuned_query_video.parquet",
        *(
            f"ranking/{row}_{protocol}.parquet"
            for row in ("fine-tuned", "histogram", "pretrained")
            for protocol in ("image_to_video", "video")
        ),
        "results.json",
    ]
    path = tmp_path / "a" / "ranking" / "fine-tuned_image_to_video.parquet"
    assert all(row["query_frame"] >= 0 for row in pq.read_table(path).to_pylist())
    features = pq.read_table(tmp_path / "a" / "features" / "fine-tuned_query_video.parquet")
    assert features.column("record_id").to_pylist() == sorted(data.query.column("record_id"))


@pytest.mark.parametrize(
    "change",
    [
        {"distance": "euclidean"},
        {"average_precision": "trapezoid"},
        {"gallery_with_queries": True},
        {"flip_test": True},
        {"num_frames": 3},
        {"query_frame": "middle"},
    ],
)
def test_no_parameter_is_inert(tmp_path: Path, change: dict[str, object]) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    files = {}
    for name, extra in (("a", {}), ("b", change)):
        config = EvaluateConfig(**{**VIDEO_CONFIG, **extra})
        models = {"finetuned": make_reid("video"), "mean": lambda crop: crop[:9].mean((0, 1))}
        evaluate_dataset(config, data=data, models=models, input_size=SIZE, out=tmp_path / name)
        files[name] = read_all(tmp_path / name)
    assert files["a"] != files["b"]


@pytest.mark.parametrize("change", [{"block_size": 2}, {"seed": 5}])
def test_what_must_not_change_scores_does_not(tmp_path: Path, change: dict[str, object]) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    models = {"finetuned": make_reid("video")}
    files = []
    for name, extra in (("a", {}), ("b", change)):
        config = EvaluateConfig(**{**VIDEO_CONFIG, **extra})
        evaluate_dataset(config, data=data, models=models, input_size=SIZE, out=tmp_path / name)
        files.append(read_all(tmp_path / name))
    assert files[0] == files[1]


def test_baselines_are_fresh_seeded_and_explained(tmp_path: Path) -> None:
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
    assert list(build_baselines(config, reference=reference, pretrained=make_backbone())) == [
        "pretrained",
        "untrained",
    ]
    with pytest.raises(ConfigError, match=r"'pretrained' has no model"):
        build_baselines(config, reference=reference)
    with pytest.raises(ConfigError, match=r"set evaluate.\*.onnx_weights"):
        build_baselines(EvaluateConfig(baselines=["onnx"]), reference=reference)


def test_a_protocol_of_the_wrong_modality_is_refused(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="image")
    with pytest.raises(ValueError, match=r"searches a gallery of tracklets.*Set|set evaluate"):
        evaluate_dataset(
            EvaluateConfig(protocols=["video"]),
            data=data,
            models={"histogram": StripeHistogram()},
            input_size=SIZE,
            out=tmp_path / "out",
        )


def score_on_rank(folder: str) -> dict[str, float]:
    model = make_reid("video").train()
    config = FinetuneConfig(modality="video", num_frames=2, input_size=list(SIZE))
    return compute_accuracy(
        model, data=load_reid_data(Path(folder), modality="video"), config=config, batch_size=6
    )


def test_accuracy_equals_the_stage_s_row_on_one_process_and_two(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(protocols=["video"], num_frames=2, ranks=[1, 5, 10], batch_size=6)
    results = evaluate_dataset(
        config,
        data=data,
        models={"finetuned": make_reid("video")},
        input_size=SIZE,
        out=tmp_path / "out",
    )
    (row,) = results["rows"]
    accuracy = score_on_rank(str(tmp_path / "set"))
    assert accuracy == {name: row[name] for name in ("mAP", "R-1", "R-5", "R-10")}
    assert run_ranks(score_on_rank, 2, str(tmp_path / "set")) == [accuracy, accuracy]


def test_colour_finds_people_of_one_colour_each(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(**VIDEO_CONFIG)

    def mean_colour(crop: np.ndarray) -> np.ndarray:
        return crop.reshape(4, -1, 3).mean(1).astype(np.float32).ravel()

    results = evaluate_dataset(
        config, data=data, models={"mean": mean_colour}, input_size=SIZE, out=tmp_path / "out"
    )
    assert [row["R-1"] for row in results["rows"]] == [1.0, 1.0]


def test_a_killed_attempt_goes_on_at_its_row_with_the_same_bytes(tmp_path: Path) -> None:
    data = write_curated(tmp_path / "set", modality="video")
    config = EvaluateConfig(gallery_with_queries=True, **VIDEO_CONFIG)
    asked: list[int] = []

    def mean_colour(crop: np.ndarray) -> np.ndarray:
        asked.append(1)
        return crop.mean((0, 1)).astype(np.float32)

    def evaluate(name: str, *, until: str = "") -> None:
        def kill(label: str, done: int, total: int) -> None:
            if label == until:
                raise KeyboardInterrupt

        evaluate_dataset(
            config,
            data=data,
            models={"mean": mean_colour, "finetuned": make_reid("video")},
            input_size=SIZE,
            out=tmp_path / name,
            work=tmp_path / f"{name}_work",
            progress=kill,
        )

    evaluate("whole")
    num_frames = len(asked)
    with pytest.raises(KeyboardInterrupt):
        evaluate("killed", until="finetuned, image_to_video")
    assert len(asked) == 2 * num_frames  # the baseline's rows were done
    assert not (tmp_path / "killed").exists()
    evaluate("killed")
    assert len(asked) == 2 * num_frames
    assert read_all(tmp_path / "killed") == read_all(tmp_path / "whole")
