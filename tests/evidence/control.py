"""The tracklet control: tracklets learned as if they were people, by fine-tuning's own losses.

Cross-entropy and the triplet on normalised features, from fresh weights, no label. What it learned
takes the place of what pre-training wrote, so that the stages after it go on from there.
"""

import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from vills.config.finetune import FinetuneConfig
from vills.config.load import load_params
from vills.data.records import Manifest, load_manifest
from vills.data.reid import ReidData
from vills.data.shards import ShardReader
from vills.runner.store.journal import Journal
from vills.train.finetune import Starts, run_finetune

SHORTEST = 12
"""Frames of a tracklet that is a class."""


def load_tracklets(folder: Path) -> ReidData:
    """The tracklets of a curated folder, each a person of its own."""
    manifest = load_manifest(folder / "manifest.parquet")
    manifest = manifest.take(np.flatnonzero(manifest.column("num_frames") >= SHORTEST))
    pids = pa.array(np.arange(1, len(manifest) + 1), pa.int32())
    column = manifest.table.schema.get_field_index("pid")
    field = manifest.table.schema.field(column)
    tracklets = Manifest(manifest.table.set_column(column, field, pids))
    nobody = tracklets.take(np.arange(0))
    return ReidData("tracklets", tracklets, nobody, nobody, ShardReader(folder))


def build_config(
    finetune: FinetuneConfig, *, num_steps: int, people: int, seed: int
) -> FinetuneConfig:
    """Scratch's own parameters for `num_steps`, with the colours that pre-training's views vary."""
    config = replace(
        finetune.build_for("scratch"),
        initialisations=["scratch"],
        epochs=max(1, round(num_steps / (people // finetune.num_ids))),
        eval_epochs=0,
        num_val_ids=0,
        num_train_ids=0,
        seed=seed,
    )
    return replace(config, erase=0.0, jitter=0.8, white_balance=0.12)


def say(text: str, done: int, total: int) -> None:
    """One line, again and again."""
    print(f"{text} {done}/{total}", end="\r")


def train(project: Path, *, num_steps: int) -> None:
    """Train the control of a project and put it where pre-training's networks are."""
    params = load_params(project)
    data = load_tracklets(project / "artifacts" / "curated" / "kinetics")
    config = build_config(
        params.finetune["market1501"],
        num_steps=num_steps,
        people=data.num_ids,
        seed=params.pretrain.seed,
    )
    pretrained = project / "artifacts" / "pretrain"
    # what lies there then is no run's any more, and is not refused as damaged
    (project / "artifacts" / "metrics" / "pretrain.json").unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        run_finetune(
            config,
            starts=Starts(pretrained),
            data={0: data},
            evaluate=lambda model, split_id: {},
            work=work / "work",
            out=work / "out",
            journal=Journal(work / "journal.jsonl"),
            guard=lambda: None,
            progress=say,
        )
        for network in ("teacher", "student"):
            shutil.rmtree(pretrained / network)
            shutil.copytree(work / "out" / "scratch", pretrained / network)


if __name__ == "__main__":
    train(Path(), num_steps=int(sys.argv[1]))
