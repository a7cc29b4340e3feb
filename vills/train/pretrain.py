"""The pre-training loop (eq. 12): schedules, losses, step, teacher, journal, checkpoint.

A resumed run is bit-identical to an undisturbed one at equal world size and threads: schedules and
the sampler are functions of the step, noise is keyed by sample, and everything else is in the
checkpoint.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

import torch

from vills.config.pretrain import PretrainConfig
from vills.data.loading import PretrainBatch
from vills.data.pretrain_sources import PretrainData, build_pretrain_sampler
from vills.data.pretraining import build_pretrain_loader
from vills.data.probe_crops import build_probe_crops
from vills.data.reid import ReidData
from vills.distributed import (
    gather_objects,
    get_rank,
    get_world_size,
    init_process_group,
    is_main,
)
from vills.interrupt import InterruptedRunError, InterruptFlag
from vills.io import save_json
from vills.models.weights import save_backbone
from vills.progress import Progress
from vills.runner.store.journal import Journal
from vills.train.checkpoint import FOLDER, load_checkpoint, save_checkpoint
from vills.train.consensus import (
    NonFiniteError,
    check_finite,
    compute_any,
    compute_requeue,
    describe_non_finite,
    set_determinism,
)
from vills.train.health import build_health_report
from vills.train.meta_arch import SSLMetaArch, StepOutput
from vills.train.monitor import PretrainMonitor
from vills.train.param_groups import set_schedule
from vills.train.probe import PretrainProbe
from vills.train.schedules import Schedules, compute_num_steps
from vills.train.views_sheet import save_views

VIEWS = "views.png"


def run_pretrain(
    config: PretrainConfig,
    *,
    data: PretrainData,
    work: Path,
    out: Path,
    journal: Journal,
    guard: Callable[[], None],
    progress: Progress | None = None,
    workers: int = 0,
    initial: Path | None = None,
    people: ReidData | None = None,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int = 0,
) -> None:
    """Train from the newest checkpoint in `work`, or from the start, and export to `out`.

    Args:
        config: parameters of the stage; batches are global.
        data: images and videos with their masks.
        work: this run's folder for checkpoints; shared by all ranks.
        out: gets student/ and teacher/ (model.safetensors, model.json), health.json, views.png.
        journal: metrics, restored from the checkpoint; rank 0 writes it.
        guard: raises if another attempt owns the run; called before every commit.
        progress: called with (text, steps done, steps in all).
        workers: loader processes; they change nothing but speed.
        initial: published weights from which the encoders start, named by `config.initial`.
        people: labelled people whom the probes ask, named by `config.probe.source`.
        checkpoint_minutes: longest time between checkpoints, which change no bit.
        checkpoint_steps: and one every so many steps; 0: by minutes only.

    Raises:
        ConfigError: if there are too few people or tracklets to probe.
        WeightsError: if `initial` does not fit the encoder; it lists what is wrong.
        InterruptedRunError: after SIGTERM or SIGUSR2, once a checkpoint is written.
        NonFiniteError: if a loss or gradient is NaN or inf on any rank.
    """
    with InterruptFlag() as flag:
        run = Pretraining(
            config,
            data=data,
            work=work,
            journal=journal,
            guard=guard,
            progress=progress,
            workers=workers,
            initial=initial,
            people=people,
            checkpoint_minutes=checkpoint_minutes,
            checkpoint_steps=checkpoint_steps,
        )
        run.restore()
        run.stop_if_asked(flag)
        with closing(run.load_batches(run.step, run.num_steps)) as batches:
            for batch in batches:
                output = run.arch.compute_losses(batch, teacher_temperature=run.set_schedules())
                run.train_step(output, batch)
                run.monitor.write(output, batch, step=run.step)
                run.commit_if_due(flag)
    run.export(out)


class Pretraining:
    """State of a run between two steps."""

    def __init__(
        self,
        config: PretrainConfig,
        *,
        data: PretrainData,
        work: Path,
        journal: Journal,
        guard: Callable[[], None],
        progress: Progress | None = None,
        workers: int = 0,
        initial: Path | None = None,
        people: ReidData | None = None,
        checkpoint_minutes: float = 5.0,
        checkpoint_steps: int = 0,
    ) -> None:
        """Build networks, losses and schedules; `restore` gives them their state."""
        init_process_group()
        set_determinism(config.threads_per_rank)
        per_epoch = build_pretrain_sampler(data, config).steps_per_epoch
        self.config = config
        self.num_steps = compute_num_steps(config, steps_per_epoch=per_epoch)
        self.step = 0
        self.schedules = Schedules(config, num_steps=self.num_steps, steps_per_epoch=per_epoch)
        crops = build_probe_crops(config, data=data, people=people)
        self.arch = SSLMetaArch(config, num_videos=data.num_videos, initial=initial)
        self.probe: PretrainProbe | None = None
        if crops is not None:
            self.probe = PretrainProbe(
                config, arch=self.arch, crops=crops, num_steps=self.num_steps
            )
        self.monitor = PretrainMonitor(
            config,
            arch=self.arch,
            schedules=self.schedules,
            journal=journal,
            progress=progress,
            probe=self.probe,
        )
        self._data, self._work, self._journal, self._workers = data, work, journal, workers
        self._checkpoint_seconds, self._checkpoint_steps = 60 * checkpoint_minutes, checkpoint_steps
        self._guard = guard
        self._last_commit = time.monotonic()

    def restore(self) -> None:
        """Load the newest checkpoint; without one, measure the fresh networks and write one.

        So there is a checkpoint from before any step that fails.
        """
        state = load_checkpoint(self._work / FOLDER)
        if state is not None:
            self.step = state["step"]
            self.arch.load_state(state)
            self.monitor.load_states([rank["monitor"] for rank in state["ranks"]])
            if len(state["ranks"]) == get_world_size():
                torch.set_rng_state(state["ranks"][get_rank()]["rng"])
        if is_main():
            # a fresh start measures step 0 anew: what an earlier life told of it would stand twice
            self._journal.restore(state["journal"] if state is not None else "")
        if state is None:
            with closing(self.load_batches(0, self.monitor.num_probe_batches)) as batches:
                self.monitor.measure_start(batches)
            self._commit()

    def load_batches(self, start: int, stop: int) -> Generator[PretrainBatch, None, None]:
        """Load this rank's rows of the steps from `start` to `stop`, on the training device."""
        loader = build_pretrain_loader(
            self._data,
            config=self.config,
            start_step=start,
            num_steps=stop - start,
            rank=get_rank(),
            world_size=get_world_size(),
            workers=self._workers,
        )
        with closing(loader) as batches:
            for batch in batches:
                yield batch.to(self.arch.device)

    def set_schedules(self) -> float:
        """Set what the optimizer has by schedule at this step; return the teacher's temperature."""
        step, plan = self.step, self.schedules
        set_schedule(
            self.arch.student.param_groups,
            lr=plan.compute_lr(step),
            prototype_lr=plan.compute_prototype_lr(step),
            weight_decay=plan.compute_weight_decay(step),
        )
        return plan.compute_teacher_temperature(step)

    def train_step(self, output: StepOutput, batch: PretrainBatch) -> None:
        """Take one optimizer step on the losses of `batch`, and move the teacher.

        Raises:
            NonFiniteError: before anything is updated.
        """
        step, student = self.step, self.arch.student
        check_finite(output.terms, batch=self._describe(batch))
        temperature = self.schedules.compute_teacher_temperature(step)
        self.monitor.measure(output, batch, step=step, teacher_temperature=temperature)
        student.backward(self.arch.compute_total(output.terms))
        try:
            output.gradient_norm = student.step()
        except NonFiniteError as error:
            bad = f"rank {get_rank()} and all others: {error}"
            raise NonFiniteError(describe_non_finite([bad], batch=self._describe(batch))) from error
        self.arch.update_teacher(output, momentum=self.schedules.compute_momentum(step))
        self.step += 1

    def commit_if_due(self, flag: InterruptFlag) -> None:
        """Write a checkpoint if it is time or any rank was asked to stop, then stop.

        Raises:
            InterruptedRunError: see `stop_if_asked`.
        """
        every = self._checkpoint_steps
        waited = time.monotonic() - self._last_commit >= self._checkpoint_seconds
        due = waited or self.step == self.num_steps or bool(every and self.step % every == 0)
        due, stop = compute_any([due, flag.is_set], device=self.arch.device)
        if due or stop:
            self._commit()
        if stop:
            self.stop_if_asked(flag)

    def stop_if_asked(self, flag: InterruptFlag) -> None:
        """End the run where a checkpoint was just written or read.

        Raises:
            InterruptedRunError: on every rank alike, if one was asked to stop before the last step.
        """
        (stop,) = compute_any([flag.is_set], device=self.arch.device)
        if stop and self.step < self.num_steps:
            raise InterruptedRunError(
                f"stopped at step {self.step} of {self.num_steps} on request; checkpoint written. "
                "What to do: give the same command again to continue.",
                wants_requeue=compute_requeue(flag, device=self.arch.device),
            )

    def export(self, out: Path) -> None:
        """Write what the next stages and the report read; the same bytes for the same run."""
        report = build_health_report(
            self.config,
            start=self.monitor.start_health,
            end=self.monitor.health.compute_end(),
            num_steps=self.num_steps,
            initial=self.arch.initial,
            probe=None if self.probe is None or not is_main() else self.probe.build_report(),
        )
        networks = self.arch.build_exports()
        if not is_main():
            return
        self._guard()
        out.mkdir(parents=True, exist_ok=True)
        for name, backbone in networks.items():
            save_backbone(backbone, out / name)
        save_json(out / "health.json", report)
        # loaded again rather than kept from step 0: nothing that may be lost on the way is needed
        with closing(self.load_batches(0, 1)) as batches:
            save_views(out / VIEWS, next(batches))

    def _describe(self, batch: PretrainBatch) -> str:
        first, last = get_rank(), get_world_size()
        return f"the batch of step {batch.step} (share {first + 1} of {last})"

    def _commit(self) -> None:
        ranks = gather_objects({"rng": torch.get_rng_state(), "monitor": self.monitor.get_state()})
        told = self._journal.render_commit(self.step) if is_main() else ""
        state = self.arch.compute_state()
        state |= {"step": self.step, "ranks": ranks, "journal": told}
        save_checkpoint(self._work / FOLDER, state, step=self.step, guard=self._guard)
        if is_main():
            self._journal.mark_checkpoint(self.step)
        self._last_commit = time.monotonic()
