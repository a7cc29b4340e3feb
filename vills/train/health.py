"""Signs of life: is the teacher peaked, are its outputs varied, are features spread?

Legend: B rows, D width, K prototypes.

A collapsed teacher shows as a low entropy of the mean target (all samples alike) or a per-sample
entropy of ln K (no opinion). Both need many rows: the mean of n targets cannot have an entropy
above their own plus ln n, so windows of at least MIN_OUTPUTS rows are accumulated over steps.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from vills.config.pretrain import PretrainConfig
from vills.data.loading import PretrainBatch
from vills.distributed import all_reduce_sum, get_rank, get_world_size
from vills.models.published import LoadReport

MIN_OUTPUTS = 1024
"""Least rows behind an entropy of the mean target."""


def compute_entropy(probabilities: Tensor) -> Tensor:
    """Shannon entropy in nats along the last dimension; 0 log 0 = 0."""
    entropy: Tensor = torch.special.entr(probabilities).sum(-1)
    return entropy


@dataclass
class TargetWindow:
    """Running sums over teacher targets of one role and over its features."""

    sums: dict[str, Tensor] = field(default_factory=dict)
    """count [], entropy [], targets [K], features [D], squares [D]."""

    @torch.no_grad()
    def update(self, *, targets: Tensor, features: Tensor) -> None:
        """Add rows of this rank.

        Args:
            targets: [B, K] teacher probabilities.
            features: [B, D] teacher features, of any length.
        """
        unit = torch.nn.functional.normalize(features.double(), dim=-1)
        rows = {
            "count": torch.tensor(float(len(targets)), dtype=torch.float64, device=targets.device),
            "entropy": compute_entropy(targets).sum(dtype=torch.float64),
            "targets": targets.sum(0, dtype=torch.float64),
            "features": unit.sum(0),
            "squares": unit.square().sum(0),
        }
        self.sums = {k: v + self.sums[k] if self.sums else v for k, v in rows.items()}

    @property
    def num_outputs(self) -> int:
        """Rows so far over all ranks, which hold equally many."""
        return int(self.sums["count"]) * get_world_size() if self.sums else 0

    @torch.no_grad()
    def compute(self) -> dict[str, float]:
        """Entropies in nats and feature spread over all ranks; empty before the first row.

        `feature_spread` is the mean over dimensions of the standard deviation of L2-normalised
        features: 0 when all are alike, 1 / sqrt(D) when they fill the sphere evenly.
        """
        if not self.sums:
            return {}
        total = {key: all_reduce_sum(value) for key, value in self.sums.items()}
        count = total["count"]
        mean = total["features"] / count
        variance = (total["squares"] / count - mean.square()).clamp(min=0)
        return {
            "sample_entropy": float(total["entropy"] / count),
            "mean_target_entropy": float(compute_entropy(total["targets"] / count)),
            "feature_spread": float(variance.sqrt().mean()),
            "num_outputs": int(count),
        }


class HealthMonitor:
    """Target windows of all roles: one that restarts when full, one over the last tenth."""

    def __init__(self, *, num_steps: int, window_steps: int = 1) -> None:
        """Start with empty windows.

        Args:
            num_steps: steps of the run; its last tenth gets a window of its own.
            window_steps: steps that give MIN_OUTPUTS rows; that window has no fewer.
        """
        self.end_from = max(0, num_steps - max(window_steps, num_steps // 10))
        self.windows: dict[str, dict[str, TargetWindow]] = {"rolling": {}, "end": {}}

    def observe(self, roles: Mapping[str, tuple[Tensor, Tensor]], *, step: int) -> None:
        """Add one step's (targets [B, K], features [B, D]) of every role."""
        for name, windows in self.windows.items():
            if name == "end" and step < self.end_from:
                continue
            for role, (targets, features) in roles.items():
                window = windows.setdefault(role, TargetWindow())
                window.update(targets=targets, features=features)

    def compute_rolling(self) -> dict[str, float]:
        """Values of all full windows as `<role>/<value>`; these windows start anew."""
        full = {
            role: window
            for role, window in self.windows["rolling"].items()
            if window.num_outputs >= MIN_OUTPUTS
        }
        for role in full:
            self.windows["rolling"][role] = TargetWindow()
        return _flatten(full)

    def compute_end(self) -> dict[str, float]:
        """Values over the last tenth of the steps."""
        return _flatten(self.windows["end"])

    def get_state(self) -> dict[str, Any]:
        """Return this rank's windows, for a checkpoint."""
        return {
            name: {
                role: {key: value.cpu().clone() for key, value in window.sums.items()}
                for role, window in windows.items()
            }
            for name, windows in self.windows.items()
        }

    def load_states(self, states: Sequence[Mapping[str, Any]], *, device: torch.device) -> None:
        """Take up the windows that `get_state` gave on every rank.

        With another number of ranks each takes an equal share of the sums: the same totals, though
        not the same last bits.
        """
        if len(states) == get_world_size():
            self.windows = _build_windows(states[get_rank()], device)
            return
        merged: dict[str, dict[str, dict[str, Tensor]]] = {}
        for state in states:
            for name, windows in state.items():
                for role, sums in windows.items():
                    total = merged.setdefault(name, {}).setdefault(role, {})
                    for key, value in sums.items():
                        total[key] = total.get(key, 0.0) + value / get_world_size()
        self.windows = {"rolling": {}, "end": {}, **_build_windows(merged, device)}


