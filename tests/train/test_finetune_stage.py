"""The stage: splits, published weights, and the curves of supplement Fig. 2."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.publishers import DEPTH, build_dino
from tests.train.synthetic import build_config
from tests.train.tuning import CONFIG, save_pretrained
from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.model import PublishedConfig
from vills.config.params import OperationConfig, Params
from vills.data import finetune_loading
from vills.models.weights import load_reid
from vills.pipeline import StageContext, count_loaders
from vills.pipeline.finetune import STAGE
from vills.runner.store.journal import Journal, load_journal
from vills.train.finetuning import Finetuning


def build_context(root: Path, config: FinetuneConfig) -> StageContext:
    params = Params(finetune={"walks": config})
    return StageContext(
        item="walks",
        sections={
            "finetune": config,
            "pretrain.areas": list(AREAS),
            "pretrain.modalities": "image+video",
            "pretrain.model": replace(build_config().model, depth=DEPTH),
        },
        operation=OperationConfig(),
        inputs={
            name: path if path.is_absolute() else root / path
            for name, path in STAGE.inputs(params, "walks").items()
        },
        work=root / "work",
        outs={name: root / path for name, path in STAGE.outs("walks").items()},
        journal=Journal(root / "journal.jsonl"),
        guard=lambda: None,
        progress=lambda *_: None,
        fingerprint="f" * 64,
    )


@pytest.fixture
def root(curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose walks have two splits, and a file of published weights."""
    monkeypatch.setattr("vills.config.params._check_entry", lambda *_: None)
    folder = tmp_path / "artifacts" / "curated" / "walks"
    shutil.copytree(curated / "curated" / "walks", folder)
    splits = [{"train": [3, 7, 8, 20], "test": [30, 31]}, {"train": [30, 31, 3], "test": [7, 8]}]
    (folder / "splits.json").write_text(json.dumps(splits))
    save_pretrained(tmp_path / "artifacts" / "pretrain", depth=DEPTH)
    torch.save(build_dino((4, 2))[1], tmp_path / "dino.pth")
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_every_variant_has_a_model_and_a_curve(root: Path) -> None:
    config = replace(
        CONFIG,
        modality="mixed",
        initialisations=["scratch", "dino"],
        published={"dino": PublishedConfig("dino.pth", "dino")},
        split_ids=[1, 0],
        epochs=2,
        eval_epochs=1,
    )
    context = build_context(root, config)
    assert context.inputs["published_dino"] == root / "dino.pth"
    STAGE.run(context)
    names = [f"{name}_split{k}" for name in ("scratch", "dino") for k in (1, 0)]
    with context.outs["plots"].open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["initialisation"], row["epoch"]) for row in rows) == sorted(
        (name, str(epoch)) for name in names for epoch in (1, 2)
    )
    metrics = json.loads(context.outs["metrics"].read_text())["last"]["walks"]
    for row in rows:
        if row["epoch"] == "2":
            last = metrics[row["initialisation"]]
            assert float(row["map"]) == pytest.approx(last["mAP"], abs=1e-6)
            assert float(row["rank1"]) == pytest.approx(last["R-1"], abs=1e-6)
    out = context.outs["finetune"]
    people = {name: load_reid(out / name).num_ids for name in names}
    assert list(people.values()) == [3, 4, 3, 4]
    described = json.loads((out / "data.json").read_text())
    assert described["0"].startswith("walks: train 12 of 4 people")
    assert described["1"].startswith("walks, split 1: train 7 of 3 people")
    assert described["1"].endswith("3 rows of people who are not in split 1 left out")
    assert "left out" not in described["0"]


HELD_OUT = replace(CONFIG, modality="video", initialisations=["scratch"], epochs=2, num_val_ids=2)


def run_held_out(root: Path) -> dict[str, Any]:
    """The stage with two people held out: who was learned, and what was said."""
    context = build_context(root, replace(HELD_OUT))
    STAGE.run(context)
    out = context.outs["finetune"]
    return {
        "num_ids": load_reid(out / "scratch").num_ids,
        "described": json.loads((out / "data.json").read_text())["0"],
        "accuracy": json.loads((out / "accuracy.json").read_text())["scratch"],
        "metrics": json.loads(context.outs["metrics"].read_text()),
        "journal": [r.metrics for r in load_journal(root / "journal.jsonl").committed],
        "model": (out / "scratch" / "model.safetensors").read_bytes(),
    }


