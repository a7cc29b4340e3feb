"""World size changes nothing but speed: two gloo processes equal one, all losses and parts on."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ddp import run_ranks
from tests.train.conftest import load_pretrain_data
from tests.train.synthetic import build_batch, build_config
from vills.config.params import OperationConfig
from vills.config.pretrain import OptimConfig
from vills.data.loading import PretrainBatch
from vills.distributed import gather_objects, get_rank, get_world_size
from vills.errors import UserError
from vills.interrupt import InterruptedRunError
from vills.pipeline import StageContext
from vills.pipeline.pretrain import STAGE
from vills.runner.store.journal import Journal, load_journal
from vills.train.meta_arch import SSLMetaArch, StepOutput
from vills.train.param_groups import set_schedule
from vills.train.pretrain import Pretraining, run_pretrain

pytestmark = pytest.mark.slow

STEPS = 4
STOP, STEPS_IN_ALL = 4, 8


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


def pretrain(root: str, folder: str, stop: int) -> dict[str, Any]:
    """Train from where `folder` is, until rank 1 (or the only one) is asked to stop at `stop`."""
    # A small rate: Adam turns rounding noise of tiny gradients into steps of the rate's size.
    config = build_config(
        max_steps=STEPS_IN_ALL, optim=OptimConfig(base_lr=1e-3, warmup_epochs=0.5)
    )
    trace: dict[str, Any] = {"losses": {}, "rows": {}, "schedules": {}, "ended": "finished"}
    step = Pretraining.train_step

    def train_step(self: Pretraining, output: StepOutput, batch: PretrainBatch) -> None:
        step(self, output, batch)
        trace["losses"][batch.step] = self.arch.compute_means(output.terms)
        trace["schedules"][batch.step] = self.schedules.compute_all(batch.step)
        keys = gather_objects((batch.image_keys.tolist(), batch.video_keys.tolist()))
        trace["rows"][batch.step] = [sum(part, []) for part in zip(*keys, strict=True)]
        if self.step == self.num_steps:
            trace["state"] = self.arch.compute_state()
            trace["end"] = self.monitor.health.compute_end()
        if self.step == stop and get_rank() == get_world_size() - 1:
            os.kill(os.getpid(), signal.SIGUSR2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretraining, "train_step", train_step)
        try:
            run_pretrain(
                config,
                data=load_pretrain_data(Path(root)),
                work=Path(folder) / "work",
                out=Path(folder) / "out",
                journal=Journal(Path(folder) / "journal.jsonl"),
                guard=lambda: None,
            )
        except InterruptedRunError as error:
            trace["ended"] = f"requeue {error.wants_requeue}"
    return trace


@pytest.mark.parametrize("stage", [1, 3])
def test_two_processes_equal_one(stage: int) -> None:
    expected = train(stage)
    for trace in run_ranks(train, 2, stage):
        for values, reference in zip(trace, expected, strict=True):
            losses = {k: v for k, v in values.items() if not k.startswith("gradient/")}
            assert losses == pytest.approx({k: reference[k] for k in losses}, rel=1e-5, abs=1e-5)
            assert values == pytest.approx(reference, rel=1e-3)


@pytest.fixture(scope="module")
def whole(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    return pretrain(str(curated), str(tmp_path_factory.mktemp("whole")), STEPS_IN_ALL)


def run_at(world_size: int, *arguments: Any) -> list[dict[str, Any]]:
    """The trace of every rank."""
    return run_ranks(pretrain, world_size, *arguments)


@pytest.mark.parametrize("worlds", [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes(
    curated: Path, tmp_path: Path, whole: dict[str, Any], worlds: tuple[int, int]
) -> None:
    first, *others = run_at(worlds[0], str(curated), str(tmp_path), STOP)
    for trace in (first, *others):  # all stop, for the same reason, though one was asked
        assert trace["ended"] == "requeue True"
        assert list(trace["losses"]) == list(range(STOP))
    rest, *_ = run_at(worlds[1], str(curated), str(tmp_path), STEPS_IN_ALL)
    assert rest["ended"] == "finished"
    assert list(rest["losses"]) == list(range(STOP, STEPS_IN_ALL))
    for name in ("rows", "schedules"):
        assert {**first[name], **rest[name]} == whole[name], name
    losses = {**first["losses"], **rest["losses"]}
    worst = max(
        (abs(value - wanted) / abs(wanted), f"{name} of step {step}", value, wanted)
        for step, terms in whole["losses"].items()
        for name, wanted in terms.items()
        for value in [losses[step][name]]
    )
    assert worst[0] < 1e-5, f"worst of {worlds[0]} -> {worlds[1]}: {worst}"
    print(f"worst of {worlds[0]} -> {worlds[1]}: {worst}")
    assert_same_state(rest["state"], whole["state"])
    assert rest["end"] == pytest.approx(whole["end"], rel=1e-3)


def assert_same_state(found: Any, wanted: Any, *, name: str = "") -> None:
    """Weights, moments, teacher, centers and batch norm: what a reset would show in."""
    if isinstance(wanted, Mapping):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same_state(found[key], wanted[key], name=f"{name}/{key}")
    elif isinstance(wanted, torch.Tensor):
        difference = float((found.double() - wanted.double()).abs().max()) if wanted.numel() else 0
        assert difference <= 1e-4 * (1 + float(wanted.double().abs().max())), (name, difference)


def run_stage(root: str, folder: str) -> list[str]:
    """The stage itself; whom it told how far it is."""
    said: list[str] = []
    out = Path(folder) / "out"
    context = StageContext(
        item="",
        sections={"pretrain": build_config(max_steps=2)},
        operation=OperationConfig(),
        inputs={name: Path(root) / name for name in ("lse", "curated")},
        work=Path(folder) / "work",
        outs={
            "pretrain": out / "pretrain",
            "metrics": out / "metrics.json",
            "plots": out / "plots.csv",
        },
        journal=Journal(Path(folder) / "journal.jsonl"),
        guard=lambda: None,
        progress=lambda text, done, total: said.append(text),
        fingerprint="f",
    )
    STAGE.run(context)
    # every rank leaves once all is written
    assert all(path.exists() for path in context.outs.values())
    return said


def test_one_rank_of_the_stage_writes_and_speaks(curated: Path, tmp_path: Path) -> None:
    said = run_ranks(run_stage, 2, str(curated), str(tmp_path))
    assert len(said[0]) == 2
    assert said[1] == []
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert sorted(metrics["last"]) == ["alignment", "feature", "koleo", "masking", "total"]
    steps = [r.step for r in load_journal(tmp_path / "journal.jsonl").committed]
    assert steps == [0, 1, 1, 2, 2]


def test_threads_must_be_what_the_receipt_says(curated: Path, tmp_path: Path) -> None:
    torch.set_num_threads(2)
    with pytest.raises(UserError, match="torch runs with 2 threads, threads_per_rank says 1"):
        pretrain(str(curated), str(tmp_path), 1)
