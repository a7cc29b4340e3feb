"""World size changes nothing but speed: two gloo processes equal one, all losses and parts on."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ddp import run_ranks
from tests.train.conftest import load_pretrain_data
from tests.train.synthetic import build_batch, build_config
from vills.config.pretrain import OptimConfig
from vills.distributed import get_rank, get_world_size
from vills.tracking.journal import Journal
from vills.train.meta_arch import SSLMetaArch
from vills.train.param_groups import set_schedule
from vills.train.pretrain import Pretraining

STEPS = 4


def train(stage: int) -> list[dict[str, float]]:
    """A few steps with drop path, batch norm, KoLeo, InfoNCE and missing areas."""
    config = build_config(zero_stage=stage, drop_path=0.3)
    arch = SSLMetaArch(config)
    trace = []
    for step in range(STEPS):
        set_schedule(arch.student.param_groups, lr=1e-4, prototype_lr=1e-4, weight_decay=0.04)
        batch = build_batch(config, step=step, rank=get_rank(), world_size=get_world_size())
        output = arch.compute_losses(batch, teacher_temperature=0.04)
        values = arch.compute_means(output.terms)
        values |= {
            f"gradient/{name}": norm
            for name, norm in arch.compute_gradient_norms(
                output, batch, teacher_temperature=0.04
            ).items()
        }
        arch.student.backward(arch.compute_total(output.terms))
        arch.student.step()
        arch.update_teacher(output, momentum=0.99)
        trace.append(values)
    return trace


def resume(root: str, work: str, stop: int) -> dict[str, Any]:
    """Train on from the checkpoint in `work` up to `stop` steps."""
    # A small rate: Adam turns rounding noise of tiny gradients into steps of the rate's size.
    config = build_config(max_steps=6, optim=OptimConfig(base_lr=1e-3, warmup_epochs=0.0))
    journal = Journal(Path(work) / "journal.jsonl")
    run = Pretraining(config, data=load_pretrain_data(Path(root)), work=Path(work), journal=journal)
    run.restore(guard=lambda: None)
    first, losses = run.step, []
    for batch in run.load_batches():
        losses.append(run.arch.compute_means(run.train_step(batch).terms))
        if run.step == stop:
            run._commit(lambda: None)
            break
    return {"first": first, "losses": losses, "end": run.monitor.health.compute_end()}


@pytest.mark.parametrize("stage", [1, 3])
def test_two_processes_equal_one(stage: int) -> None:
    expected = train(stage)
    for trace in run_ranks(train, 2, stage):
        for values, reference in zip(trace, expected, strict=True):
            losses = {k: v for k, v in values.items() if not k.startswith("gradient/")}
            assert losses == pytest.approx({k: reference[k] for k in losses}, rel=1e-5, abs=1e-5)
            assert values == pytest.approx(reference, rel=1e-3)


def test_a_run_goes_on_with_another_number_of_processes(curated: Path, tmp_path: Path) -> None:
    whole = resume(str(curated), str(tmp_path / "whole"), 6)
    shared = str(tmp_path / "shared")
    (first, _) = run_ranks(resume, 2, str(curated), shared, 3)
    rest = resume(str(curated), shared, 6)
    assert (first["first"], rest["first"]) == (0, 3)
    losses = first["losses"] + rest["losses"]
    for values, expected in zip(losses, whole["losses"], strict=True):
        assert values == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert rest["end"] == pytest.approx(whole["end"], rel=1e-3)


def test_threads_must_be_what_the_receipt_says(curated: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    with pytest.raises(RuntimeError, match="torch runs with 2 threads, threads_per_rank says 1"):
        resume(str(curated), str(tmp_path), 1)
