"""Fine-tuning in two processes: the same model, one writer, one decision."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ddp import run_ranks
from tests.train.tuning import CONFIG, MIXED, evaluate, load_walks, read, save_pretrained, tune
from vills import distributed
from vills.config.checks import ConfigError
from vills.data.reid import ReidData, load_reid_data
from vills.interrupt import InterruptedRunError
from vills.models.reid import ReidModel
from vills.models.weights import load_reid
from vills.runner.store.journal import load_journal

# A rate at which nothing amplifies rounding, and everything that knows of ranks: drop path, BN
# statistics, triplets across ranks, decay, biases of their own rate.
CHANGES: dict[str, Any] = {
    "initialisations": ["pretrained"],
    "lr": 0.01,
    "num_ids": 4,
    "drop_path": 0.3,
    "label_smoothing": 0.1,
    "bias_lr_factor": 2.0,
    "layer_decay": 0.9,
}
PEOPLE = replace(CONFIG, **CHANGES)
WALKS = replace(MIXED, **CHANGES)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(tmp_path_factory.mktemp("pretrained"))


def load(root: str, modality: str) -> ReidData:
    if modality == "mixed":
        return load_walks(Path(root))
    return load_reid_data(Path(root) / "curated" / "people", modality="image")


def train(root: str, model_folder: str, folder: str, modality: str) -> list[list[float]]:
    """Fine-tune; what this rank's evaluations saw."""
    seen = []

    def look(model: ReidModel, split_id: int) -> dict[str, float]:
        # every rank takes part: a collective in here must not hang
        values = distributed.gather_objects(evaluate(model)["mAP"])
        seen.append(values)
        return {"mAP": values[0], "R-1": 0.0}

    config = PEOPLE if modality == "image" else WALKS
    torch.set_num_threads(1)
    tune(
        load(root, modality),
        Path(model_folder),
        Path(folder),
        config=config,
        accuracy=look,
        checkpoint_minutes=5.0 if modality == "image" else 0.0,
    )
    return seen


def load_weights(folder: Path) -> dict[str, Tensor]:
    return load_reid(folder / "out" / "pretrained").state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "mixed"])
def test_two_ranks_make_the_model_of_one(
    curated: Path, pretrained: Path, tmp_path: Path, modality: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    train(str(curated), str(pretrained), str(one), modality)
    seen = run_ranks(train, 2, str(curated), str(pretrained), str(two), modality)
    assert seen[0] == seen[1]
    assert all(left == right for left, right in seen[0])  # the ranks' models are the same
    alone, together = load_weights(one), load_weights(two)
    start = load_weights_of(pretrained, curated, modality)
    moved = max(float((alone[name] - start[name]).abs().max()) for name in start)
    assert moved > 1e-2
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-5)
    # one writer: every file once, every line of the journal once
    assert read(two).keys() == read(one).keys()
    found, expected = (load_journal(f / "journal.jsonl").committed for f in (two, one))
    assert [r.step for r in found] == [r.step for r in expected]
    for left, right in zip(found, expected, strict=True):
        assert left.metrics == pytest.approx(right.metrics, rel=1e-4, abs=1e-5)


def load_weights_of(pretrained: Path, curated: Path, modality: str) -> dict[str, Tensor]:
    """Where the training started."""
    from vills.train.finetune import Starts, build_model

    config = PEOPLE if modality == "image" else WALKS
    data = load(str(curated), modality)
    model = build_model(config, "pretrained", starts=Starts(pretrained), num_ids=data.num_ids)
    return model.state_dict()


def stop_by_rank_one(root: str, model_folder: str, folder: str) -> str:
    """Only rank 1 gets the signal; all stop, at the same batch."""
    if distributed.get_rank() == 1:
        step = ReidModel.forward
        calls = []

        def count(self: ReidModel, *args: Any) -> Any:
            calls.append(1)
            if len(calls) == 1:
                os.kill(os.getpid(), signal.SIGUSR2)
            return step(self, *args)

        ReidModel.forward = count  # type: ignore[method-assign, assignment]
    try:
        tune(load_walks(Path(root)), Path(model_folder), Path(folder), config=WALKS)
    except InterruptedRunError as error:
        return f"{error} Again: {error.wants_requeue}"
    return "went on"


@pytest.mark.slow
def test_one_rank_that_is_asked_to_stop_stops_all(
    curated: Path, pretrained: Path, tmp_path: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    messages = run_ranks(stop_by_rank_one, 2, str(curated), str(pretrained), str(stopped))
    assert messages[0] == messages[1]
    assert "stopped in epoch 1 of 3 (pretrained)" in messages[0]
    assert messages[0].endswith("Again: True")
    (newest, *_) = sorted((stopped / "work").rglob("step-*.pt"), reverse=True)
    assert newest.name == "step-00000001.pt"
    # what two ranks began, one may finish
    tune(load_walks(curated), pretrained, stopped, config=WALKS)
    tune(load_walks(curated), pretrained, whole, config=WALKS)
    alone, together = load_weights(whole), load_weights(stopped)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-5, atol=1e-5)
    accuracy = json.loads((stopped / "out" / "accuracy.json").read_text())["pretrained"]
    assert [row["epoch"] for row in accuracy] == [1, 2, 3]


def refuse(root: str, model_folder: str, folder: str) -> str:
    config = replace(PEOPLE, num_ids=3, num_instances=3)
    try:
        tune(load(root, "image"), Path(model_folder), Path(folder), config=config)
    except ConfigError as error:
        return str(error)
    return "went on"


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_is_refused(
    curated: Path, pretrained: Path, tmp_path: Path
) -> None:
    for message in run_ranks(refuse, 2, str(curated), str(pretrained), str(tmp_path)):
        assert "num_ids * num_instances = 9 cannot be divided among the 2 processes" in message


def average() -> list[np.ndarray]:
    rank = distributed.get_rank()
    parameters = [torch.zeros(3), torch.zeros(2, 2), torch.zeros(1)]
    parameters[0].grad = torch.full((3,), 1.0 + rank)
    parameters[1].grad = torch.arange(4.0).reshape(2, 2) * rank
    distributed.average_gradients(parameters)
    assert parameters[2].grad is None
    return [p.grad.numpy() for p in parameters[:2] if p.grad is not None]


@pytest.mark.slow
def test_gradients_are_averaged_in_place() -> None:
    for first, second in run_ranks(average, 2):
        assert first.tolist() == [1.5] * 3
        assert second.tolist() == [[0.0, 0.5], [1.0, 1.5]]
