"""The whole loop on real loaders: outputs, kill and resume, and failing well."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.train.conftest import load_pretrain_data
from tests.train.synthetic import build_config
from vills.config.pretrain import PretrainConfig
from vills.data.loading import METHODS
from vills.data.pretrain_sources import PretrainData
from vills.interrupt import InterruptedRunError
from vills.models.weights import load_backbone
from vills.runner.store.journal import Journal, load_journal
from vills.train.checkpoint import list_checkpoints
from vills.train.consensus import NonFiniteError
from vills.train.meta_arch import SSLMetaArch
from vills.train.pretrain import run_pretrain

pytestmark = pytest.mark.slow

STEPS = 6
OUTPUTS = ["health.json", "views.png"] + [
    f"{network}/{name}"
    for network in ("student", "teacher")
    for name in ("model.json", "model.safetensors")
]


def run(
    data: PretrainData,
    folder: Path,
    *,
    stop_after: Callable[[int], bool] = lambda step: False,
    config: PretrainConfig | None = None,
    workers: int = 0,
    checkpoint_steps: int = 0,
) -> None:
    def progress(text: str, done: int, total: int) -> None:
        assert text.startswith("loss ")
        assert total == STEPS
        if stop_after(done):
            os.kill(os.getpid(), signal.SIGTERM)

    run_pretrain(
        config or build_config(max_steps=STEPS),
        data=data,
        work=folder / "work",
        out=folder / "out",
        journal=Journal(folder / "journal.jsonl"),
        guard=lambda: None,
        progress=progress,
        workers=workers,
        checkpoint_steps=checkpoint_steps,
    )


def read(folder: Path) -> dict[str, Any]:
    """All outputs, and the journal without its times."""
    out = folder / "out"
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    content = load_journal(folder / "journal.jsonl")
    return {**files, "journal": [(r.step, r.metrics) for r in content.committed]}


@pytest.fixture(scope="module")
def undisturbed(pretrain_data: PretrainData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    torch.set_num_threads(1)
    run(pretrain_data, folder)
    return folder


def test_outputs_are_complete_and_loadable(undisturbed: Path) -> None:
    assert sorted(read(undisturbed)) == sorted([*OUTPUTS, "journal"])
    student, teacher = (load_backbone(undisturbed / "out" / n) for n in ("student", "teacher"))
    assert student.config == teacher.config == build_config().model
    assert not torch.equal(student.encoder.vit.cls_token, teacher.encoder.vit.cls_token)
    with Image.open(undisturbed / "out" / "views.png") as picture:
        assert picture.size[0] > 200


def test_health_holds_both_entropies_at_the_start_and_at_the_end(undisturbed: Path) -> None:
    health = json.loads((undisturbed / "out" / "health.json").read_text())
    for window in ("start", "end"):
        for role in ("image/coarse", "image/head", "frame/coarse", "video/temporal"):
            values = {k: health[window][f"{role}/{k}"] for k in (
                "sample_entropy", "mean_target_entropy", "feature_spread", "num_outputs"
            )}  # fmt: skip
            assert 0 <= values["sample_entropy"] <= values["mean_target_entropy"]
            assert values["mean_target_entropy"] <= health["bounds"]["entropy_of_uniform_target"]
            assert values["num_outputs"] > 0
    assert health["bounds"]["alignment_loss_of_chance"] == pytest.approx(1.386, abs=1e-3)


def test_journal_holds_losses_gradients_shares_and_schedules(undisturbed: Path) -> None:
    content = load_journal(undisturbed / "journal.jsonl")
    assert content.pending == ()
    rows: dict[int, dict[str, float]] = {}
    for record in content.committed:
        rows.setdefault(record.step, {}).update(record.metrics)
    assert sorted(rows) == list(range(STEPS + 1))
    for name in ("feature", "masking", "koleo", "alignment"):
        assert all(f"loss/{name}" in rows[step] for step in range(1, STEPS + 1))
        assert rows[2][f"gradient/{name}"] > 0
        assert f"gradient/{name}" not in rows[3]
    assert 0 < rows[1]["data/image_lse_share"] < 1
    assert rows[1]["schedule/lr"] > 0


def damage_journal(path: Path, stop: int) -> None:
    """Leave of a journal what a crash, a bad disk or people leave; in another way at every stop."""
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    left = (data[: len(data) // 2], b"", b"".join([*lines[:2], b"\xff\n", *lines[2:]]))
    if stop < len(left):
        path.write_bytes(left[stop])
    elif stop == len(left):
        path.unlink()
    else:
        path.write_bytes(data.replace(b'"step":1', b'"step":2', 1))


@pytest.mark.parametrize("every", [1, 2, 4])
def test_interrupted_and_resumed_is_bit_identical(
    pretrain_data: PretrainData, undisturbed: Path, tmp_path: Path, every: int
) -> None:
    stops = 0
    while True:
        try:
            run(pretrain_data, tmp_path, stop_after=lambda step: step % every == 0)
            break
        except InterruptedRunError:
            if every == 1:
                damage_journal(tmp_path / "journal.jsonl", stops)
            stops += 1
    assert stops == {1: 5, 2: 2, 4: 1}[every]
    assert read(tmp_path) == read(undisturbed)


def test_killed_between_checkpoints_is_bit_identical(
    pretrain_data: PretrainData,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Death without warning in step 5, the last checkpoint being that of step 4."""
    config = build_config(max_steps=STEPS)
    compute = SSLMetaArch.compute_losses
    calls: list[int] = []

    def die(self: SSLMetaArch, batch: object, **kwargs: Any) -> object:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return compute(self, batch, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SSLMetaArch, "compute_losses", die)
        with pytest.raises(KeyboardInterrupt):
            run(pretrain_data, tmp_path, config=config, checkpoint_steps=2)
    assert [p.name for p in list_checkpoints(tmp_path / "work" / "checkpoints")] == [
        "step-00000004.pt",
        "step-00000002.pt",
    ]
    newest = list_checkpoints(tmp_path / "work" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1])  # and the newest one is torn
    run(pretrain_data, tmp_path, config=config)
    assert read(tmp_path) == read(undisturbed)


