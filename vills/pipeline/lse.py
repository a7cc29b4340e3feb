"""Stage lse: keypoints prompt a segmenter for the masks of all areas, cached once (eq. 1 to 5)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.curate import CurateConfig
from vills.config.lse import LseConfig
from vills.io import load_json
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    count_workers,
    get_folder,
    get_share,
    list_inventories,
    list_weights,
)

if TYPE_CHECKING:
    from vills.config.params import OperationConfig, Params


def run(context: StageContext) -> None:
    """Mask every pre-training source; a finished one is kept."""
    from vills.data.inventory import Registered, load_inventory
    from vills.data.predictions import FOLDER
    from vills.lse.extract import extract_source
    from vills.lse.scoring import compute_area_scores

    config = context.config("lse", LseConfig)
    rank, world_size = get_share()
    if not config.enabled:
        if rank == 0:
            context.save_switched_off()
        return
    curate = context.config("curate", CurateConfig)
    root = context.inputs["world"] if curate.root == "miniature" else get_folder("VILLS_DATA")
    names_weights = config.keypoint_weights or config.segmenter_weights
    weights = get_folder("VILLS_WEIGHTS") if names_weights else None
    metrics: dict[str, Any] = {}
    for name, source in curate.sources.items():
        if source.role == "reid":
            continue
        if inventory := context.inputs.get(f"inventory_{name}"):
            registered = Registered(root / source.path, load_inventory(inventory))
            for table in config.list_supplied():
                registered.check_supplied(f"{FOLDER}/{table}")
        out = context.outs["lse"] / name
        extract_source(
            name,
            config,
            curated=context.inputs["curated"] / name,
            root=root / source.path,
            out=out,
            work=context.work / name,
            weights=weights,
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
        check_corrupt(load_json(path), max_share=operation.max_corrupt_share)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    if not params.lse.enabled:
        return {}
    inputs = {"curated": ARTIFACTS / "curated"}
    if params.curate.root == "miniature":
        inputs["world"] = ARTIFACTS / "miniature"
    if params.lse.list_supplied():
        inputs |= list_inventories(params.curate)
    return inputs | list_weights(
        keypoint_weights=params.lse.keypoint_weights,
        segmenter_weights=params.lse.segmenter_weights,
    )


STAGE = Stage(
    name="lse",
    sections=("lse", "curate"),
    inputs=_inputs,
    publishes={"lse": "artifacts/lse", "metrics": "artifacts/metrics/lse.json"},
    run=run,
    is_enabled=lambda params: params.lse.enabled,
    ranks="shares",
    check=check,
)
