"""Heads h^v and h^i of eq. 11, and what they compare a video and its frame with.

Legend: V videos of this rank, D width of a token, n tokens side by side, E width of a head's
output, C videos that are classified against.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.config.model import HeadConfig
from vills.data.batch import PretrainBatch
from vills.data.rng import sample_rng
from vills.distributed import all_gather
from vills.models.heads import MIN_NORM, Trunk
from vills.models.norm import GlobalBatchNorm1d
from vills.models.output import AlignmentPairs
from vills.models.shapes import fold_rows

_MAX_LOG_SCALE = math.log(100.0)
_STREAM = 40
"""Keeps the classes drawn in a step apart from other uses of the same seed."""


class ShallowHead(nn.Module):
    """A batch norm and at most one linear map: what L^a asks for has to be in the tokens.

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


class AlignmentHeads(nn.Module):
    """h^v and h^i, the learned temperature of their logits, and the classes of the index reading.

    Index reading: one unit vector per video serves both heads, so that a video and its frames meet
    in one place, and stands for the videos that a step does not hold.
    """

    def __init__(
        self,
        width: int,
        heads: HeadConfig,
        *,
        tokens: Sequence[int],
        num_videos: int = 0,
        num_samples: int = 0,
        seed: int = 0,
    ) -> None:
        """Build both heads; the scale starts at 1 / .07 and ends at 100 at most (CLIP).

        Args:
            width: D.
            heads: sizes.
            tokens: indices of the role tokens that are aligned, n of them.
            num_videos: classes of the index reading; 0 = pairs.
            num_samples: classes beside those of the step; 0 = all.
            seed: of their draw.
        """
        super().__init__()
        self.tokens, self.num_samples, self.seed = list(tokens), num_samples, seed
        self.video_head = _build_head(len(self.tokens) * width, heads)
        self.image_head = _build_head(len(self.tokens) * width, heads)
        # [1], not []: DeepSpeed broadcasts parameters as bytes, which a 0-D tensor refuses.
        self.log_scale = nn.Parameter(torch.tensor([math.log(1.0 / 0.07)]))
        self.classes: nn.Parameter | None = None
        if num_videos:
            size = heads.bottleneck if heads.alignment_layers else len(self.tokens) * width
            self.classes = nn.Parameter(torch.empty(num_videos, size))
            nn.init.trunc_normal_(self.classes, std=0.02)

    def forward(self, video: Tensor, frame: Tensor, batch: PretrainBatch) -> AlignmentPairs:
        """Tokens [2, V, L, D] of z^v and z^vi of both global views -> unit vectors."""
        sides = [
            fold_rows(_apply(head, source[:, :, self.tokens].flatten(0, 1).flatten(1)), (2, -1))
            for head, source in ((self.video_head, video), (self.image_head, frame))
        ]
        scale = self.log_scale[0].clamp(max=_MAX_LOG_SCALE).exp()
        if self.classes is None:
            return AlignmentPairs(sides[0], sides[1], scale)
        chosen, labels = self._choose(batch)
        rows = self.classes if chosen is None else self.classes[chosen]
        classes = functional.normalize(rows.float(), dim=-1)
        return AlignmentPairs(sides[0], sides[1], scale, classes, labels)

    def _choose(self, batch: PretrainBatch) -> tuple[Tensor | None, Tensor]:
        """Videos to classify against long [C] (None: all), the same on all ranks, and labels."""
        assert self.classes is not None
        assert batch.video_ids is not None
        own, count = batch.video_ids, len(self.classes)
        if not self.num_samples or self.num_samples >= count:
            return None, own
        rng = sample_rng(self.seed, _STREAM, batch.step)
        drawn = torch.from_numpy(rng.choice(count, size=self.num_samples, replace=False))
        with torch.no_grad():
            chosen = torch.cat([all_gather(own), drawn.to(own.device)]).unique()  # type: ignore[no-untyped-call]
        return chosen, torch.searchsorted(chosen, own)


def _build_head(width: int, heads: HeadConfig) -> nn.Module:
    if heads.alignment_layers == 3:
        return Trunk(width, heads, roles=("coarse",))
    return ShallowHead(width, heads)


def _apply(head: nn.Module, tokens: Tensor) -> Tensor:
    out: Tensor = head(tokens, role="coarse") if isinstance(head, Trunk) else head(tokens)
    return out
