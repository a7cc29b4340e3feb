"""Stage miniature: render the embedded world in the official layouts."""

from vills.config.miniature import MiniatureConfig
from vills.data.files import save_table
from vills.data.inventory import build_inventory, load_inventory
from vills.pipeline import Stage, StageContext, count_workers


def run(context: StageContext) -> None:
    """Render every data set, and write its inventory as `vills data register` would."""
    from vills.miniature.world import render_world

    config = context.config("miniature", MiniatureConfig)
    world = context.outs["world"]
    world.mkdir(parents=True, exist_ok=True)
    render_world(
        config,
        out=world,
        work=context.work / "units",
        progress=context.progress,
        workers=count_workers(),
    )
    counts = {}
    for name in config.datasets:
        path = world / "inventories" / f"{name}.parquet"
        save_table(path, build_inventory(world / name))
        counts[name] = load_inventory(path).num_rows
    context.save_metrics({"files": counts})


STAGE = Stage(
    name="miniature",
    sections=("miniature",),
    publishes={"world": "artifacts/miniature", "metrics": "artifacts/metrics/miniature.json"},
    run=run,
)
