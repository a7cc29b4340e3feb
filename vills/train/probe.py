"""Probes: what the features of a running pre-training know of persons and of cameras.

Legend: n crops, L role tokens, D width.

Student and teacher are asked at the start, every so many steps and at the end, on crops that no
step depends on; beside them a network of random weights and the pixels. Nothing is trained, no
random number is drawn and no buffer moves: a run's weights are the same with and without.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.config.pretrain import PretrainConfig
from vills.data.loading import normalise
from vills.data.probe_crops import ProbeCrops
from vills.distributed import is_main
from vills.evaluation.probes import Question, compute_probes
from vills.models.backbone import Backbone
from vills.models.network import build_network
from vills.train.meta_arch import SSLMetaArch

ALL = "all"
"""All roles of an image side by side, as fine-tuning takes them."""
PIXEL_GRID = (16, 8)
"""Height and width to which pixels are averaged before they are asked."""
BATCH = 128
"""Crops of a forward."""

_log = logging.getLogger(__name__)


class PretrainProbe:
    """Asks the networks of a run; rank 0 does, all ranks must call."""

    def __init__(
        self, config: PretrainConfig, *, arch: SSLMetaArch, crops: ProbeCrops, num_steps: int
    ) -> None:
        """Take networks and crops; no pixel is read yet."""
        self.start: dict[str, float] = {}
        """`<network>/<role>/<value>` before the first step; untrained and pixels are in it too."""
        self.last: dict[str, float] = {}
        """The same of teacher and student when they were last asked."""
        self._config, self._arch, self._crops, self._num_steps = config, arch, crops, num_steps
        self._pixels: np.ndarray | None = None
        self._question = Question(
            *(torch.from_numpy(x) for x in (crops.pids, crops.views, crops.cameras))
        )

    def is_due(self, step: int) -> bool:
        """Whether the networks are asked after `step` steps."""
        return step % self._config.probe.every_steps == 0 or step == self._num_steps

    def measure_start(self) -> dict[str, float]:
        """Pixels, the network without any training, and what the run starts from."""
        teacher = self._arch.teacher.backbone  # before the first step the student is its twin
        if is_main():
            pixels = functional.adaptive_avg_pool2d(normalise(self._load()), PIXEL_GRID)
            found = {"pixels": {ALL: compute_probes(pixels.flatten(1), self._question)}}
            found["teacher"] = found["student"] = found["untrained"] = self._ask(teacher)
            if self._arch.initial is not None:
                found["untrained"] = self._ask(self._build_untrained())
            self.start = _flatten(found)
        return self.start

    def measure(self, step: int) -> dict[str, float]:
        """Teacher and student after `step` steps; after the last one, warns of a low rank."""
        networks = self._arch.build_exports()
        if is_main():
            self.last = _flatten({name: self._ask(net) for name, net in networks.items()})
            if step == self._num_steps:
                for text in self.build_warnings():
                    _log.warning(text)
        return self.last

    def build_warnings(self) -> list[str]:
        """One text if a network's rank was under the floor when it was last asked."""
        floor = self._config.probe.min_rank
        ranks = {name: self.last[f"{name}/{ALL}/effective_rank"] for name in ("teacher", "student")}
        low = [f"{name} {rank:.1f}" for name, rank in ranks.items() if rank < floor]
        if not low:
            return []
        return [
            f"pre-training ends with features of effective rank {', '.join(low)}, under "
            f"pretrain.probe.min_rank = {floor:g}: they use only about that many of "
            f"{self._get_widths()[ALL]} directions, and fine-tuning may do better from scratch. "
            "What to do: compare with the ranks of pixels and of the untrained network in "
            "health.json; look at the loss curves (a term that stays at its bound has no effect); "
            "train longer, raise pretrain.koleo_weight, or lower the weight of a term "
            "whose gradient outweighs the others."
        ]

    def build_report(self) -> dict[str, Any]:
        """Return the part of health.json."""
        question = self._question
        return {
            "source": self._crops.source,
            "crops": len(self._crops),
            "people": len(torch.unique(question.pids)),
            "cameras": len(torch.unique(question.cameras)),
            "every_steps": self._config.probe.every_steps,
            "min_rank": self._config.probe.min_rank,
            "widths": self._get_widths(),
            "start": self.start,
            "end": self.last,
            "warnings": self.build_warnings(),
        }

    def get_state(self) -> dict[str, dict[str, float]]:
        """Return what a checkpoint keeps."""
        return {"start": self.start, "last": self.last}

    def load_state(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Inverse of `get_state`."""
        self.start, self.last = dict(state["start"]), dict(state["last"])

    def _get_widths(self) -> dict[str, int]:
        teacher = self._arch.teacher.backbone
        width = teacher.config.width
        roles = teacher.get_roles("image")
        return {
            **dict.fromkeys(roles, width),
            ALL: width * len(roles),
            "pixels": 3 * PIXEL_GRID[0] * PIXEL_GRID[1],
        }

    def _load(self) -> Tensor:
        """uint8 [n, 3, H, W], decoded once."""
        if self._pixels is None:
            self._pixels = self._crops.load(self._config.views.global_size)
        return torch.from_numpy(self._pixels)

    def _ask(self, backbone: Backbone) -> dict[str, dict[str, float]]:
        """Role -> its values."""
        roles = backbone.get_roles("image")
        tokens = self._encode(backbone)[:, list(roles.values())]
        features = {name: tokens[:, i] for i, name in enumerate(roles)} | {ALL: tokens.flatten(1)}
        return {name: compute_probes(x, self._question) for name, x in features.items()}

    def _encode(self, backbone: Backbone) -> Tensor:
        """Role tokens [n, L, D] of all crops, at the run's precision."""
        device = self._arch.device
        parts = []
        bf16 = self._config.precision == "bf16"
        with _evaluating(backbone), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for chunk in torch.split(self._load(), BATCH):
                tokens = backbone.encode_image(normalise(chunk.to(device)))
                parts.append(tokens.roles.float().cpu())
        return torch.cat(parts)

    def _build_untrained(self) -> Backbone:
        """Return the random weights of this run's seed, where it starts from published ones."""
        device = self._arch.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self._config.seed)
            return build_network(self._config).backbone.to(device)


def _flatten(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    return {
        f"{network}/{role}/{name}": value
        for network, roles in found.items()
        for role, values in roles.items()
        for name, value in values.items()
    }


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; afterwards every module is in the mode that it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
