"""L^a against torch's cross-entropy and plain loops of eq. 11 in both readings."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.ddp import local_slice, run_ranks
from vills import distributed
from vills.losses.alignment import AlignmentLoss, HardestPairLoss, VideoIndexLoss

_GENERATOR = torch.Generator().manual_seed(0)
VIDEO = functional.normalize(torch.randn(2, 6, 4, generator=_GENERATOR), dim=-1)
FRAME = functional.normalize(torch.randn(2, 6, 4, generator=_GENERATOR), dim=-1)
VIDEO_LOGITS, FRAME_LOGITS = torch.randn(2, 2, 6, 9, generator=_GENERATOR)
INDEX = torch.tensor([8, 0, 3, 5, 1, 2])


def loop_loss(video: Tensor, frame: Tensor, scale: Tensor) -> Tensor:
    """Eq. 11: a clip finds its frame, a frame its clip, each in the other global view."""
    terms = []
    for view in range(2):
        for v in range(video.shape[1]):
            to_frames = torch.stack([scale * video[view, v] @ f for f in frame[1 - view]])
            to_videos = torch.stack([scale * frame[1 - view, v] @ x for x in video[view]])
            terms.append(-(to_frames.log_softmax(dim=0)[v] + to_videos.log_softmax(dim=0)[v]) / 2)
    return torch.stack(terms).mean()


def test_is_the_plain_loop_of_eq_11_with_gradients() -> None:
    leaves = [t.clone().requires_grad_() for t in (VIDEO, FRAME, torch.tensor(14.0))]
    loss, expected = AlignmentLoss()(*leaves), loop_loss(*leaves)
    torch.testing.assert_close(loss, expected)
    for own, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


def test_is_clips_symmetric_cross_entropy() -> None:
    logits = 14.0 * VIDEO[0] @ FRAME[1].T
    labels = torch.arange(6)
    clip = (
        functional.cross_entropy(logits, labels) + functional.cross_entropy(logits.T, labels)
    ) / 2
    same = AlignmentLoss()(
        torch.stack([VIDEO[0], FRAME[1]]), torch.stack([VIDEO[0], FRAME[1]]), torch.tensor(14.0)
    )
    torch.testing.assert_close(same, clip)


def test_knowing_nothing_costs_ln_of_the_batch() -> None:
    blind = torch.ones(2, 6, 4) / 2
    loss = AlignmentLoss()(blind, blind, torch.tensor(14.0))
    torch.testing.assert_close(loss.item(), math.log(6))


def run_loss(video: Tensor, frame: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    rows = local_slice(video.shape[1])
    leaves = [t[:, rows].clone().requires_grad_() for t in (video, frame)]
    scale = torch.tensor(14.0, requires_grad=True)
    loss = AlignmentLoss()(*leaves, scale)
    *grads, own = torch.autograd.grad(loss / distributed.get_world_size(), [*leaves, scale])
    return distributed.reduce_mean(loss), grads, distributed.all_reduce_sum(own)


def test_two_processes_equal_one() -> None:
    loss, grads, scale_grad = run_loss(VIDEO, FRAME)
    ranks = run_ranks(run_loss, 2, VIDEO, FRAME)
    for own_loss, _, own_scale in ranks:
        torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(own_scale, scale_grad, rtol=1e-5, atol=1e-6)
    for whole, *parts in zip(grads, *(own for _, own, _ in ranks), strict=True):
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)


def loop_index_loss(video: Tensor, frame: Tensor) -> Tensor:
    """Eq. 11 as printed: half the cross-entropy of each head over the index of the video."""
    terms = []
    for side in (video, frame):
        for view in range(2):
            for v, y in enumerate(INDEX.tolist()):
                terms.append(-side[view, v].log_softmax(dim=0)[y])
    return torch.stack(terms).mean()


def loop_hardest(video: Tensor, frame: Tensor) -> Tensor:
    """Every picture: its farthest of the same video less its nearest of another one."""
    rows = [(side[view, v], v) for side in (video, frame) for view in (0, 1) for v in range(6)]
    pictures = [(4 * row / row.norm(), v) for row, v in rows]
    terms = []
    for anchor, own in pictures:
        gaps = [(torch.linalg.norm(anchor - other), v == own) for other, v in pictures]
        farthest = torch.stack([gap for gap, same in gaps if same]).max()
        nearest = torch.stack([gap for gap, same in gaps if not same]).min()
        terms.append(functional.softplus(farthest - nearest))
    return torch.stack(terms).mean()


LABELLED = [
    (VideoIndexLoss, loop_index_loss, VIDEO_LOGITS, FRAME_LOGITS),
    (HardestPairLoss, loop_hardest, VIDEO, FRAME),
]
"""Losses that take the index of a video, their plain loops, and what they are given."""


@pytest.mark.parametrize(("kind", "loop", "video", "frame"), LABELLED)
def test_is_the_plain_loop_over_indices_with_gradients(
    kind: type[nn.Module], loop: Callable[[Tensor, Tensor], Tensor], video: Tensor, frame: Tensor
) -> None:
    leaves = [t.clone().requires_grad_() for t in (video, frame)]
    loss, expected = kind()(*leaves, INDEX), loop(*leaves)
    torch.testing.assert_close(loss, expected)
    for own, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


def run_labelled(
    kind: type[nn.Module], video: Tensor, frame: Tensor
) -> tuple[Tensor, list[Tensor]]:
    rows = local_slice(video.shape[1])
    leaves = [t[:, rows].clone().requires_grad_() for t in (video, frame)]
    loss = kind()(*leaves, INDEX[rows])
    grads = torch.autograd.grad(loss / distributed.get_world_size(), leaves)
    return distributed.reduce_mean(loss), list(grads)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "loop", "video", "frame"), LABELLED)
def test_indices_in_two_processes_equal_one(
    kind: type[nn.Module], loop: object, video: Tensor, frame: Tensor
) -> None:
    loss, grads = run_labelled(kind, video, frame)
    ranks = run_ranks(run_labelled, 2, kind, video, frame)
    for own_loss, _ in ranks:
        torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
    for whole, *parts in zip(grads, *(own for _, own in ranks), strict=True):
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)


def test_hardest_pairs_of_a_model_that_knows_nothing_cost_ln_2() -> None:
    blind = torch.ones(2, 6, 4) / 2
    torch.testing.assert_close(HardestPairLoss()(blind, blind, INDEX).item(), math.log(2))
