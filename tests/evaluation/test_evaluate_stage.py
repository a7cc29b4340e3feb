"""The stage itself: which model scores which split, means over splits, what is compared."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ddp import run_ranks
from tests.evaluation.curated import make_crop, write_entries
from tests.evaluation.networks import SIZE, make_backbone, make_reid
from vills.config.checks import ConfigError
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig, list_variants
from vills.config.params import OperationConfig, Params
from vills.data.images import encode_jpeg
from vills.evaluation.per_query import (
    compute_pooled_difference,
    load_pair,
    load_per_query,
    select_queries,
)
from vills.evaluation.rows import build_rows
from vills.models.weights import save_backbone, save_reid
from vills.pipeline import StageContext
from vills.pipeline.evaluate import STAGE, run, select_headlines, select_variants

PEOPLE = range(1, 9)
SPLITS = [
    {"train": [1, 2, 3, 4], "test": [5, 6, 7, 8]},
    {"train": [5, 6, 7, 8], "test": [1, 2, 3, 4]},
]


def write_prid(folder: Path) -> None:
    """Eight people, a tracklet of three frames in each of two cameras, two splits."""
    entries = [
        (
            "train" if pid in SPLITS[0]["train"] else ("query", "gallery")[camid],
            pid,
            camid,
            [encode_jpeg(make_crop(pid, camid, frame), 95) for frame in range(3)],
        )
        for pid in PEOPLE
        for camid in (0, 1)
    ]
    write_entries(folder, entries, modality="video")
    (folder / "splits.json").write_text(json.dumps(SPLITS))


def build_context(
    tmp_path: Path, item: str, config: EvaluateConfig, trained: FinetuneConfig
) -> StageContext:
    """A stage whose earlier stages have published small models."""
    for seed, variant in enumerate(list_variants(trained)):
        save_reid(make_reid("video", seed=seed), tmp_path / "finetune" / variant.name)
    save_backbone(make_backbone(), tmp_path / "pretrain" / "teacher")
    return describe_context(tmp_path, item, config, trained)


def describe_context(
    tmp_path: Path, item: str, config: EvaluateConfig, trained: FinetuneConfig
) -> StageContext:
    """The same, once they have published."""
    config.source = config.source or item
    trained.source = trained.source or config.model
    out = tmp_path / "out"
    return StageContext(
        item=item,
        sections={"evaluate": config, "finetune": trained},
        operation=OperationConfig(),
        inputs={name: tmp_path / name for name in ("curated", "finetune", "pretrain")},
        work=tmp_path / "work",
        outs={
            "evaluate": out / "evaluate",
            "metrics": out / "metrics.json",
            "plots": out / "plots.csv",
        },
        journal=None,
        guard=lambda: None,
        progress=lambda label, done, total: None,
        fingerprint="f",
    )


def run_stage(
    tmp_path: Path,
    item: str,
    *,
    splits: Sequence[int],
    model: str = "",
    source: str = "",
    trained_on: str = "",
    trained_splits: Sequence[int] = (0, 1),
    **more: Any,
) -> dict[str, Any]:
    if not (tmp_path / "curated").exists():
        write_prid(tmp_path / "curated" / (source or item))
    config = EvaluateConfig(
        source=source,
        model=model or item,
        protocols=["prid2011", "image_to_video"],
        split_ids=list(splits),
        baselines=["histogram", "untrained", "pretrained"],
        num_frames=2,
        bootstrap=5,
        **more,
    )
    trained = FinetuneConfig(
        source=trained_on,
        modality="video",
        input_size=list(SIZE),
        initialisations=["pretrained", "scratch"],
        split_ids=list(trained_splits),
    )
    context = build_context(tmp_path, item, config, trained)
    run(context)
    return {
        "rows": json.loads((tmp_path / "out/evaluate/results.json").read_text())["rows"],
        "metrics": json.loads((tmp_path / "out/metrics.json").read_text()),
        "plot": (tmp_path / "out/plots.csv").read_text().splitlines(),
    }


@pytest.mark.slow
def test_splits_of_one_set_by_their_own_models(tmp_path: Path) -> None:
    result = run_stage(tmp_path, "prid2011", splits=[0, 1])
    rows = result["rows"]
    assert [(row["row"], row["protocol"], row["split"]) for row in rows] == [
        (name, protocol, split)
        for name in ("histogram", "untrained", "pretrained", "scratch", "finetuned")
        for protocol in ("prid2011", "image_to_video")
        for split in (0, 1, "mean of 2")
    ]
    for first, second, mean in zip(rows[::3], rows[1::3], rows[2::3], strict=True):
        assert first["title"] == mean["title"]
        for name in ("mAP", "R-1", "mINP"):
            assert mean[name] == pytest.approx((first[name] + second[name]) / 2)
        assert mean["mAP_std"] == pytest.approx(abs(first["mAP"] - second["mAP"]) / 2)
        assert (mean["queries"], mean["gallery"]) == (4, 4)
        assert "mAP_low" in first
        assert "mAP_low" not in mean
    check_differences(rows, tmp_path / "out/evaluate")
    files = sorted(path.name for path in (tmp_path / "out/evaluate").rglob("*.parquet"))
    assert "finetuned-split0_tracklets_after-neck_mean.parquet" in files
    assert "finetuned-split1_frames_after-neck_mean.parquet" in files
    assert sum(name.startswith("finetuned_prid2011") for name in files) == 1  # strips: one split
    # few numbers are compared between runs: the means
    scores = result["metrics"]["scores"]["prid2011"]
    assert scores["prid2011"]["finetuned"] == {key: rows[26][key] for key in ("mAP", "R-1")}
    assert sorted(scores) == ["image_to_video", "prid2011"]
    assert len(result["plot"]) == 1 + 5 * 2 * 4
    assert result["plot"][0] == "protocol,model,rank,share"


def check_differences(rows: list[dict[str, Any]], out: Path) -> None:
    """Of fine-tuned rows alone, that of the scores, and what stands behind them is kept."""
    by_kind = {(row["row"], row["protocol"], row["split"]): row for row in rows}
    table = load_per_query(out)
    for (name, protocol, split), row in by_kind.items():
        columns = [key for key in row if key.startswith("minus_scratch_")]
        assert bool(columns) == (name == "finetuned")
        if not isinstance(split, int) or name not in ("scratch", "finetuned"):
            continue
        own = select_queries(table, protocol=protocol, row=name, split=split)
        assert own["query"].to_pylist() == [0, 1, 2, 3]
        assert own["pid"].to_pylist() == SPLITS[split]["test"]
        assert np.mean(own["ap"].to_numpy()) == row["mAP"]
        assert np.mean(own["r1"].to_numpy()) == row["R-1"]
    for split, num_people in ((0, 4), (1, 4), ("mean of 2", 8)):
        row, other = (by_kind[name, "prid2011", split] for name in ("finetuned", "scratch"))
        assert row["minus_scratch_people"] == num_people
        for metric in ("mAP", "R-1"):
            gap = row[f"minus_scratch_{metric}"]
            assert gap == pytest.approx(row[metric] - other[metric], abs=1e-12)
            low, high = (row[f"minus_scratch_{metric}_{end}"] for end in ("low", "high"))
            assert low <= high
    pair = load_pair(out, protocol="prid2011")
    assert compute_pooled_difference([pair]).value == row["minus_scratch_mAP"]


SHARED = EvaluateConfig(
    model="prid2011",
    protocols=["prid2011"],
    split_ids=[0],
    baselines=["histogram"],
    num_frames=2,
    bootstrap=5,
)
TRAINED = FinetuneConfig(modality="video", input_size=list(SIZE), initialisations=["pretrained"])


def run_shared(folder: str) -> list[str]:
    """The stage on one rank; whom it told how far it is."""
    said: list[str] = []
    context = describe_context(Path(folder), "prid2011", SHARED, TRAINED)
    run(replace(context, progress=lambda label, done, total: said.append(label)))
    return said


@pytest.mark.slow
def test_two_ranks_score_what_one_scores_and_one_of_them_writes_and_speaks(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        write_prid(tmp_path / name / "curated" / "prid2011")
        build_context(tmp_path / name, "prid2011", SHARED, TRAINED)
    run_shared(str(tmp_path / "one"))
    said = run_ranks(run_shared, 2, str(tmp_path / "two"))
    assert said[0]
    assert said[1] == []
    for name in ("metrics.json", "plots.csv", "evaluate/results.json"):
        found, wanted = ((tmp_path / n / "out" / name).read_bytes() for n in ("two", "one"))
        assert found == wanted, name


@pytest.mark.slow
def test_a_model_of_another_set_scores_all_splits(tmp_path: Path) -> None:
    rows = run_stage(tmp_path, "prid2011", splits=[1, 0], model="mars", rerank=True)["rows"]
    ours = [row for row in rows if row["row"] == "finetuned" and row["protocol"] == "prid2011"]
    assert [(row["split"], row["rerank"]) for row in ours] == [
        (1, "off"),
        (1, "on"),
        (0, "off"),
        (0, "on"),
        ("mean of 2", "off"),
        ("mean of 2", "on"),
    ]
    files = sorted(path.name for path in (tmp_path / "out/evaluate/features").iterdir())
    assert files == sorted(
        f"{row}_{what}_after-neck_mean.parquet"
        for row in ("finetuned", "scratch")
        for what in ("frames", "tracklets")
    )


def test_splits_that_a_model_has_seen_are_refused(tmp_path: Path) -> None:
    plain = list_variants(FinetuneConfig(split_ids=[0]))
    several = list_variants(FinetuneConfig(split_ids=[0, 3]))
    assert select_variants(plain, [0], same=True, item="x", model="y") == [(plain[0], (0,))]
    assert select_variants(plain, [0, 1, 2], same=False, item="x", model="y") == [(plain[0], ())]
    assert select_variants(several, [3, 0], same=True, item="x", model="y") == [
        (several[1], (3,)),
        (several[0], (0,)),
    ]
    assert select_variants(several, [0], same=False, item="x", model="y") == [(several[0], ())]
    with pytest.raises(
        ConfigError, match=r"evaluate.x.split_ids has \[1\], on .* finetune.y .*\[0, 3\]"
    ):
        select_variants(several, [0, 1], same=True, item="x", model="y")
    with pytest.raises(ConfigError, match=r"split 2 of prid2011 does not exist"):
        run_stage(tmp_path, "prid2011", splits=[2], model="mars")


def test_entries_of_one_source_share_its_people_and_its_splits(tmp_path: Path) -> None:
    """What counts is the source of a model, not the name of its entry."""
    names: dict[str, Any] = {"source": "prid2011", "model": "prid_more", "trained_on": "prid2011"}
    result = run_stage(tmp_path, "prid_few", splits=[1], **names)
    files = sorted(path.name for path in (tmp_path / "out/evaluate/features").iterdir())
    assert "finetuned-split1_tracklets_after-neck_mean.parquet" in files
    assert list(result["metrics"]["scores"]) == ["prid_few"]
    with pytest.raises(ConfigError, match=r"evaluate.prid_few.split_ids has \[1\], on which"):
        run_stage(tmp_path, "prid_few", splits=[1], trained_splits=[0], **names)


def test_headlines_are_means_where_there_are_any() -> None:
    def build(group: str, split: object, rerank: str) -> dict[str, Any]:
        own = {"row": "m", "protocol": "p", "title": "t", "split": split, "rerank": rerank}
        return {**own, "gallery_group": group, "mAP": 0.5, "R-1": float(len(group))}

    rows = [build(group, None, flag) for flag in ("off", "on") for group in ("g1", "g2", "mean")]
    assert select_headlines(rows) == [rows[2], rows[5]]
    rows = build_rows([build("g", k, "off") for k in (0, 1)], names=["m"])
    assert [row["split"] for row in rows] == [0, 1, "mean of 2"]
    assert select_headlines(rows) == [rows[2]]


def test_the_stage_reads_the_section_of_its_model() -> None:
    params = Params.__new__(Params)
    params.evaluate = {"ltcc": EvaluateConfig(model="prcc")}
    params.finetune = {"prcc": FinetuneConfig(input_size=[8, 4]), "ltcc": FinetuneConfig()}
    assert STAGE.list_sections(params, "ltcc") == {
        "evaluate": "evaluate.ltcc",
        "finetune": "finetune.prcc",
    }
    sections = STAGE.resolve_sections(params, "ltcc")
    assert sections["finetune"].input_size == [8, 4]
    assert STAGE.inputs(params, "ltcc")["finetune"] == Path("artifacts/finetune/prcc")
