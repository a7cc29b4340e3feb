"""A mixed sigset from curated folder to files: images and tracklets, two galleries."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ddp import run_ranks
from tests.evaluation.curated import make_crop, write_entries
from tests.evaluation.networks import SIZE, make_backbone, make_reid
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.data.images import encode_jpeg
from vills.data.records import load_manifest
from vills.data.reid import load_reid_data
from vills.evaluation.accuracy import compute_accuracy
from vills.evaluation.baselines import ModelRow, StripeHistogram
from vills.evaluation.entries import load_test_sets
from vills.evaluation.evaluate import run_evaluation

CONFIG = EvaluateConfig(
    protocols=["sigset"], num_frames=2, fars=[0.2, 0.0001], ranks=[1], bootstrap=5, rerank=True
)
MODELS = [
    ModelRow("histogram", StripeHistogram),
    ModelRow("pretrained", make_backbone),
    ModelRow("finetuned", lambda: make_reid("mixed"), keep_features=True),
    ModelRow("scratch", lambda: make_reid("image", seed=1), keep_features=True),
]


def write_sigset(folder: Path) -> None:
    """Probes of one medium; galleries 1 (people 1 to 3) and 2 (4 to 6) of an image and a video."""

    def encode(pid: int, camid: int, num: int) -> list[bytes]:
        return [encode_jpeg(make_crop(pid, camid, frame), 95) for frame in range(num)]

    media = [
        ("train", pid, camid, encode(pid, camid, 1 + camid)) for pid in (20, 21) for camid in (0, 1)
    ]
    media += [("query", pid, 0, encode(pid, 0, 1 + 2 * (pid % 2))) for pid in range(1, 7)]
    media += [("gallery", pid, 1, encode(pid, 1, num)) for pid in range(1, 7) for num in (1, 3)]
    write_entries(folder, media, modality="mixed")
    manifest = load_manifest(folder / "manifest.parquet")
    rows = []
    for split in ("query", "gallery"):
        part = manifest.where(split=split)
        for pid in range(1, 7):
            names = [str(name) for name in part.where(pid=pid).column("record_id")]
            group = "probe" if split == "query" else f"gallery_{1 + (pid > 3)}"
            rows.append({"group": group, "name": f"{split}{pid}", "pid": pid, "record_ids": names})
    rows.append({"group": "probe", "name": "lost", "pid": 1, "record_ids": []})
    pq.write_table(pa.Table.from_pylist(rows), folder / "entries.parquet")


def evaluate_on_rank(folder: str, out: str) -> list[dict[str, Any]]:
    results = run_evaluation(
        CONFIG,
        splits=load_test_sets(Path(folder), split_ids=[0]),
        models=MODELS,
        input_size=SIZE,
        out=Path(out),
        work=Path(out + "_work"),
    )
    assert results["left_out"] == []
    return list(results["rows"])


def read_all(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_all_models_score_both_galleries_in_one_process_and_two(tmp_path: Path) -> None:
    write_sigset(tmp_path / "set")
    rows = evaluate_on_rank(str(tmp_path / "set"), str(tmp_path / "one"))
    assert [(row["row"], row["rerank"], row["gallery_group"]) for row in rows] == [
        (model.name, rerank, group)
        for model in MODELS
        for rerank in ("off", "on")
        for group in ("gallery_1", "gallery_2", "mean of gallery_1, gallery_2")
    ]
    first = rows[0]
    assert (first["queries"], first["valid_queries"], first["failed_probes"]) == (7, 4, 1)
    assert (first["gallery"], first["genuine_pairs"], first["impostor_pairs"]) == (3, 4, 15)
    assert first["TAR@0.0001"] is None
    assert first["R-1"] == pytest.approx(3 / 4)  # colour finds everyone but the lost one
    names = sorted(read_all(tmp_path / "one"))
    assert names == [
        "finetuned_images_after-neck_mean.parquet",
        "finetuned_sigset.parquet",
        "finetuned_tracklets_after-neck_mean.parquet",
        "histogram_sigset.parquet",
        "per_query.parquet",
        "pretrained_sigset.parquet",
        "results.json",
        "scratch_images_after-neck_mean.parquet",
        "scratch_sigset.parquet",
        "scratch_tracklets_after-neck_mean.parquet",
    ]
    by_kind = {(row["row"], row["rerank"], row["gallery_group"]): row for row in rows}
    for (name, rerank, group), row in by_kind.items():
        assert ("minus_scratch_people" in row) == (name == "finetuned")
        if name == "finetuned":
            other = by_kind["scratch", rerank, group]
            assert row["minus_scratch_people"] == (6 if str(group).startswith("mean") else 3)
            for metric in ("mAP", "R-1"):
                gap = row[metric] - other[metric]
                assert row[f"minus_scratch_{metric}"] == pytest.approx(gap, abs=1e-12)
    both = run_ranks(evaluate_on_rank, 2, str(tmp_path / "set"), str(tmp_path / "two"))
    assert both == [rows, rows]
    # features differ in their last bits with the number of threads
    assert sorted(read_all(tmp_path / "two")) == names


def test_accuracy_of_a_sigset_is_the_mean_over_galleries(tmp_path: Path) -> None:
    write_sigset(tmp_path / "set")
    rows = evaluate_on_rank(str(tmp_path / "set"), str(tmp_path / "one"))
    config = FinetuneConfig(
        modality="mixed", num_frames=2, input_size=list(SIZE), protocol="sigset"
    )
    data = load_reid_data(tmp_path / "set", modality="mixed")
    accuracy = compute_accuracy(make_reid("mixed"), data=data, config=config)
    ours = [row for row in rows if row["row"] == "finetuned" and row["rerank"] == "off"]
    assert accuracy["mAP"] == ours[-1]["mAP"]
    assert accuracy["R-1"] == ours[-1]["R-1"]
