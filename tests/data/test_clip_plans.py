"""Clips at test time."""

import numpy as np
import pytest

from vills.config.checks import ConfigError
from vills.config.evaluate import TEST_SAMPLINGS
from vills.data.clips import SAMPLINGS, build_clips, build_spread_clips, list_clip_frames


def test_config_and_code_name_the_same_samplings() -> None:
    assert SAMPLINGS == TEST_SAMPLINGS


@pytest.mark.parametrize("num_frames", [1, 2, 7, 8, 9, 16, 61, 900])
def test_spread_clips_hold_every_frame_and_span_the_tracklet(num_frames: int) -> None:
    clips = build_spread_clips(num_frames, 8)
    assert clips.shape == (-(-num_frames // 8), 8)
    assert set(clips.ravel()) == set(range(num_frames))
    assert (np.diff(clips, axis=1) >= 0).all()
    counts = np.bincount(clips.ravel())
    assert counts.max() - counts.min() <= 1
    if num_frames >= 8:
        assert (clips[:, 0] < num_frames / 8).all()
        assert (clips[:, -1] >= num_frames * 7 / 8 - 1).all()


def test_an_even_clip_takes_middles_and_a_begin_clip_first_frames() -> None:
    assert build_clips(12, 4, sampling="evenly").tolist() == [[1, 4, 7, 10]]
    assert build_clips(2, 4, sampling="evenly").tolist() == [[0, 0, 1, 1]]
    assert build_clips(12, 4, sampling="begin").tolist() == [[0, 3, 6, 9]]
    assert build_clips(10, 4, sampling="begin").tolist() == [[0, 2, 5, 7]]
    assert build_clips(2, 4, sampling="begin").tolist() == [[0, 0, 1, 1]]


def test_dense_clips_are_consecutive_and_the_last_starts_over() -> None:
    assert build_clips(8, 4, sampling="dense").tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert build_clips(6, 4, sampling="dense").tolist() == [[0, 1, 2, 3], [4, 5, 4, 5]]
    assert build_clips(3, 4, sampling="dense").tolist() == [[0, 1, 2, 0]]


@pytest.mark.parametrize("num_frames", [1, 3, 8, 21])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_frames_are_those_of_the_clips_once(sampling: str, num_frames: int) -> None:
    clips = build_clips(num_frames, 4, sampling=sampling)
    assert clips.shape[1] == 4
    frames = list_clip_frames(num_frames, 4, sampling=sampling)
    assert frames.tolist() == sorted(set(clips.ravel().tolist()))
    if sampling in ("all", "dense"):
        assert frames.tolist() == list(range(num_frames))
    else:
        assert len(clips) == 1


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(ConfigError, match="sampling = 'some' is not allowed"):
        build_clips(3, 4, sampling="some")