@pytest.mark.parametrize("method", METHODS)
def test_loader_processes_change_nothing(
    curated: Path,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    monkeypatch.setenv("VILLS_WORKER_START", method)
    run(load_pretrain_data(curated, cache_mb=1.0), tmp_path, workers=2)
    assert read(tmp_path) == read(undisturbed)


def test_a_run_goes_on_at_another_stage_of_zero(
    pretrain_data: PretrainData, undisturbed: Path, tmp_path: Path
) -> None:
    first = build_config(max_steps=STEPS)
    with pytest.raises(InterruptedRunError):
        run(pretrain_data, tmp_path, stop_after=lambda step: step == 3, config=first)
    run(pretrain_data, tmp_path, config=replace(first, zero_stage=3))
    found, expected = (
        load_backbone(folder / "out" / "teacher").state_dict() for folder in (tmp_path, undisturbed)
    )
    torch.testing.assert_close(dict(found), dict(expected), rtol=1e-3, atol=1e-4)


def test_not_a_number_names_rank_term_and_batch_and_leaves_a_checkpoint(
    pretrain_data: PretrainData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = SSLMetaArch.compute_losses

    def spoil(self: SSLMetaArch, batch: object, **kwargs: Any) -> object:
        output = compute(self, batch, **kwargs)  # type: ignore[arg-type]
        if batch.step == 3:  # type: ignore[attr-defined]
            output.terms["koleo"] = output.terms["koleo"] * float("nan")
        return output

    monkeypatch.setattr(SSLMetaArch, "compute_losses", spoil)
    config = build_config(max_steps=STEPS)
    with pytest.raises(NonFiniteError, match=r"batch of step 3 .*rank 0: koleo = nan.*What to do"):
        run(pretrain_data, tmp_path, config=config, checkpoint_steps=2)
    assert list_checkpoints(tmp_path / "work" / "checkpoints")[0].name == "step-00000002.pt"


def test_an_orphan_commits_nothing(pretrain_data: PretrainData, tmp_path: Path) -> None:
    def guard() -> None:
        raise RuntimeError("attempt 1 was taken over by attempt 2")

    with pytest.raises(RuntimeError, match="taken over"):
        run_pretrain(
            build_config(max_steps=2),
            data=pretrain_data,
            work=tmp_path / "work",
            out=tmp_path / "out",
            journal=Journal(tmp_path / "journal.jsonl"),
            guard=guard,
        )
    assert list_checkpoints(tmp_path / "work" / "checkpoints") == []
    assert not (tmp_path / "out").exists()