def compute_gradient_norms(
    terms: Mapping[str, Tensor], *, parameters: Iterable[torch.nn.Parameter]
) -> dict[str, float]:
    """L2 norm of every term's gradient on `parameters`, averaged over ranks as in training.

    Args:
        terms: weighted loss terms of this step; the graph is kept for the backward to come.
        parameters: what the terms compete for: the student's encoder and resampler.
    """
    params = [p for p in parameters if p.requires_grad]
    norms = {}
    for name, term in terms.items():
        if not term.requires_grad:
            norms[name] = 0.0
            continue
        grads = torch.autograd.grad(term, params, retain_graph=True, allow_unused=True)
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if g is None else g.float().flatten()
                for p, g in zip(params, grads, strict=True)
            ]
        )
        norms[name] = float(all_reduce_sum(flat).norm() / get_world_size())
    return norms


def compute_view_shares(batch: PretrainBatch) -> dict[str, float]:
    """Shares of LSE views that exist and of patches that are hidden, in this rank's rows."""
    named = {
        "data/image_lse_share": batch.image_lse_weight,
        "data/clip_lse_share": batch.clip_lse_weight,
        "data/image_masked_share": batch.image_masks,
        "data/frame_masked_share": batch.frame_masks,
    }
    return {name: float(x.float().mean()) for name, x in named.items() if x is not None}


def build_health_report(
    config: PretrainConfig,
    *,
    start: Mapping[str, float],
    end: Mapping[str, float],
    num_steps: int,
    initial: LoadReport | None = None,
    probe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Content of health.json: values at step 0 and over the last tenth, with what bounds them.

    `initial` says which published weights the encoders started from, null if from none. `probe` is
    there if features were probed.
    """
    bounds = {
        "entropy_of_uniform_target": math.log(config.heads.feature_prototypes),
        "alignment_loss_of_chance": math.log(config.video_batch),
        "feature_spread_of_even_sphere": config.model.width**-0.5,
    }
    report = {
        "num_steps": num_steps,
        "initial": None if initial is None else asdict(initial),
        "bounds": bounds,
        "start": dict(start),
        "end": dict(end),
    }
    return report if probe is None else {**report, "probe": dict(probe)}


def _build_windows(
    state: Mapping[str, Any], device: torch.device
) -> dict[str, dict[str, TargetWindow]]:
    return {
        name: {
            role: TargetWindow({key: value.to(device) for key, value in sums.items()})
            for role, sums in windows.items()
        }
        for name, windows in state.items()
    }


def _flatten(windows: Mapping[str, TargetWindow]) -> dict[str, float]:
    return {
        f"{role}/{key}": value
        for role, window in sorted(windows.items())
        for key, value in window.compute().items()
    }
