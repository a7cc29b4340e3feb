"""Heads h^v and h^i: their depth, the tokens that they take, the classes of the index reading."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.ddp import local_slice, run_ranks
from tests.models.batches import HEADS, VIDEOS, make_batch
from vills.data.loading import PretrainBatch
from vills.models.alignment import AlignmentHeads, AlignmentPairs, IndexLogits

_RANDOM = torch.Generator().manual_seed(0)
VIDEO = torch.randn(2, VIDEOS, 8, 32, generator=_RANDOM)
FRAME = torch.randn(2, VIDEOS, 8, 32, generator=_RANDOM)
BATCH = make_batch()


def build(layers: int = 3, **changes: Any) -> AlignmentHeads:
    torch.manual_seed(0)
    heads = replace(HEADS, alignment_layers=layers)
    return AlignmentHeads(32, heads, **{"tokens": [0], **changes})


def pair(heads: AlignmentHeads, video: Tensor = VIDEO) -> AlignmentPairs:
    pairs, index = heads(video, FRAME, BATCH)
    assert isinstance(pairs, AlignmentPairs)
    assert index is None
    return pairs


def classify(heads: AlignmentHeads, batch: PretrainBatch = BATCH) -> IndexLogits:
    rows = slice(0, len(batch.video_ids)) if batch.video_ids is not None else slice(0)
    _, index = heads(VIDEO[:, rows], FRAME[:, rows], batch)
    assert isinstance(index, IndexLogits)
    return index


def test_the_scale_starts_at_clips_and_stops_at_100() -> None:
    heads = build()
    pairs = pair(heads)
    torch.testing.assert_close(pairs.scale.item(), 1 / 0.07)
    assert not torch.allclose(pairs.video, pairs.frame)
    assert heads.pairs is not None
    with torch.no_grad():
        heads.pairs.log_scale.fill_(9.0)
    torch.testing.assert_close(pair(heads).scale.item(), 100.0)


@pytest.mark.parametrize(("layers", "width"), [(3, 16), (1, 16), (0, 4 * 32)])
def test_heads_of_any_depth_give_unit_vectors_of_the_chosen_tokens(layers: int, width: int) -> None:
    video = VIDEO.clone().requires_grad_()
    pairs = pair(build(layers, tokens=[0, 1, 2, 3]), video)
    assert pairs.video.shape == pairs.frame.shape == (2, VIDEOS, width)
    torch.testing.assert_close(pairs.video.norm(dim=-1), torch.ones(2, VIDEOS))
    (used,) = torch.autograd.grad(pairs.video.sum(), video)
    assert used[:, :, :4].abs().sum(dim=(0, 1, 3)).min() > 0
    assert used[:, :, 4:].abs().max() == 0


def test_without_layers_the_tokens_are_compared_as_they_stand() -> None:
    pairs = pair(build(0))
    rows = VIDEO[:, :, 0].flatten(0, 1)
    whitened = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
    expected = whitened / whitened.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(pairs.video.flatten(0, 1), expected)
    torch.manual_seed(0)
    bare = replace(HEADS, alignment_layers=0, norm="none")
    pairs = pair(AlignmentHeads(32, bare, tokens=[0]))
    expected = VIDEO[:, :, 0] / VIDEO[:, :, 0].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(pairs.video, expected)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_index_is_a_batch_norm_and_one_classifier_for_both_sides(layers: int) -> None:
    heads = build(layers, pairs="", num_videos=9)
    assert heads.index is not None
    index = classify(heads)
    assert index.video.shape == index.frame.shape == (2, VIDEOS, 9)
    assert index.labels.tolist() == [0, 1, 2, 3]
    if layers == 0:
        rows = VIDEO[:, :, 0].flatten(0, 1)
        whitened = (rows - rows.mean(0)) / (rows.var(0, unbiased=False) + 1e-5).sqrt()
        expected = whitened @ heads.index.classes.T
        torch.testing.assert_close(index.video.flatten(0, 1), expected)
    grads = torch.autograd.grad(index.video.sum() + index.frame.sum(), heads.index.classes)
    assert grads[0].abs().sum() > 0


def test_both_readings_stand_side_by_side() -> None:
    pairs, index = build(0, num_videos=9)(VIDEO, FRAME, BATCH)
    assert isinstance(pairs, AlignmentPairs)
    assert isinstance(index, IndexLogits)


def sample(step: int) -> tuple[Tensor, Tensor]:
    """Logits of this rank's share of the videos 50 to 53, among classes drawn out of 60."""
    rows = local_slice(VIDEOS)
    batch = replace(BATCH, step=step, video_ids=torch.arange(50, 50 + VIDEOS)[rows])
    heads = build(0, pairs="", num_videos=60, num_samples=10)
    _, index = heads(VIDEO[:, rows], FRAME[:, rows], batch)
    assert isinstance(index, IndexLogits)
    whole = build(0, pairs="", num_videos=60)
    _, full = whole(VIDEO[:, rows], FRAME[:, rows], batch)
    assert isinstance(full, IndexLogits)
    own = torch.gather(index.video, 2, index.labels.expand(2, -1)[..., None])
    theirs = torch.gather(full.video, 2, full.labels.expand(2, -1)[..., None])
    torch.testing.assert_close(own, theirs)
    return index.video.detach(), index.labels


def test_sampled_classes_hold_those_of_the_step_and_change_with_it() -> None:
    logits, labels = sample(0)
    assert 10 <= logits.shape[2] <= 10 + VIDEOS
    assert len(labels) == VIDEOS
    assert torch.equal(logits, sample(0)[0])
    assert logits.shape != sample(1)[0].shape or not torch.equal(logits, sample(1)[0])


@pytest.mark.slow
def test_ranks_draw_the_same_classes() -> None:
    whole, labels = sample(3)
    ranks = run_ranks(sample, 2, 3)
    assert torch.cat([own for _, own in ranks]).tolist() == labels.tolist()
    torch.testing.assert_close(torch.cat([own for own, _ in ranks], dim=1), whole)


def test_hardest_pairs_have_no_scale_to_learn() -> None:
    heads = build(0, pairs="hardest")
    pairs = pair(heads)
    assert pairs.scale is None
    assert pairs.labels.tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(pairs.video, pair(build(0)).video)
    assert "pairs.log_scale" not in dict(heads.named_parameters())
