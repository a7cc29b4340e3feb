"""Fine-tuning end to end: it learns, resumes to the bit, and keeps the last epoch."""

import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.damage import flip
from tests.ddp import run_ranks
from tests.models.publishers import DEPTH, build_dino
from tests.train.tuning import (
    CONFIG,
    MIXED,
    TOTAL,
    evaluate,
    load_walks,
    read,
    save_pretrained,
    tune,
)
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.model import PublishedConfig
from vills.data.loading import METHODS
from vills.data.reid import ReidData
from vills.interrupt import InterruptedRunError
from vills.models.description import WeightsError
from vills.models.reid import ReidModel
from vills.models.weights import load_description, load_reid
from vills.runner.store.journal import load_journal
from vills.train.consensus import NonFiniteError
from vills.train.finetune import Starts, build_model
from vills.train.finetuning import build_optimizer, compute_rate


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(tmp_path_factory.mktemp("pretrained"))


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
        assert [(row["epoch"], row["people"]) for row in accuracy[name]] == [
            (epoch, "test") for epoch in (1, 2, 3)
        ]
        # the last epoch is kept, whatever its score
        model = load_reid(undisturbed / "out" / name).eval()
        assert evaluate(model)["mAP"] == pytest.approx(accuracy[name][-1]["mAP"])


def test_journal_holds_losses_and_accuracy_by_initialisation(undisturbed: Path) -> None:
    content = load_journal(undisturbed / "journal.jsonl")
    assert content.pending == ()
    steps = [(r.step, sorted(r.metrics)[0].split("/")[0]) for r in content.committed]
    assert steps == [(e, name) for name in CONFIG.initialisations for e in (1, 2, 3)]
    assert "pretrained/loss/identity" in content.committed[0].metrics
    assert "pretrained/accuracy/test/mAP" in content.committed[0].metrics


