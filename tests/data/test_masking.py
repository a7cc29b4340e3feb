import numpy as np
import pytest

from vills.config.pretrain import MaskConfig
from vills.data.pretrain_views import sample_block_mask
from vills.data.samplers import sample_rng


@pytest.mark.parametrize("grid", [(16, 8), (8, 4), (4, 3), (24, 12), (1, 2)])
def test_counts_follow_the_ratios(grid: tuple[int, int]) -> None:
    total = grid[0] * grid[1]
    config = MaskConfig(probability=1.0, min_ratio=0.1, max_ratio=0.5)
    counts = np.array(
        [sample_block_mask(sample_rng(s), grid=grid, config=config).sum() for s in range(600)]
    )
    assert counts.min() >= max(round(0.1 * total), 1)
    assert counts.max() <= min(max(round(0.5 * total), 1), total - 1)
    if total > 2:
        assert len(np.unique(counts)) > min(total // 4, 10) - 1
        assert counts.mean() == pytest.approx(0.3 * total, rel=0.06)


def test_an_exact_ratio_and_its_limits() -> None:
    config = MaskConfig(probability=1.0, min_ratio=0.25, max_ratio=0.25)
    for seed in range(50):
        assert sample_block_mask(sample_rng(seed), grid=(16, 8), config=config).sum() == 32
    assert sample_block_mask(sample_rng(0), grid=(1, 1), config=config).sum() == 0


def test_a_share_of_the_samples_is_masked() -> None:
    config = MaskConfig(probability=0.5)
    hits = [sample_block_mask(sample_rng(s), grid=(4, 3), config=config).any() for s in range(1000)]
    assert np.mean(hits) == pytest.approx(0.5, abs=0.05)
    off = MaskConfig(probability=0.0)
    assert not any(
        sample_block_mask(sample_rng(s), grid=(4, 3), config=off).any() for s in range(9)
    )


def test_masks_are_blocks_and_reach_every_patch() -> None:
    config = MaskConfig(probability=1.0, min_ratio=0.3, max_ratio=0.3)
    masks = np.stack(
        [
            sample_block_mask(sample_rng(s), grid=(16, 8), config=config).reshape(16, 8)
            for s in range(800)
        ]
    )
    rng = np.random.default_rng(0)
    shuffled = rng.permuted(masks.reshape(800, -1), axis=1).reshape(masks.shape)
    # neighbours agree far more often than in a mask of single patches
    agree = (masks[:, 1:] == masks[:, :-1]).mean()
    assert agree > (shuffled[:, 1:] == shuffled[:, :-1]).mean() + 0.15
    share = masks.mean(axis=0)
    # blocks reach corners less often, as in BEiT
    assert share.min() > 0.03
    assert share.max() < 0.6