def test_accuracy_of_held_out_people_is_said_to_be_theirs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "artifacts/curated/walks/splits.json").unlink()
    found = run_held_out(root)
    assert found["num_ids"] == 2  # who is held out is in no classifier
    assert "train 6 of 2 people" in found["described"]
    assert "val 6 of 2 people in 2 cameras" in found["described"]
    assert [(row["epoch"], row["people"]) for row in found["accuracy"]] == [(1, "val"), (2, "val")]
    assert "last" not in found["metrics"]
    last = found["accuracy"][-1]
    assert found["metrics"]["last_val"]["walks"]["scratch"] == {k: last[k] for k in ("mAP", "R-1")}
    names = {name for metrics in found["journal"] for name in metrics}
    assert "scratch/accuracy/val/mAP" in names
    assert not any("accuracy/test" in name for name in names)
    # killed between two epochs, it goes on to the same bits
    shutil.rmtree(root / "work")
    (root / "journal.jsonl").unlink()
    finish = Finetuning.finish_epoch

    def die(self: Finetuning, evaluate: Any) -> None:
        finish(self, evaluate)
        if self.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Finetuning, "finish_epoch", die)
        with pytest.raises(KeyboardInterrupt):
            run_held_out(root)
    assert run_held_out(root) == found


def test_held_out_people_that_cannot_be_scored_are_refused_before_training(root: Path) -> None:
    config = replace(HELD_OUT)
    context = build_context(root, config)
    config.protocol = "ltcc_standard"
    with pytest.raises(ConfigError, match="num_val_ids = 2 of walks .* needs a query of images"):
        STAGE.run(context)
    assert not (root / "work").exists()


@pytest.mark.slow
def test_loader_processes_change_no_bit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(CONFIG, modality="video", initialisations=["pretrained"], epochs=1)
    used, models = [], []
    loading: Any = finetune_loading
    iterate = loading.load_batches

    def count(*args: Any, **kwargs: Any) -> Any:
        used.append(kwargs["workers"])
        return iterate(*args, **kwargs)

    monkeypatch.setattr(finetune_loading, "load_batches", count)
    # on two cores, the training's own process loads, unless it is told otherwise
    for cores, asked in (("2", ""), ("3", ""), ("2", "1"), ("3", "0")):
        monkeypatch.setenv("VILLS_WORKERS", cores)
        monkeypatch.setenv("VILLS_LOADERS", asked)
        shutil.rmtree(root / "work", ignore_errors=True)
        context = build_context(root, config)
        STAGE.run(context)
        (path,) = context.outs["finetune"].rglob("model.safetensors")
        models.append(path.read_bytes())
    assert used == [0, 3, 1, 0]
    assert len(set(models)) == 1
    monkeypatch.setenv("VILLS_LOADERS", "many")
    with pytest.raises(ConfigError, match="VILLS_LOADERS = 'many' is not allowed"):
        count_loaders()


@pytest.mark.parametrize("kind", ["absolute", "above", "missing", "folder"])
def test_a_published_file_lies_below_the_folder_of_weights(root: Path, kind: str) -> None:
    names = {"absolute": str(root / "dino.pth"), "above": f"../{root.name}/dino.pth"}
    name = {**names, "missing": "none.pth", "folder": "artifacts"}[kind]
    words = (
        "a path below the folder" if ".." in name or name[0] == "/" else "not below VILLS_WEIGHTS"
    )

    def build() -> StageContext:
        published = {"dino": PublishedConfig(name, "dino")}
        return build_context(root, replace(CONFIG, initialisations=["dino"], published=published))

    with pytest.raises(ConfigError, match=words):
        build()


def test_a_split_that_is_not_there_is_refused_before_anything_is_trained(root: Path) -> None:
    config = replace(CONFIG, modality="video", split_ids=[0, 2])
    with pytest.raises(ConfigError, match="split 2 of walks does not exist. Allowed: 0 to 1"):
        STAGE.run(build_context(root, config))
    assert not (root / "work").exists()
