"""Heads h^v and h^i of eq. 11, and what they compare a video and its frame with.

Legend: V videos of this rank, D width of a token, n tokens side by side, E width of a head's
output, C videos that are classified against.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.config.model import HeadConfig
from vills.data.loading import PretrainBatch
from vills.data.samplers import sample_rng
from vills.distributed import all_gather
from vills.models.heads import MIN_NORM, Trunk
from vills.models.layers import GlobalBatchNorm1d, convert_rows

_MAX_LOG_SCALE = math.log(100.0)
_STREAM = 40
"""Keeps the classes drawn in a step apart from other uses of the same seed."""


@dataclass(frozen=True)  # no slots, as NetworkOutput
class AlignmentPairs:
    """Unit vectors of videos and of one frame of each (eq. 11)."""

    video: Tensor
    """[2, V, E], global views."""
    frame: Tensor
    """[2, V, E]."""
    scale: Tensor | None
    """[], what cosines are multiplied with, at most 100; None where hardest pairs alone count."""
    labels: Tensor
    """long [V], index of each video; those of a global batch are distinct."""


@dataclass(frozen=True)  # no slots, as NetworkOutput
class IndexLogits:
    """Logits of the index of the video (eq. 11 as printed)."""

    video: Tensor
    """[2, V, C], global views."""
    frame: Tensor
    """[2, V, C]."""
    labels: Tensor
    """long [V], places of this rank's videos among the C."""


