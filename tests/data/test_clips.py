import numpy as np
import pytest

from vills.data.clips import build_clips, sample_clip, sample_clips, sample_frame, sample_train_clip
from vills.data.samplers import sample_rng


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


SAMPLINGS = ("random", "restricted", "stride", "consecutive", "evenly")


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("num_frames", [1, 2, 5, 8, 9, 13, 40, 100])
def test_every_training_sampling_gives_sorted_frames_of_the_tracklet(
    sampling: str, num_frames: int
) -> None:
    clips = np.stack(
        [
            sample_train_clip(num_frames, 8, sample_rng(seed), sampling=sampling, stride=4)
            for seed in range(300)
        ]
    )
    assert clips.dtype == np.int64
    assert clips.shape == (300, 8)
    assert (np.diff(clips) >= 0).all()
    assert clips.min() >= 0
    assert clips.max() < num_frames
    if num_frames <= 8:  # padded by repetition, without losing a frame
        counts = np.stack([np.bincount(clip, minlength=num_frames) for clip in clips])
        assert counts.min() >= 8 // num_frames
        assert counts.max() <= -(-8 // num_frames)
    else:
        assert (np.diff(clips) > 0).all()
    if sampling != "evenly":  # the first and the last frame are reached, and all between
        assert set(clips.ravel()) == set(range(num_frames))
    else:
        assert (clips == build_clips(num_frames, 8, sampling="evenly")).all()


def test_samplings_keep_what_their_names_promise() -> None:
    for seed in range(100):
        steps = {
            name: np.diff(sample_train_clip(40, 4, sample_rng(seed), sampling=name, stride=8))
            for name in ("stride", "consecutive")
        }
        assert set(steps["stride"]) == {8}
        assert set(steps["consecutive"]) == {1}
        clip = sample_train_clip(41, 4, sample_rng(seed), sampling="restricted")
        assert (clip >= [0, 10, 20, 30]).all()
        assert (clip < [10, 20, 30, 41]).all()
        # too short for a stride of 8: the widest that fits
        short = sample_train_clip(20, 4, sample_rng(seed), sampling="stride", stride=8)
        assert set(np.diff(short)) == {6}
    one = sample_train_clip(20, 1, sample_rng(0), sampling="stride", stride=8)
    assert one.shape == (1,)


def test_random_frames_are_those_of_pretraining_bit_by_bit() -> None:
    for num_frames in (3, 30):
        expected = sample_clip(num_frames, 8, sample_rng(5))
        assert (
            sample_train_clip(num_frames, 8, sample_rng(5), sampling="random") == expected
        ).all()


@pytest.mark.parametrize("num_frames", [1, 2, 5, 8, 9, 40])
def test_clips_apart_share_no_frame_and_each_half_comes_first_at_times(num_frames: int) -> None:
    firsts = set()
    for seed in range(60):
        one, two = sample_clips(num_frames, 3, sample_rng(seed), apart=True)
        assert len(one) == len(two) == 3
        assert 0 <= min(*one, *two) <= max(*one, *two) < num_frames
        if num_frames > 1:
            assert max(one) < min(two) or max(two) < min(one)
            firsts.add(max(one) < min(two))
    assert firsts == ({True, False} if num_frames > 1 else set())


def test_clips_of_the_same_time_are_one_clip_and_prefer_masks_in_either_half() -> None:
    one, two = sample_clips(20, 4, sample_rng(5), apart=False)
    assert (one == sample_clip(20, 4, sample_rng(5))).all()
    assert (one == two).all()
    cached = np.arange(0, 40, 4)
    for clip in sample_clips(40, 3, sample_rng(1), apart=True, prefer=cached, num_preferred=2):
        assert len(set(clip) & set(cached)) >= 2


def test_a_frame_beside_its_clip_is_not_in_it_unless_the_clip_has_all() -> None:
    clip = np.array([0, 2, 3])
    assert {sample_frame(5, clip, sample_rng(seed)) for seed in range(40)} == {1, 4}
    assert sample_frame(2, np.array([0, 0, 1]), sample_rng(0)) in (0, 1)
