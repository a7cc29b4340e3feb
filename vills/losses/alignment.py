"""L^a, the alignment loss (eq. 11), in both readings.

Legend: V videos of this rank, W ranks, E bottleneck, C videos that are classified against.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.distributed import all_gather, get_rank, global_mean
from vills.losses.reid import TripletLoss

_RADIUS = 4.0
"""Of the sphere on which hardest pairs are measured: distances are 0 to 8."""


class AlignmentLoss(nn.Module):
    """CLIP's symmetric InfoNCE between videos and their frames, over the global batch (eq. 11).

    Both sides are the student's; y is the place of a video in the global batch, whose videos are
    distinct (the sampler sees to it). A clip of one global view meets the frame of the other: the
    same view would share its crop and colours, which tell a pair apart without its person.
    A model that knows nothing scores ln(W * V).
    """

    def forward(self, video: Tensor, frame: Tensor, scale: Tensor) -> Tensor:
        """[2, V, E] unit vectors of clips and of frames, and the logits' scale []."""
        with torch.autocast(video.device.type, enabled=False):
            video, frame = video.float(), frame.float().flip(0)
            all_video = all_gather(video.transpose(0, 1)).transpose(0, 1)  # [2, W * V, E]
            all_frame = all_gather(frame.transpose(0, 1)).transpose(0, 1)
            rows = video.shape[1]
            labels = get_rank() * rows + torch.arange(rows, device=video.device)
            total = video.new_zeros(())
            for view in range(len(video)):
                for own, others in (
                    (video[view], all_frame[view]),
                    (frame[view], all_video[view]),
                ):
                    logits = scale.float() * own @ others.T  # [V, W * V]
                    total = total + functional.cross_entropy(logits, labels, reduction="sum")
            count = torch.tensor(2.0 * len(video) * rows, device=video.device)
            return global_mean(total, count)


class HardestPairLoss(nn.Module):
    """Eq. 11 in pairs, where the hardest ones alone count: a batch-hard triplet (Hermans 2017).

    A clip or frame meets every other picture of the step, of both global views: softplus of the
    distance to the farthest one of its video less that to the nearest one of another. A model that
    knows nothing scores ln(2).
    """

    def __init__(self) -> None:
        """Measure on a sphere, whatever the tokens' length."""
        super().__init__()
        self._triplet = TripletLoss(scale=_RADIUS)

    def forward(self, video: Tensor, frame: Tensor, labels: Tensor) -> Tensor:
        """[2, V, E] unit vectors of clips and of frames, long [V] index of the video -> scalar."""
        pictures = torch.cat([video, frame])  # [4, V, E]
        loss: Tensor = self._triplet(pictures.flatten(0, 1), labels.repeat(len(pictures)))
        return loss


class VideoIndexLoss(nn.Module):
    """Eq. 11 as printed: h^v and h^i classify the index y of the video, by cross-entropy.

    Both sides of both global views meet the same classes. A model that knows nothing scores ln(C).
    """

    def forward(self, video: Tensor, frame: Tensor, labels: Tensor) -> Tensor:
        """[2, V, C] logits of clips and of frames, long [V] index of the video -> scalar."""
        with torch.autocast(video.device.type, enabled=False):
            logits = torch.cat([video, frame]).float()  # [4, V, C]
            targets = labels.repeat(len(logits))
            total = functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum")
            return global_mean(total, torch.tensor(float(len(targets)), device=total.device))
