import numpy as np
import pytest

from vills.data.clips import even_clip, sample_clip, spread_clips
from vills.data.rng import sample_rng


@pytest.mark.parametrize("num_frames", [1, 3, 7, 8, 9, 60])
def test_a_random_clip_is_sorted_and_repeats_only_if_short(num_frames: int) -> None:
    seen = set()
    for seed in range(200):
        clip = sample_clip(num_frames, 8, sample_rng(seed))
        assert clip.shape == (8,)
        assert (np.diff(clip) >= 0).all()
        counts = np.bincount(clip, minlength=num_frames)
        assert len(counts) == num_frames
        assert counts.max() <= -(-8 // num_frames)
        if num_frames <= 8:
            assert counts.min() >= 8 // num_frames
        seen |= set(clip.tolist())
    assert seen == set(range(num_frames))


def test_frames_with_masks_are_preferred() -> None:
    cached = np.arange(0, 20, 4)
    for seed in range(50):
        clip = sample_clip(20, 8, sample_rng(seed), prefer=cached)
        assert set(cached) <= set(clip)
        assert len(set(clip)) == 8
        clip = sample_clip(20, 8, sample_rng(seed), prefer=cached, num_preferred=2)
        assert len(set(clip)) == 8
        assert len(set(clip) & set(cached)) >= 2
        clip = sample_clip(60, 4, sample_rng(seed), prefer=np.arange(0, 60, 4))
        assert (clip % 4 == 0).all()
    nothing = np.zeros(0, dtype=np.int64)
    assert (
        sample_clip(20, 8, sample_rng(1), prefer=nothing) == sample_clip(20, 8, sample_rng(1))
    ).all()


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 16, 61, 900])
def test_clips_for_testing_hold_every_frame_and_span_the_tracklet(num_frames: int) -> None:
    clips = spread_clips(num_frames, 8)
    assert clips.shape == (-(-num_frames // 8), 8)
    assert set(clips.ravel()) == set(range(num_frames))
    assert (np.diff(clips, axis=1) >= 0).all()
    counts = np.bincount(clips.ravel())
    assert counts.max() - counts.min() <= 1
    if num_frames >= 8:
        assert (clips[:, 0] < num_frames / 8).all()
        assert (clips[:, -1] >= num_frames * 7 / 8 - 1).all()


def test_an_even_clip_takes_middles() -> None:
    assert even_clip(12, 4).tolist() == [1, 4, 7, 10]
    assert even_clip(2, 4).tolist() == [0, 0, 1, 1]
