"""Stage lse: keypoints prompt a segmenter for the masks of all areas, cached once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.curate import CurateConfig
from vills.config.lse import LseConfig
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    count_workers,
    get_data_root,
    get_metrics_path,
    get_share,
    get_weights_path,
    get_weights_root,
)

if TYPE_CHECKING:
    from vills.config.params import OperationConfig, Params


def run(context: StageContext) -> None:
    """Mask every pre-training source; a finished one is kept."""
    from vills.lse.extract import extract_source
    from vills.lse.scoring import compute_area_scores

    config = context.config("lse", LseConfig)
    curate = context.config("curate", CurateConfig)
    root = context.inputs["world"] if curate.root == "miniature" else get_data_root()
    metrics: dict[str, Any] = {}
    rank, world_size = get_share()
    for name, source in curate.sources.items():
        if source.role == "reid":
            continue
        out = context.outs["lse"] / name
        extract_source(
            name,
            config,
            curated=context.inputs["curated"] / name,
            root=root / source.path,
            out=out,
            work=context.work / name,
            weights=get_weights_root() if _names_weights(config) else None,
            progress=context.progress if rank == 0 else None,
            workers=count_workers(),
            rank=rank,
            world_size=world_size,
            guard=context.guard,
            max_corrupt_share=context.operation.max_corrupt_share,
        )
        truth = root / "truth" / f"{name}.parquet"
        if truth.exists() and rank == 0:
            scores = compute_area_scores(
                out,
                curated=context.inputs["curated"] / name,
                truth=truth,
                frame_stride=config.frame_stride,
            )
            metrics[name] = {area: score.iou for area, score in scores.items()}
    if rank == 0:
        context.save_metrics({"iou": metrics})


def check(outs: Mapping[str, Path], operation: "OperationConfig") -> None:
    """Refuse a source of which too many records cannot be decoded.

    Raises:
        ConfigError: naming records of it.
    """
    from vills.lse.extract import check_corrupt

    for path in sorted(outs["lse"].glob("*/report.json")):
        check_corrupt(json.loads(path.read_text()), max_share=operation.max_corrupt_share)


def _names_weights(config: LseConfig) -> bool:
    return bool(config.keypoint_weights or config.segmenter_weights)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs = {"curated": ARTIFACTS / "curated"}
    if params.curate.root == "miniature":
        inputs["world"] = ARTIFACTS / "miniature"
    for part in ("keypoint", "segmenter"):
        name = getattr(params.lse, f"{part}_weights")
        if name:
            inputs[f"{part}_weights"] = get_weights_path(name)
    return inputs


STAGE = Stage(
    name="lse",
    sections=("lse", "curate"),
    inputs=_inputs,
    outs=lambda item: {"lse": ARTIFACTS / "lse", "metrics": get_metrics_path("lse")},
    run=run,
    ranks="shares",
    check=check,
    summary="Keypoints prompt a segmenter for the masks of all areas (eq. 1 to 5)",
)
