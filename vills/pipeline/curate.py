"""Stage curate: raw layouts -> records, shards and person tracklets."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.curate import CurateConfig
from vills.data.inventory import check_inventory, load_inventory
from vills.pipeline import (
    ARTIFACTS,
    INVENTORIES,
    Stage,
    StageContext,
    get_data_root,
    get_metrics_path,
    get_weights_path,
    get_weights_root,
)

if TYPE_CHECKING:
    from vills.config.params import OperationConfig, Params


def run(context: StageContext) -> None:
    """Curate one source after the other; a finished one is kept."""
    from vills.curation.source import curate_source

    config = context.config("curate", CurateConfig)
    root = context.inputs["world"] if config.root == "miniature" else get_data_root()
    metrics: dict[str, Any] = {}
    for name, source in config.sources.items():
        if config.root == "data":
            inventory = load_inventory(context.inputs[f"inventory_{name}"])
            check_inventory(root / source.path, inventory)
        report = curate_source(
            name,
            source,
            config,
            root=root,
            out=context.outs["curated"] / name,
            work=context.work / name,
            weights_root=get_weights_root() if config.detector_weights else None,
            progress=context.progress,
            max_corrupt_share=context.operation.max_corrupt_share,
        )
        metrics[name] = {"records": report["records"], "damaged": report["damaged"]["count"]}
        if entries := report.get("entries"):
            empty = sum(group["empty"]["count"] for group in entries.values())
            metrics[name] |= {"empty_entries": empty}
        truth = root / "truth" / f"{name}.parquet"
        if source.role == "pretrain_videos" and truth.exists():
            scores = _score(context.outs["curated"] / name, truth)
            metrics[name] |= {key: scores[key] for key in ("mota", "idf1", "purity")}
    context.save_metrics({"curated": metrics})


def check(outs: Mapping[str, Path], operation: "OperationConfig") -> None:
    """Refuse a source of which too much is unreadable.

    Raises:
        TooManyDamagedError: naming files of it.
    """
    from vills.curation.packer import DamageLog

    for path in sorted(outs["curated"].glob("*/report.json")):
        report = json.loads(path.read_text())
        damaged = report["damaged"]
        named = [(file["path"], file["reason"]) for file in damaged["named"]]
        share = operation.max_corrupt_share
        DamageLog(report["source"], damaged["files"], share, named).check()


def _score(curated: Path, truth: Path) -> dict[str, float]:
    """MOTA, IDF1 and purity of the curated tracklets; nothing before this line read the truth."""
    from vills.curation.scoring import load_tracks, load_truth, score_tracks

    tracks = load_tracks(curated / "tracks.parquet")
    return asdict(score_tracks(load_truth(truth), tracks=tracks))


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    config = params.curate
    inputs = {}
    if config.root == "miniature":
        inputs["world"] = ARTIFACTS / "miniature"
    else:
        for name in config.sources:
            inputs[f"inventory_{name}"] = INVENTORIES / f"{name}.parquet"
    if config.detector_weights:
        inputs["detector_weights"] = get_weights_path(config.detector_weights)
    return inputs


STAGE = Stage(
    name="curate",
    sections=("curate",),
    inputs=_inputs,
    outs=lambda item: {"curated": ARTIFACTS / "curated", "metrics": get_metrics_path("curate")},
    run=run,
    summary="Raw layouts -> records, shards and person tracklets",
    check=check,
)