def test_initialisations_share_neck_and_classifier_but_not_the_backbone(pretrained: Path) -> None:
    first, second = (
        build_model(CONFIG, name, starts=Starts(pretrained), num_ids=4).state_dict()
        for name in CONFIG.initialisations
    )
    assert torch.equal(first["classifier.weight"], second["classifier.weight"])
    name = "backbone.encoder.vit.blocks.0.attn.qkv.weight"
    assert not torch.equal(first[name], second[name])
    again = build_model(CONFIG, "scratch", starts=Starts(pretrained), num_ids=4).state_dict()
    assert torch.equal(again[name], second[name])


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_loader_processes_change_nothing(
    people: ReidData,
    pretrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setenv("VILLS_WORKER_START", method)
    config = replace(CONFIG, initialisations=["pretrained"], epochs=2)
    for folder, workers in ((tmp_path / "none", 0), (tmp_path / "two", 2)):
        tune(people, pretrained, folder, config=config, workers=workers, cache_mb=1.0)
    assert read(tmp_path / "two") == read(tmp_path / "none")


@pytest.mark.slow
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
            if every == 5:  # each checkpoint holds it
                (tmp_path / "journal.jsonl").unlink()
    assert stops >= TOTAL // every - 2
    assert read(tmp_path) == read(undisturbed)
    found, expected = (load_journal(f / "journal.jsonl") for f in (tmp_path, undisturbed))
    assert [(r.step, r.metrics) for r in found.committed] == [
        (r.step, r.metrics) for r in expected.committed
    ]


@pytest.mark.slow
@pytest.mark.parametrize(("minutes", "repeated"), [(1e9, 3), (0.0, 0)])
def test_killed_in_an_epoch_goes_on_at_its_last_checkpoint(
    people: ReidData,
    pretrained: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    minutes: float,
    repeated: int,
) -> None:
    calls: list[int] = []
    forward = ReidModel.forward

    def die(
        self: ReidModel, inputs: tuple[Tensor, ...], keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        calls.append(1)
        if len(calls) in (4, 9):
            raise KeyboardInterrupt
        return forward(self, inputs, keys)

    monkeypatch.setattr(ReidModel, "forward", die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            tune(people, pretrained, tmp_path, checkpoint_minutes=minutes)
    tune(people, pretrained, tmp_path, checkpoint_minutes=minutes)
    assert read(tmp_path) == read(undisturbed)
    # two calls died; each cost the steps since the last checkpoint
    assert len(calls) - 2 - TOTAL == repeated


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged",
    ["pretrained/*/*12.pt", "pretrained/*/*", "scratch/*/*", "*/*/*12.pt"],
)
def test_damaged_checkpoints_of_any_variant_cost_no_bit_and_double_no_point(
    people: ReidData, pretrained: Path, undisturbed: Path, tmp_path: Path, damaged: str
) -> None:
    for name in ("work", "journal.jsonl"):
        source = undisturbed / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    for path in (tmp_path / "work").glob(damaged):
        flip(path)
    tune(people, pretrained, tmp_path)
    assert read(tmp_path) == read(undisturbed)
    found, expected = (load_journal(f / "journal.jsonl") for f in (tmp_path, undisturbed))
    assert sorted(str((r.step, r.metrics)) for r in found.committed) == sorted(
        str((r.step, r.metrics)) for r in expected.committed
    )


def die_in_an_epoch(root: str, model_folder: str, folder: str) -> None:
    """Killed without a word after step 3, with a checkpoint of step 2."""
    tune(
        load_walks(Path(root)),
        Path(model_folder),
        Path(folder),
        config=MIXED,
        checkpoint_minutes=0.0,
        stop_after=lambda step: step == 3,
        signal_number=signal.SIGKILL,
    )


@pytest.mark.slow
def test_kill_9_of_a_mixed_fine_tuning_costs_no_bit(
    curated: Path, pretrained: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match=r"exits \[-9\]"):
        run_ranks(die_in_an_epoch, 1, str(curated), str(pretrained), str(tmp_path / "killed"))
    left = sorted(p.name for p in (tmp_path / "killed").rglob("step-*.pt"))
    assert left == ["step-00000001.pt", "step-00000002.pt"]
    for name in ("killed", "whole"):
        tune(load_walks(curated), pretrained, tmp_path / name, config=MIXED)
    assert read(tmp_path / "killed") == read(tmp_path / "whole")
    for stop in (1, 3, 4):
        with pytest.raises(InterruptedRunError):
            tune(
                load_walks(curated),
                pretrained,
                tmp_path / "stopped",
                config=MIXED,
                stop_after=lambda step, stop=stop: step == stop,  # type: ignore[misc]
            )
    tune(load_walks(curated), pretrained, tmp_path / "stopped", config=MIXED)
    assert read(tmp_path / "stopped") == read(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
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
    assert "scratch/accuracy/test/mAP" not in records[0].metrics
    assert "scratch/accuracy/test/mAP" in records[-1].metrics


def test_video_clips_are_fine_tuned_too(walks: ReidData, pretrained: Path, tmp_path: Path) -> None:
    config = replace(
        CONFIG, modality="video", initialisations=["pretrained"], epochs=1, network="student"
    )
    tune(walks, pretrained, tmp_path, config=config)
    assert load_reid(tmp_path / "out" / "pretrained").modality == "video"


@pytest.mark.parametrize("term", ["identity", "triplet"])
def test_a_weight_of_zero_is_not_computed(
    people: ReidData, pretrained: Path, tmp_path: Path, term: str
) -> None:
    other = "triplet" if term == "identity" else "identity"
    config = replace(CONFIG, initialisations=["pretrained"], epochs=1)
    weights: dict[str, Any] = {f"{term}_weight": 0.0, f"{other}_weight": 0.5}
    config = replace(config, **weights)
    tune(people, pretrained, tmp_path, config=config)
    metrics = load_journal(tmp_path / "journal.jsonl").committed[0].metrics
    assert f"pretrained/loss/{term}" not in metrics
    assert metrics["pretrained/loss/total"] == 0.5 * metrics[f"pretrained/loss/{other}"]
    with pytest.raises(ConfigError, match="identity_weight = 0 .* with triplet_weight 0"):
        FinetuneConfig(identity_weight=0.0, triplet_weight=0.0)


def test_a_start_may_have_a_rate_and_epochs_of_its_own(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    config = replace(
        CONFIG, epochs=2, lr=0.02, lr_of={"scratch": 0.01}, epochs_of={"pretrained": 1}
    )
    tune(people, pretrained, tmp_path / "own", config=config)
    curves = json.loads((tmp_path / "own" / "out" / "accuracy.json").read_text())
    assert {name: curve[-1]["epoch"] for name, curve in curves.items()} == config.epochs_of | {
        "scratch": 2
    }
    for name, rate, epochs in (("pretrained", 0.02, 1), ("scratch", 0.01, 2)):
        alone = replace(CONFIG, epochs=epochs, lr=rate, initialisations=[name])
        tune(people, pretrained, tmp_path / name, config=alone)
        own, other = (tmp_path / f / "out" / name / "model.safetensors" for f in ("own", name))
        assert own.read_bytes() == other.read_bytes()
    with pytest.raises(ConfigError, match="lr_of key = 'random' is not allowed"):
        replace(CONFIG, lr_of={"random": 0.1})
    with pytest.raises(ConfigError, match="epochs_of key = 'random' is not allowed"):
        replace(CONFIG, epochs_of={"random": 1})
    steps: dict[str, Any] = {"schedule": "steps", "epochs": 9, "milestones": [4]}
    with pytest.raises(ConfigError, match=r"epochs_of.scratch = 4 is not allowed"):
        replace(CONFIG, **steps, epochs_of={"scratch": 4})


def test_not_a_number_names_term_and_batch(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, lr=100.0)
    with pytest.raises(NonFiniteError, match=r"batch \d of epoch \d \(pretrained\).*finetune"):
        tune(people, pretrained, tmp_path, config=config)


def test_a_size_that_the_patches_do_not_divide_is_refused(pretrained: Path) -> None:
    config = replace(CONFIG, input_size=[60, 32])
    with pytest.raises(ConfigError, match=r"input_size = \[60, 32\].*patch size 16"):
        build_model(config, "scratch", starts=Starts(pretrained), num_ids=2)


def test_from_scratch_needs_no_pre_training_and_is_the_same_model(pretrained: Path) -> None:
    there = load_description(pretrained / "teacher")["architecture"]
    models = [
        build_model(CONFIG, "scratch", starts=starts, num_ids=4).state_dict()
        for starts in (Starts(pretrained), Starts(architecture=there))
    ]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(value, models[1][name]) for name, value in models[0].items())


def test_a_pre_training_of_another_architecture_is_refused(pretrained: Path) -> None:
    there = load_description(pretrained / "teacher")["architecture"]
    asked = {**there, "model": {**there["model"], "depth": 7}}
    with pytest.raises(ConfigError, match=r"teacher is no model of .* it has depth \d, not 7\."):
        build_model(CONFIG, "pretrained", starts=Starts(pretrained, asked), num_ids=4)


def test_missing_weights_are_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="teacher/model.json does not exist"):
        build_model(CONFIG, "pretrained", starts=Starts(tmp_path), num_ids=2)


@pytest.mark.slow
def test_a_variant_is_an_initialisation_on_a_split(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    half = people.train.take([0, 1, 2, 3, 4, 5])
    data = {0: people, 4: replace(people, train=half, split_id=4)}
    config = replace(CONFIG, epochs=1, split_ids=[0, 4])
    tune(data, pretrained, tmp_path, config=config)
    names = [f"{name}_split{k}" for name in ("pretrained", "scratch") for k in (0, 4)]
    accuracy = json.loads((tmp_path / "out" / "accuracy.json").read_text())
    assert sorted(accuracy) == names
    models = {name: load_reid(tmp_path / "out" / name) for name in names}
    assert [models[name].num_ids for name in names] == [4, 2, 4, 2]
    journal = load_journal(tmp_path / "journal.jsonl").committed
    assert [sorted(r.metrics)[0].split("/")[0] for r in journal] == names
    # the last split lacks people: refused before the first one is trained
    with pytest.raises(ConfigError, match="num_ids = 3 is not allowed. Allowed: up to the 2 peop"):
        tune(data, pretrained, tmp_path / "few", config=replace(config, num_ids=3))
    assert not (tmp_path / "few").exists()
    # a split is trained as if it were the only one
    tune(data, pretrained, tmp_path / "alone", config=replace(config, split_ids=[4]))
    for name in ("pretrained_split4/model.safetensors", "scratch_split4/model.safetensors"):
        assert read(tmp_path / "alone")[name] == read(tmp_path)[name]


def test_published_weights_are_a_start_like_any_other(people: ReidData, tmp_path: Path) -> None:
    folder = save_pretrained(tmp_path / "pretrained", depth=DEPTH)
    state, file = build_dino((4, 2))
    torch.save(file, tmp_path / "dino.pth")
    config = replace(
        CONFIG,
        initialisations=["scratch", "dino"],
        published={"dino": PublishedConfig("dino.pth", "dino")},
        epochs=1,
    )
    paths = {"dino": tmp_path / "dino.pth"}
    start = build_model(config, "dino", starts=Starts(folder, None, paths), num_ids=4)
    own = start.backbone.encoder.vit.state_dict()
    assert torch.equal(own["blocks.0.mlp.fc1.weight"], state["blocks.0.mlp.fc1.weight"])
    fresh = build_model(config, "scratch", starts=Starts(folder), num_ids=4).state_dict()
    assert torch.equal(start.state_dict()["classifier.weight"], fresh["classifier.weight"])
    queries = "backbone.resampler.queries"
    assert torch.equal(start.state_dict()[queries], fresh[queries])
    tune(people, folder, tmp_path, config=config, published=paths)
    assert sorted(json.loads((tmp_path / "out" / "accuracy.json").read_text())) == [
        "dino",
        "scratch",
    ]
    report = json.loads((tmp_path / "out" / "published.json").read_text())["dino"]
    assert (report["file"], report["layout"]) == ("dino.pth", "dino")
    assert report["random"] == ["reg_token"]
    # refused before anything is trained, though scratch comes first
    del file["teacher"]["backbone.norm.bias"]
    torch.save(file, tmp_path / "dino.pth")
    with pytest.raises(WeightsError, match=r"norm\.bias"):
        tune(people, folder, tmp_path / "wrong", config=config, published=paths)
    assert not (tmp_path / "wrong").exists()


def test_without_a_neck_the_feature_is_classified_and_exported(
    people: ReidData, pretrained: Path, tmp_path: Path
) -> None:
    config = replace(CONFIG, neck="none", epochs=1, initialisations=["pretrained"])
    seen = []

    def look(model: ReidModel, split_id: int) -> dict[str, float]:
        seen.append(model.neck)
        return {"mAP": 0.0, "R-1": 0.0}

    tune(people, pretrained, tmp_path, config=config, accuracy=look)
    assert seen == [None]
    model = load_reid(tmp_path / "out" / "pretrained")
    assert model.neck is None
    assert model.classifier.bias is not None


def test_rates_of_all_recipes() -> None:
    config = replace(
        CONFIG, schedule="steps", milestones=[2, 4], gamma=0.1, warmup_epochs=1.0, epochs=6, lr=1.0
    )
    rates = [compute_rate(config, step, steps_per_epoch=4) for step in range(24)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    expected = [1.0] * 4 + [0.1] * 8 + [0.01] * 8
    assert rates[4:] == pytest.approx(expected)
    still = replace(config, warmup_epochs=0.0)
    assert compute_rate(still, 0, steps_per_epoch=4) == 1.0
    # torch's own scheduler, by epochs
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 4], gamma=0.1)
    for epoch in range(6):
        (rate,) = scheduler.get_last_lr()
        assert compute_rate(still, 4 * epoch, steps_per_epoch=4) == pytest.approx(rate)
        optimizer.step()
        scheduler.step()
    cosine = replace(config, schedule="cosine", milestones=[])
    rates = [compute_rate(cosine, step, steps_per_epoch=4) for step in range(24)]
    assert rates[3] == rates[4] == 1.0
    assert rates[-1] == pytest.approx(0.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizers_are_those_of_the_recipes(pretrained: Path, name: str) -> None:
    config = replace(CONFIG, optimizer=name, weight_decay=0.1, bias_lr_factor=2.0, layer_decay=0.5)
    model = build_model(config, "scratch", starts=Starts(pretrained), num_ids=3)
    optimizer = build_optimizer(model, config)
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    assert type(optimizer) is kinds[name]
    names = {parameter: n for n, parameter in model.named_parameters()}
    scales = {}
    for group in optimizer.param_groups:
        assert name != "sgd" or group["momentum"] == 0.9
        for parameter in group["params"]:
            scales[names[parameter]] = (group["lr_scale"], group["weight_decay"])
    assert len(scales) == len(names)
    block = "backbone.encoder.vit.blocks.1.mlp.fc1"
    assert scales[f"{block}.weight"] == (0.5, 0.1)
    assert scales[f"{block}.bias"] == (1.0, 0.0)
    assert scales["classifier.weight"] == (1.0, 0.1)
    assert scales["neck.weight"] == (1.0, 0.0)
