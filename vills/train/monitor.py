"""What a pre-training run tells about itself: journal, health and progress."""

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vills.config.pretrain import PretrainConfig
from vills.data.loading import PretrainBatch
from vills.distributed import is_main
from vills.progress import Progress
from vills.runner.store.journal import Journal
from vills.train.health import MIN_OUTPUTS, HealthMonitor, compute_view_shares
from vills.train.meta_arch import SSLMetaArch, StepOutput
from vills.train.probe import PretrainProbe
from vills.train.schedules import Schedules


class PretrainMonitor:
    """Measures a run and journals it; rank 0 writes, all ranks take part in what is global."""

    def __init__(
        self,
        config: PretrainConfig,
        *,
        arch: SSLMetaArch,
        schedules: Schedules,
        journal: Journal,
        progress: Progress | None,
        probe: PretrainProbe | None = None,
    ) -> None:
        """Start with empty health windows; `probe`: None asks nothing of the features."""
        self.start_health: dict[str, float] = {}
        self.probe = probe
        self._config, self._arch, self._schedules = config, arch, schedules
        self._journal, self._progress = journal, progress
        self._started: tuple[float, int] | None = None
        # A window needs this many steps before each health step; the others are not observed.
        videos = config.modalities == "image+video"
        rows = min(config.image_batch, config.video_batch) if videos else config.image_batch
        self._window_steps = math.ceil(MIN_OUTPUTS / (2 * rows))
        self.health = HealthMonitor(num_steps=schedules.num_steps, window_steps=self._window_steps)

    @property
    def num_probe_batches(self) -> int:
        """Batches behind the health values of step 0; at most a fifth of a short run's steps."""
        return min(self._window_steps, max(2, self._schedules.num_steps // 5))

    def measure_start(self, batches: Iterable[PretrainBatch]) -> None:
        """Health and probes of the fresh teacher."""
        probe = HealthMonitor(num_steps=1)
        temperature = self._schedules.compute_teacher_temperature(0)
        for batch in batches:
            probe.observe(self._arch.probe_teacher(batch, teacher_temperature=temperature), step=0)
        self.start_health = probe.compute_end()
        self._log(0, {f"health/{name}": value for name, value in self.start_health.items()})
        if self.probe is not None:
            self._log_probe(0, self.probe.measure_start())

    def measure(
        self, output: StepOutput, batch: PretrainBatch, *, step: int, teacher_temperature: float
    ) -> None:
        """Feed the health windows; on a health step also measure every term's gradient.

        Called between forward and backward of `step` (from 0).
        """
        if self._is_observed(step):
            observed = self._arch.observe_teacher(
                output.teacher, teacher_temperature=teacher_temperature
            )
            self.health.observe(observed, step=step)
        if self._is_health_step(step):
            norms = self._arch.compute_gradient_norms(
                output, batch, teacher_temperature=teacher_temperature
            )
            output.metrics.update({f"gradient/{name}": value for name, value in norms.items()})

    def write(self, output: StepOutput, batch: PretrainBatch, *, step: int) -> None:
        """Journal what step `step` - 1 computed, under the number of steps done, and say it."""
        num_steps = self._schedules.num_steps
        if step % self._config.log_steps == 0 or step in (1, num_steps):
            means = self._arch.compute_means(output.terms)
            metrics = {f"loss/{name}": value for name, value in means.items()}
            metrics["gradient/all"] = output.gradient_norm
            self._log(step, metrics | self._schedules.compute_all(step - 1))
        if self._is_health_step(step - 1):
            values = {f"health/{k}": v for k, v in self.health.compute_rolling().items()}
            self._log(step, values | output.metrics | compute_view_shares(batch))
        if self.probe is not None and self.probe.is_due(step):
            self._log_probe(step, self.probe.measure(step))
        self._say(output, step=step)

    def get_state(self) -> dict[str, Any]:
        """Return this rank's part of a checkpoint."""
        state = {"start": self.start_health, "windows": self.health.get_state()}
        return state if self.probe is None else {**state, "probe": self.probe.get_state()}

    def load_states(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Take up what `get_state` gave on every rank."""
        self.start_health = dict(states[0]["start"])
        self.health.load_states([s["windows"] for s in states], device=self._arch.device)
        if self.probe is not None:
            self.probe.load_state(states[0]["probe"])  # rank 0 asked

    def _say(self, output: StepOutput, *, step: int) -> None:
        """One line: total loss, speed and time left."""
        now = time.monotonic()
        if self._started is None:
            # The first step warms up caches and would spoil the estimate.
            self._started = now, step
        if self._progress is None or not is_main():
            return
        total = float(self._arch.compute_total(output.terms).detach())
        text = f"loss {total:.3f}"
        since, first = self._started
        if step > first:
            speed = (step - first) / (now - since)
            left = round((self._schedules.num_steps - step) / speed)
            text += f", {speed:.1f} steps/s, {left // 60}:{left % 60:02d} left"
        self._progress(text, step, self._schedules.num_steps)

    def _is_health_step(self, step: int) -> bool:
        """Whether `step` (from 0) is measured: the first, the last and every `health_steps`."""
        last = step == self._schedules.num_steps - 1
        return step == 0 or last or (step + 1) % self._config.health_steps == 0

    def _is_observed(self, step: int) -> bool:
        """Whether a window needs `step`: those before a health step, and the last ones."""
        every = self._config.health_steps
        return every - 1 - step % every < self._window_steps or step >= self.health.end_from

    def _log_probe(self, step: int, values: Mapping[str, float]) -> None:
        self._log(step, {f"probe/{name}": value for name, value in values.items()})

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        if is_main() and metrics:
            self._journal.log(step, metrics)