class ShallowHead(nn.Module):
    """At most a batch norm and a linear map: what L^a asks for has to be in the tokens.

    The paper's MLP (supplement 2) can solve L^a by itself, and the tokens learn little of it.
    """

    def __init__(self, width: int, heads: HeadConfig) -> None:
        """Build; with `heads.alignment_layers` 0 the output has the width of the input."""
        super().__init__()
        self.norm = GlobalBatchNorm1d(width) if heads.norm == "bn" else None
        self.last = nn.Linear(width, heads.bottleneck) if heads.alignment_layers else None
        if self.last is not None:
            nn.init.trunc_normal_(self.last.weight, std=0.02)
            nn.init.zeros_(self.last.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """[R, n * D] -> [R, E] unit vectors, fp32."""
        x = tokens if self.norm is None else self.norm(tokens)
        if self.last is not None:
            x = self.last(x)
        return functional.normalize(x.float(), dim=-1, eps=MIN_NORM)


class PairHeads(nn.Module):
    """h^v and h^i of the reading in pairs, with the learned temperature of CLIP's logits."""

    def __init__(self, width: int, heads: HeadConfig, *, scaled: bool) -> None:
        """Build both heads; the scale starts at 1 / .07 and ends at 100 at most (CLIP)."""
        super().__init__()
        self.log_scale: nn.Parameter | None = None
        self.video_head = _build_head(width, heads)
        self.image_head = _build_head(width, heads)
        if scaled:
            # [1], not []: DeepSpeed broadcasts parameters as bytes, which a 0-D tensor refuses.
            self.log_scale = nn.Parameter(torch.tensor([math.log(1.0 / 0.07)]))

    def forward(self, video: Tensor, frame: Tensor, batch: PretrainBatch) -> AlignmentPairs:
        """[2, V, n * D] tokens of clips and of frames, both global views -> unit vectors."""
        assert batch.video_ids is not None
        scale = None
        if self.log_scale is not None:
            scale = self.log_scale[0].clamp(max=_MAX_LOG_SCALE).exp()
        sides = (_apply(self.video_head, video), _apply(self.image_head, frame))
        return AlignmentPairs(*sides, scale=scale, labels=batch.video_ids)


class IndexHeads(nn.Module):
    """h^v and h^i of eq. 11 as printed: logits of the index y of the video.

    Each side has a batch norm of its own before the classifier (a BNNeck, with which fine-tuning
    goes on), behind the layers that the pairs have too. Both share the classifier, so that a video
    and its frames meet in one place; its rows stand for the videos that a step does not hold.
    """

    def __init__(
        self, width: int, heads: HeadConfig, *, num_videos: int, num_samples: int, seed: int
    ) -> None:
        """Build for `num_videos` classes; `num_samples` as `pretrain.alignment_samples`."""
        super().__init__()
        self.num_samples, self.seed = num_samples, seed
        layers = heads.alignment_layers
        size = heads.bottleneck if layers else width
        sides = ("video", "image")
        self.layers = nn.ModuleDict({s: _build_head(width, heads) for s in sides if layers})
        self.norms = nn.ModuleDict({s: GlobalBatchNorm1d(size, bias=False) for s in sides})
        self.classes = nn.Parameter(torch.empty(num_videos, size))
        nn.init.normal_(self.classes, std=0.001)

    def forward(self, video: Tensor, frame: Tensor, batch: PretrainBatch) -> IndexLogits:
        """[2, V, n * D] tokens of clips and of frames, both global views -> logits."""
        chosen, labels = self._choose(batch)
        classes = self.classes if chosen is None else self.classes[chosen]
        logits = []
        for side, tokens in (("video", video), ("image", frame)):
            x = _apply(self.layers[side], tokens) if side in self.layers else tokens
            rows = self.norms[side](x.flatten(0, 1))
            logits.append(convert_rows(functional.linear(rows, classes), x.shape[:2]))
        return IndexLogits(logits[0], logits[1], labels)

    def _choose(self, batch: PretrainBatch) -> tuple[Tensor | None, Tensor]:
        """Videos to classify against long [C] (None: all), the same on all ranks, and labels."""
        assert batch.video_ids is not None
        own, count = batch.video_ids, len(self.classes)
        if not self.num_samples or self.num_samples >= count:
            return None, own
        rng = sample_rng(self.seed, _STREAM, batch.step)
        drawn = torch.from_numpy(rng.choice(count, size=self.num_samples, replace=False))
        with torch.no_grad():
            everyone = torch.cat([all_gather(own), drawn.to(own.device)])
            chosen: Tensor = everyone.unique()  # type: ignore[no-untyped-call]
        return chosen, torch.searchsorted(chosen, own)


class AlignmentHeads(nn.Module):
    """Heads of L^a in the readings that are on, over the same role tokens."""

    def __init__(
        self,
        width: int,
        heads: HeadConfig,
        *,
        tokens: Sequence[int],
        pairs: str = "all",
        num_videos: int = 0,
        num_samples: int = 0,
        seed: int = 0,
    ) -> None:
        """Build for the role `tokens` (indices).

        Args:
            width: D.
            heads: sizes.
            tokens: indices of the role tokens that are aligned, n of them.
            pairs: all or hardest, as `pretrain.alignment_pairs`; empty = no pairs.
            num_videos: classes of the index reading; 0 = off.
            num_samples: classes beside those of the step; 0 = all.
            seed: of their draw.
        """
        super().__init__()
        self.tokens = list(tokens)
        size = len(self.tokens) * width
        self.pairs = PairHeads(size, heads, scaled=pairs == "all") if pairs else None
        self.index: IndexHeads | None = None
        if num_videos:
            self.index = IndexHeads(
                size, heads, num_videos=num_videos, num_samples=num_samples, seed=seed
            )

    def forward(
        self, video: Tensor, frame: Tensor, batch: PretrainBatch
    ) -> tuple[AlignmentPairs | None, IndexLogits | None]:
        """Tokens [2, V, L, D] of z^v and z^vi of both global views -> what L^a compares."""
        sides = [source[:, :, self.tokens].flatten(2) for source in (video, frame)]
        pairs = None if self.pairs is None else self.pairs(*sides, batch)
        index = None if self.index is None else self.index(*sides, batch)
        return pairs, index


def _build_head(width: int, heads: HeadConfig) -> nn.Module:
    if heads.alignment_layers == 3:
        return Trunk(width, heads, roles=("coarse",))
    return ShallowHead(width, heads)


def _apply(head: nn.Module, tokens: Tensor) -> Tensor:
    """[2, V, n * D] -> [2, V, E] unit vectors."""
    rows = tokens.flatten(0, 1)
    out: Tensor = head(rows, role="coarse") if isinstance(head, Trunk) else head(rows)
    return convert_rows(out, tokens.shape[:2])
