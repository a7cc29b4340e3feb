"""R: masks, attention, and the embedding of a frame's place."""

import pytest
import torch

from tests.models.batches import TINY
from vills.models.resampler import FrameEmbedding, Resampler, ResamplerLayer

TOKENS = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0))


def build_resampler() -> Resampler:
    torch.manual_seed(0)
    return Resampler(TINY)


def test_a_layer_is_attention_over_tokens_and_latents() -> None:
    torch.manual_seed(1)
    layer = ResamplerLayer(32, 2)
    latents = torch.randn(2, 8, 32)
    keys = torch.cat([layer.norm_tokens(TOKENS), layer.norm_latents(latents)], dim=1)
    query = layer.query(layer.norm_latents(latents))
    key, value = layer.key_value(keys).chunk(2, dim=-1)
    picked = torch.zeros(2, 8, 32)
    for b in range(2):
        for head in range(2):
            own = slice(16 * head, 16 * (head + 1))
            scores = query[b, :, own] @ key[b, :, own].T / 4.0
            picked[b, :, own] = scores.softmax(dim=-1) @ value[b, :, own]
    expected = latents + layer.project(picked)
    expected = expected + layer.mlp(layer.norm_mlp(expected))
    torch.testing.assert_close(layer(latents, TOKENS, None), expected)


def test_masked_tokens_are_as_if_they_were_not_there() -> None:
    resampler = build_resampler()
    mask = torch.ones(2, 10, dtype=torch.bool)
    mask[:, 6:] = False
    torch.testing.assert_close(resampler(TOKENS, mask), resampler(TOKENS[:, :6]))
    assert resampler(TOKENS, torch.zeros_like(mask)).isfinite().all()
    weights = resampler.compute_attention(TOKENS, mask)
    assert weights.shape == (2, 8, 10)
    assert not weights[..., 6:].any()
    assert (weights.sum(dim=-1) < 1.0).all()


def test_each_role_token_depends_on_its_query() -> None:
    resampler = build_resampler()
    before = resampler(TOKENS)
    for role in range(8):
        changed = build_resampler()
        with torch.no_grad():
            changed.queries[role] += torch.randn(32)
        moved = (changed(TOKENS) - before).norm(dim=-1).mean(dim=0)
        assert moved.argmax() == role


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 5, 16])
def test_frame_embeddings_stretch_and_train_every_row(num_frames: int) -> None:
    embedding = FrameEmbedding(4, 32)
    rows = embedding.compute_rows(num_frames)
    assert rows.shape == (num_frames, 32)
    rows.square().sum().backward()
    assert (embedding.table.grad.abs().sum(dim=1) > 0).all()


def test_frame_embeddings_of_the_tables_own_length_are_its_rows() -> None:
    embedding = FrameEmbedding(4, 32)
    assert torch.equal(embedding.compute_rows(4), embedding.table)
    torch.testing.assert_close(embedding.compute_rows(7)[[0, 2, 4, 6]], embedding.table)
    torch.testing.assert_close(embedding.compute_rows(2)[0], embedding.table[:2].mean(dim=0))
    tokens = torch.zeros(1, 2, 3, 32)
    added = embedding(tokens, torch.tensor([[3, 1]]), 4)
    torch.testing.assert_close(added[0, :, 0], embedding.table[[3, 1]])
    torch.testing.assert_close(added[0, :, 2], embedding.table[[3, 1]])
