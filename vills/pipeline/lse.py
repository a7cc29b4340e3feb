"""Stage lse: keypoints prompt a segmenter for the masks of all areas, cached once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.curate import CurateConfig
from vills.config.lse import LseConfig
from vills.lse.extract import extract_source
from vills.lse.scoring import score_masks
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    get_data_root,
    get_metrics_path,
    get_weights_path,
)

if TYPE_CHECKING:
    from vills.config.params import Params


def run(context: StageContext) -> None:
    """Mask every pre-training source; a finished one is kept."""
    config = context.config("lse", LseConfig)
    curate = context.config("curate", CurateConfig)
    root = context.inputs["world"] if curate.root == "miniature" else get_data_root()
    metrics: dict[str, Any] = {}
    for name, source in curate.sources.items():
        if source.role == "reid":
            continue
        out = context.outs["lse"] / name
        metrics[name] = extract_source(
            name,
            config,
            curated=context.inputs["curated"] / name,
            root=root / source.path,
            out=out,
            work=context.work / name,
            keypoint_weights=context.inputs.get("keypoint_weights"),
            segmenter_weights=context.inputs.get("segmenter_weights"),
            progress=context.progress,
        )
        truth = root / "truth" / f"{name}.parquet"
        if truth.exists():
            metrics[name]["iou"] = score_masks(context.inputs["curated"] / name, out, truth)
    context.save_metrics(metrics)


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
    summary="Keypoints prompt a segmenter for the masks of all areas (eq. 1 to 5)",
)
