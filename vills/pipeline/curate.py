"""Stage curate: raw layouts -> records, shards and person tracklets."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vills.config.curate import CurateConfig
from vills.data.inventory import Registered, check_inventory, load_inventory
from vills.io import load_json
from vills.pipeline import (
    ARTIFACTS,
    Stage,
    StageContext,
    get_folder,
    list_inventories,
    list_weights,
)

if TYPE_CHECKING:
    from vills.config.params import OperationConfig, Params


def run(context: StageContext) -> None:
    """Curate one source after the other; a finished one is kept.

    It is read again then, to find what was damaged since; so it comes last, and an attempt that is
    stopped before does not spend its time on that.
    """
    from vills.curation.scoring import compute_track_scores, load_tracks, load_truth
    from vills.curation.source import is_finished, run_source

    config = context.config("curate", CurateConfig)
    root = context.inputs["world"] if config.root == "miniature" else get_folder("VILLS_DATA")
    metrics: dict[str, Any] = {}
    names = sorted(config.sources, key=lambda name: is_finished(context.work / name))
    for name, source in ((name, config.sources[name]) for name in names):
        registered = None
        if config.root == "data":
            inventory = load_inventory(context.inputs[f"inventory_{name}"])
            check_inventory(root / source.path, inventory)
            registered = Registered(root / source.path, inventory)
        report = run_source(
            name,
            source,
            config,
            root=root,
            out=context.outs["curated"] / name,
            work=context.work / name,
            weights_root=get_folder("VILLS_WEIGHTS") if config.detector_weights else None,
            progress=context.progress,
            max_corrupt_share=context.operation.max_corrupt_share,
            registered=registered,
        )
        metrics[name] = {"records": report["records"], "damaged": report["damaged"]["count"]}
        if entries := report.get("entries"):
            empty = sum(group["empty"]["count"] for group in entries.values())
            metrics[name] |= {"empty_entries": empty}
        truth = root / "truth" / f"{name}.parquet"
        if source.role == "pretrain_videos" and truth.exists():
            # nothing before this line read the truth
            tracks = load_tracks(context.outs["curated"] / name / "tracks.parquet")
            scores = compute_track_scores(load_truth(truth), tracks=tracks)
            metrics[name] |= {key: getattr(scores, key) for key in ("mota", "idf1", "purity")}
    context.save_metrics({"curated": metrics})


def check(outs: Mapping[str, Path], operation: "OperationConfig") -> None:
    """Refuse a source of which too much is unreadable.

    Raises:
        TooManyDamagedError: naming files of it.
    """
    from vills.curation.packer import DamageLog

    for path in sorted(outs["curated"].glob("*/report.json")):
        report = load_json(path)
        damaged = report["damaged"]
        named = [(file["path"], file["reason"]) for file in damaged["named"]]
        share = operation.max_corrupt_share
        DamageLog(report["source"], damaged["files"], share, named).check()


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    config = params.curate
    world = {"world": ARTIFACTS / "miniature"} if config.root == "miniature" else {}
    return world | list_inventories(config) | list_weights(detector_weights=config.detector_weights)


STAGE = Stage(
    name="curate",
    sections=("curate",),
    inputs=_inputs,
    publishes={"curated": "artifacts/curated", "metrics": "artifacts/metrics/curate.json"},
    run=run,
    check=check,
)
