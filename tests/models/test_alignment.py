"""Heads h^v and h^i: their depth, the tokens that they take, the classes of the index reading."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.ddp import run_ranks
from tests.models.batches import HEADS, VIDEOS, make_batch
from vills import distributed
from vills.models.alignment import AlignmentHeads
from vills.models.output import AlignmentPairs

_RANDOM = torch.Generator().manual_seed(0)
VIDEO = torch.randn(2, VIDEOS, 8, 32, generator=_RANDOM)
FRAME = torch.randn(2, VIDEOS, 8, 32, generator=_RANDOM)
BATCH = make_batch()


def build(layers: int = 3, **changes: object) -> AlignmentHeads:
    torch.manual_seed(0)
    heads = replace(HEADS, alignment_layers=layers)
    return AlignmentHeads(32, heads, **{"tokens": [0], **changes})  # type: ignore[arg-type]


def test_the_scale_starts_at_clips_and_stops_at_100() -> None:
    heads = build()
    pairs = heads(VIDEO, FRAME, BATCH)
    torch.testing.assert_close(pairs.scale.item(), 1 / 0.07)
    assert not torch.allclose(pairs.video, pairs.frame)
    with torch.no_grad():
        heads.log_scale.fill_(9.0)
    torch.testing.assert_close(heads(VIDEO, FRAME, BATCH).scale.item(), 100.0)


@pytest.mark.parametrize(("layers", "width"), [(3, 16), (1, 16), (0, 4 * 32)])
def test_heads_of_any_depth_give_unit_vectors_of_the_chosen_tokens(layers: int, width: int) -> None:
    video = VIDEO.clone().requires_grad_()
    pairs = build(layers, tokens=[0, 1, 2, 3])(video, FRAME, BATCH)
    assert pairs.video.shape == pairs.frame.shape == (2, VIDEOS, width)
    torch.testing.assert_close(pairs.video.norm(dim=-1), torch.ones(2, VIDEOS))
    (used,) = torch.autograd.grad(pairs.video.sum(), video)
    assert used[:, :, :4].abs().sum(dim=(0, 1, 3)).min() > 0
    assert used[:, :, 4:].abs().max() == 0


def test_without_layers_the_tokens_are_compared_as_they_stand() -> None:
    pairs = build(0)(VIDEO, FRAME, BATCH)
    rows = VIDEO[:, :, 0].flatten(0, 1)
    whitened = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    expected = whitened / whitened.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(pairs.video.flatten(0, 1), expected)


def test_classes_are_one_unit_vector_per_video() -> None:
    pairs = build(1, num_videos=9)(VIDEO, FRAME, BATCH)
    assert pairs.classes is not None
    assert pairs.labels is not None
    assert pairs.classes.shape == (9, 16)
    torch.testing.assert_close(pairs.classes.norm(dim=-1), torch.ones(9))
    assert pairs.labels.tolist() == [0, 1, 2, 3]


def sample(step: int) -> tuple[Tensor, Tensor, Tensor]:
    """Classes drawn on this rank's share of the videos 50 to 53 out of 60."""
    rows = distributed.local_slice(VIDEOS)
    batch = replace(BATCH, step=step, video_ids=torch.arange(50, 50 + VIDEOS)[rows])
    heads = build(1, num_videos=60, num_samples=10)
    pairs: AlignmentPairs = heads(VIDEO[:, rows], FRAME[:, rows], batch)
    assert pairs.classes is not None
    assert pairs.labels is not None
    assert heads.classes is not None
    own = torch.nn.functional.normalize(heads.classes[batch.video_ids], dim=-1)
    torch.testing.assert_close(pairs.classes[pairs.labels], own)
    return pairs.classes.detach(), pairs.labels, own.detach()


def test_sampled_classes_hold_those_of_the_step_and_change_with_it() -> None:
    first, labels, _ = sample(0)
    assert 10 <= len(first) <= 10 + VIDEOS
    assert len(labels) == VIDEOS
    assert torch.equal(first, sample(0)[0])
    assert not torch.equal(first[:8], sample(1)[0][:8])


def test_ranks_draw_the_same_classes() -> None:
    whole = sample(3)[0]
    for classes, _, _ in run_ranks(sample, 2, 3):
        assert torch.equal(classes, whole)
