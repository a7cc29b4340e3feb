"""Small fine-tunings: what several test files give `run_finetune`."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.train.synthetic import build_config
from vills.config.finetune import FinetuneConfig
from vills.data.reid import ReidData, load_reid_data
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.models.weights import save_backbone
from vills.runner.store.journal import Journal
from vills.train.finetune import Starts, run_finetune

CONFIG = FinetuneConfig(
    initialisations=["pretrained", "scratch"],
    input_size=[64, 32],
    num_frames=2,
    epochs=3,
    num_ids=2,
    num_instances=2,
    lr=0.01,
    warmup_epochs=1.0,
    pad=2,
    eval_epochs=1,
    threads_per_rank=1,
)
TOTAL = 24  # 2 initialisations of 3 epochs of 4 batches
MIXED = replace(CONFIG, modality="mixed", initialisations=["pretrained"])


def save_pretrained(folder: Path, *, depth: int = 2) -> Path:
    """Random weights where pre-training leaves its own."""
    torch.manual_seed(7)
    for name in ("teacher", "student"):
        save_backbone(Backbone(replace(build_config().model, depth=depth)), folder / name)
    return folder


def load_walks(root: Path) -> ReidData:
    """Tracklets, to be trained on mixed."""
    return load_reid_data(root / "curated" / "walks", modality="mixed")


def evaluate(model: ReidModel, split_id: int = 0) -> dict[str, float]:
    """A number that depends on every step."""
    assert not model.training
    assert model.neck is not None
    with torch.no_grad():
        return {"mAP": float(model.neck.running_mean.abs().sum())}


def tune(
    data: ReidData | Mapping[int, ReidData],
    model_folder: Path,
    folder: Path,
    *,
    config: FinetuneConfig = CONFIG,
    stop_after: Callable[[int], bool] = lambda step: False,
    signal_number: int = signal.SIGTERM,
    published: Mapping[str, Path] | None = None,
    accuracy: Callable[[ReidModel, int], Mapping[str, float]] = evaluate,
    **loading: Any,
) -> None:
    """Fine-tune into `folder`; this process gets the signal after a step that is asked for."""

    def progress(text: str, done: int, total: int) -> None:
        if stop_after(done):
            os.kill(os.getpid(), signal_number)

    run_finetune(
        config,
        starts=Starts(model_folder, None, published or {}),
        data={0: data} if isinstance(data, ReidData) else data,
        evaluate=accuracy,
        work=folder / "work",
        out=folder / "out",
        journal=Journal(folder / "journal.jsonl"),
        guard=lambda: None,
        progress=progress,
        **loading,
    )


def read(folder: Path) -> dict[str, bytes]:
    """Content of all files that a fine-tuning left."""
    out = folder / "out"
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
