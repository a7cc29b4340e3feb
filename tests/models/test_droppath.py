"""Noise that belongs to a sample."""

import torch

from vills.models.droppath import DropPathNoise, mix_keys

KEYS = torch.arange(20_000)


def test_a_row_is_dropped_alike_in_any_batch() -> None:
    whole = DropPathNoise(KEYS, rate=0.5, depth=3).compute_scale(layer=2, branch=0)
    part = DropPathNoise(KEYS[100:107], rate=0.5, depth=3).compute_scale(layer=2, branch=0)
    assert whole is not None
    assert part is not None
    assert torch.equal(whole[100:107], part)


def test_rates_rise_linearly_and_keep_the_mean() -> None:
    noise = DropPathNoise(KEYS, rate=0.4, depth=3)
    assert noise.compute_scale(layer=0, branch=0) is None
    for layer, rate in ((1, 0.2), (2, 0.4)):
        scale = noise.compute_scale(layer=layer, branch=1)
        assert scale is not None
        assert abs((scale == 0).float().mean().item() - rate) < 0.02
        assert abs(scale.mean().item() - 1.0) < 0.03
        assert torch.equal(scale.unique(), torch.tensor([0.0, 1.0 / (1.0 - rate)]))


def test_layers_and_branches_are_independent() -> None:
    noise = DropPathNoise(KEYS, rate=0.5, depth=2)
    deep = DropPathNoise(KEYS, rate=0.5, depth=1)
    first, second = (noise.compute_scale(layer=1, branch=branch) for branch in (0, 1))
    other = deep.compute_scale(layer=0, branch=0)
    assert first is not None
    assert second is not None
    assert other is not None
    for a, b in ((first, second), (first, other)):
        assert abs(((a > 0) == (b > 0)).float().mean().item() - 0.5) < 0.02


def test_rate_zero_drops_nothing_and_rate_one_everything() -> None:
    assert DropPathNoise(KEYS, rate=0.0, depth=2).compute_scale(layer=1, branch=0) is None
    scale = DropPathNoise(KEYS, rate=1.0, depth=2).compute_scale(layer=1, branch=0)
    assert scale is not None
    assert not scale.any()


def test_mixed_keys_do_not_collide() -> None:
    views = mix_keys(KEYS[:, None], 3, torch.arange(5))
    assert views.unique().numel() == views.numel()
    assert not torch.equal(mix_keys(KEYS, 1), mix_keys(KEYS, 2))
    assert torch.equal(mix_keys(KEYS, 1), mix_keys(KEYS, 1))
