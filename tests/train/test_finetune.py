"""Fine-tuning end to end: it learns, resumes to the bit, and keeps the last epoch."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.train.synthetic import build_config
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.data.reid import ReidData
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.models.weights import WeightsError, export_backbone, load_reid
from vills.tracking.journal import Journal, load_journal
from vills.train.engine import NonFiniteError
from vills.train.finetune import run_finetune
from vills.train.finetune_model import build_model
from vills.train.interrupt import InterruptedRunError

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
TOTAL = 12  # 2 initialisations of 3 epochs of 2 batches


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    torch.manual_seed(7)
    for name in ("teacher", "student"):
        export_backbone(Backbone(build_config().model), folder / name)
    return folder


def evaluate(model: ReidModel, split_id: int = 0) -> dict[str, float]:
    assert not model.training
    assert model.neck is not None
    with torch.no_grad():
        return {"mAP": float(model.neck.running_mean.abs().sum())}


def tune(
    data: ReidData,
    model_folder: Path,
    folder: Path,
    *,
    config: FinetuneConfig = CONFIG,
    stop_after: Callable[[int], bool] = lambda step: False,
) -> None:
    def progress(text: str, done: int, total: int) -> None:
        if stop_after(done):
            os.kill(os.getpid(), signal.SIGTERM)

    run_finetune(
        config,
        model_folder=model_folder,
        data={0: data},
        evaluate=evaluate,
        work=folder / "work",
        out=folder / "out",
        journal=Journal(folder / "journal.jsonl"),
        guard=lambda: None,
        progress=progress,
    )


def read(folder: Path) -> dict[str, bytes]:
    out = folder / "out"
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def undisturbed(
    people: ReidData, pretrained: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    tune(people, pretrained, folder)
    return folder


def test_outputs_hold_both_models_and_the_accuracy_of_every_epoch(undisturbed: Path) -> None:
    assert sorted(read(undisturbed)) == [
        "accuracy.json",
        "pretrained/model.json",
        "pretrained/model.safetensors",
        "scratch/model.json",
        "scratch/model.safetensors",
    ]
    accuracy = json.loads((undisturbed / "out" / "accuracy.json").read_text())
    for name in CONFIG.initialisations:
        assert [row["epoch"] for row in accuracy[name]] == [1, 2, 3]
        # the last epoch is kept, whatever its score
        model = load_reid(undisturbed / "out" / name).eval()
        assert evaluate(model)["mAP"] == pytest.approx(accuracy[name][-1]["mAP"])


def test_journal_holds_losses_and_accuracy_by_initialisation(undisturbed: Path) -> None:
    content = load_journal(undisturbed / "journal.jsonl")
    assert content.pending == ()
    steps = [(r.step, sorted(r.metrics)[0].split("/")[0]) for r in content.committed]
    assert steps == [(e, name) for name in CONFIG.initialisations for e in (1, 2, 3)]
    assert "pretrained/loss/identity" in content.committed[0].metrics
    assert "pretrained/accuracy/mAP" in content.committed[0].metrics


def test_initialisations_share_neck_and_classifier_but_not_the_backbone(pretrained: Path) -> None:
    first, second = (
        build_model(CONFIG, name, model_folder=pretrained, num_ids=4).state_dict()
        for name in CONFIG.initialisations
    )
    assert torch.equal(first["classifier.weight"], second["classifier.weight"])
    name = "backbone.encoder.vit.blocks.0.attn.qkv.weight"
    assert not torch.equal(first[name], second[name])
    again = build_model(CONFIG, "scratch", model_folder=pretrained, num_ids=4).state_dict()
    assert torch.equal(again[name], second[name])


@pytest.mark.parametrize("every", [1, 5])
def test_interrupted_and_resumed_is_bit_identical(
    people: ReidData, pretrained: Path, undisturbed: Path, tmp_path: Path, every: int
) -> None:
    stops = 0
    while True:
        try:
            tune(people, pretrained, tmp_path, stop_after=lambda step: step % every == 0)
            break
        except InterruptedRunError:
            stops += 1
    assert stops >= TOTAL // every - 2
    assert read(tmp_path) == read(undisturbed)
    found, expected = (load_journal(f / "journal.jsonl") for f in (tmp_path, undisturbed))
    assert [(r.step, r.metrics) for r in found.committed] == [
        (r.step, r.metrics) for r in expected.committed
    ]


def test_killed_in_an_epoch_goes_on_at_its_start(
    people: ReidData,
    pretrained: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    forward = ReidModel.forward

    def die(self: ReidModel, inputs: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) in (4, 9):
            raise KeyboardInterrupt
        return forward(self, inputs, keys)

    monkeypatch.setattr(ReidModel, "forward", die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(people, pretrained, tmp_path)
    tune(people, pretrained, tmp_path)
    assert read(tmp_path) == read(undisturbed)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns_the_training_people(
    people: ReidData, pretrained: Path, tmp_path: Path, optimizer: str
) -> None:
    config = replace(
        CONFIG,
        initialisations=["scratch"],
        epochs=12,
        optimizer=optimizer,
        lr=0.05 if optimizer == "sgd" else 3e-3,
        drop_path=0.0,
        layer_decay=0.8,
        erase=0.0,
        eval_epochs=0,
    )
    tune(people, pretrained, tmp_path, config=config)
    records = load_journal(tmp_path / "journal.jsonl").committed
    losses = [r.metrics["scratch/loss/total"] for r in records]
    assert losses[-1] < 0.9 * losses[0]
    assert "scratch/accuracy/mAP" not in records[0].metrics
    assert "scratch/accuracy/mAP" in records[-1].metrics


def test_video_clips_are_fine_tuned_too(walks: ReidData, pretrained: Path, tmp_path: Path) -> None:
    config = replace(
        CONFIG, modality="video", initialisations=["pretrained"], epochs=1, network="student"
    )
    tune(walks, pretrained, tmp_path, config=config)
    assert load_reid(tmp_path / "out" / "pretrained").modality == "video"


def test_triplet_weight_of_zero_is_not_computed(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, initialisations=["pretrained"], epochs=1, triplet_weight=0.0)
    tune(people, pretrained, tmp_path, config=config)
    metrics = load_journal(tmp_path / "journal.jsonl").committed[0].metrics
    assert "pretrained/loss/triplet" not in metrics
    assert metrics["pretrained/loss/total"] == metrics["pretrained/loss/identity"]


def test_not_a_number_names_term_and_batch(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, lr=1e30)
    with pytest.raises(NonFiniteError, match=r"batch \d of epoch \d \(pretrained\).*finetune"):
        tune(people, pretrained, tmp_path, config=config)


def test_a_size_that_the_patches_do_not_divide_is_refused(pretrained: Path) -> None:
    config = replace(CONFIG, input_size=[60, 32])
    with pytest.raises(ConfigError, match=r"input_size = \[60, 32\].*patch size 16"):
        build_model(config, "scratch", model_folder=pretrained, num_ids=2)


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="teacher/model.json does not exist"):
        build_model(CONFIG, "pretrained", model_folder=tmp_path, num_ids=2)
