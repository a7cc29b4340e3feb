from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.curation.scenes import build_config
from vills.curation.crops import (
    FRAME_REASONS,
    KEPT,
    compute_overlaps,
    extract_crop,
    find_reasons,
)
from vills.curation.person_tracker import TrackedBoxes
from vills.curation.tracklets import (
    NO_SUBJECT,
    NOT_THE_SUBJECT,
    Tracklet,
    TrackletBuilder,
)
from vills.curation.video import Detections, Frame

CONFIG = build_config(min_height=40, min_width=15, min_aspect=1.5, max_aspect=4, border_margin=3)


@pytest.mark.parametrize(
    ("box", "overlap", "reason"),
    [
        ((50, 20, 70, 60), 0.0, KEPT),
        ((50, 20, 70, 59), 0.0, "too_low"),
        ((50, 20, 64, 60), 0.0, "too_narrow"),
        ((50, 20, 78, 60), 0.0, "too_wide"),
        ((50, 20, 66, 88), 0.0, "too_slim"),
        ((50, 20, 70, 60), 0.61, "overlapped"),
        ((2, 20, 22, 60), 0.0, "cut_off"),
        ((50, 20, 98, 98), 0.0, "cut_off"),
        ((3, 3, 23, 43), 0.6, KEPT),
        ((1, 20, 11, 40), 0.9, "too_low"),
    ],
)
def test_first_reason_is_named(box: tuple[float, ...], overlap: float, reason: str) -> None:
    boxes = np.array([box], dtype=np.float32)
    found = find_reasons(boxes, overlaps=np.array([overlap]), width=100, height=100, config=CONFIG)
    assert found == [reason]
    assert reason in (KEPT, *FRAME_REASONS)


def test_no_boxes_no_reasons() -> None:
    none = np.empty((0, 4), dtype=np.float32)
    assert find_reasons(none, overlaps=np.empty(0), width=9, height=9, config=CONFIG) == []
    assert len(compute_overlaps(none)) == 0


def test_overlap_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (12, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (12, 2))], 1).astype(np.float32)
    expected = []
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        shares = []
        for j, (u1, v1, u2, v2) in enumerate(boxes):
            if i != j:
                width, height = min(x2, u2) - max(x1, u1), min(y2, v2) - max(y1, v1)
                shares.append(max(width, 0) * max(height, 0) / ((x2 - x1) * (y2 - y1)))
        expected.append(max(shares))
    np.testing.assert_allclose(compute_overlaps(boxes), expected, rtol=1e-5)


def test_a_crop_shows_whole_pixels_and_is_reduced() -> None:
    image = np.arange(100 * 80 * 3, dtype=np.uint32).reshape(100, 80, 3).astype(np.uint8)
    crop, box = extract_crop(image, box=np.array([10.2, 5.9, 30.1, 46], np.float32), crop_height=0)
    assert box == (10, 5, 31, 46)
    np.testing.assert_array_equal(crop, image[5:46, 10:31])
    small, box = extract_crop(image, box=np.array([10, 0, 50, 100], np.float32), crop_height=25)
    assert box == (10, 0, 50, 100)
    assert small.shape == (25, 10, 3)
    assert small.dtype == np.uint8


def test_the_longest_track_over_all_its_parts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        builder = TrackletBuilder(build_config(min_seconds=0), sink=lambda tracklet: None)
        lengths, parts = Counter[int](), Counter[int]()
        own: dict[int, int] = {}  # tracks are numbered as they are met
        for _ in range(rng.integers(1, 9)):
            track, length = int(rng.integers(4)), int(rng.integers(1, 4))
            is_good = rng.random() >= 0.2
            box = np.array([[10, 5, 30, 65 if is_good else 15]], dtype=np.float32)
            found = Detections(box, np.ones(1, np.float32))
            tracked = TrackedBoxes(box, found.scores, np.array([track]), np.array([0]))
            track = own.setdefault(track, len(own))
            for number in range(length):
                frame = Frame("a.mp4", number, number / 25, np.zeros((100, 100, 3), np.uint8))
                builder.add(frame, tracked=tracked, detections=found)
            builder.finish()
            if is_good:
                lengths[track] += length
                parts[track] += 1
        best = max(lengths.values(), default=0)
        expected = min((t for t in lengths if lengths[t] == best), default=NO_SUBJECT)
        frames, tracklets = builder.frames, builder.tracklets
        before = frames.total(), tracklets.total()
        assert builder.reject_others() == expected
        assert (frames.total(), tracklets.total()) == before
        assert frames[KEPT] == best
        assert tracklets[KEPT] == parts[expected]
        assert frames[NOT_THE_SUBJECT] == lengths.total() - best


COLOURS = {"red": (200, 30, 30), "blue": (20, 30, 190), "grey": (110, 110, 110)}


def _dress(colour: str, time: float) -> np.ndarray:
    """A frame [100, 100, 3] with a person in it who wears one colour, in light that changes."""
    image = np.full((100, 100, 3), 70, np.uint8)
    light = 1 + 0.04 * np.sin(5 * time)
    image[5:25, 10:30] = (190, 150, 120)
    image[25:65, 10:30] = np.clip(np.array(COLOURS[colour]) * light, 0, 255)
    return image


def _build(clothes: list[str], *, rate: float, **changes: Any) -> tuple[list[Tracklet], int]:
    """The tracklets of one track whose person wears one colour after another, 2 s each."""
    found: list[Tracklet] = []
    builder = TrackletBuilder(build_config(**changes), sink=found.append)
    box = np.array([[10, 5, 30, 65]], dtype=np.float32)
    detections = Detections(box, np.ones(1, np.float32))
    tracked = TrackedBoxes(box, detections.scores, np.array([0]), np.array([0]))
    for number in range(round(2 * len(clothes) * rate)):
        time = number / rate
        frame = Frame("a.mp4", number, time, _dress(clothes[int(time / 2 + 1e-9)], time))
        builder.add(frame, tracked=tracked, detections=detections)
        builder.finish({0})
    builder.finish()
    return found, builder.num_jumps


@pytest.mark.parametrize("rate", [2.5, 7, 12, 25, 60])
def test_a_track_that_goes_over_to_another_person_is_split(rate: float) -> None:
    found, num_jumps = _build(["red", "blue", "blue", "grey"], rate=rate)
    assert num_jumps == 2
    assert [(tracklet.track_id, tracklet.part) for tracklet in found] == [(0, 0), (1, 0), (2, 0)]
    starts = [tracklet.looks[0].time for tracklet in found]
    assert starts == pytest.approx([0, 2, 6], abs=1 / 12.5 + 1 / rate * 0.5)
    assert sum(len(tracklet.tracked) for tracklet in found) == round(8 * rate)
    for tracklet in found:
        assert [seen["frame"] for seen in tracklet.tracked] == [k.frame for k in tracklet.looks]


def test_one_person_is_not_split() -> None:
    for clothes in (["red"] * 3, ["grey"] * 3):
        found, num_jumps = _build(clothes, rate=25)
        assert (len(found), num_jumps) == (1, 0)
    assert len(_build(["red", "blue"], rate=25, max_jump=1.0)[0]) == 1


def test_a_track_is_cut_by_time_at_any_frame_rate() -> None:
    for rate in (7, 25, 60):
        found, _ = _build(["red"] * 4, rate=rate, max_seconds=3.0)
        assert [(tracklet.track_id, tracklet.part) for tracklet in found] == [
            (0, 0),
            (0, 1),
            (0, 2),
        ]
        assert [tracklet.seconds for tracklet in found] == pytest.approx([3, 3, 2], abs=1.1 / rate)


def test_another_person_after_a_cut_is_another_track() -> None:
    found, num_jumps = _build(["red", "blue", "blue"], rate=25, max_seconds=2.0)
    assert num_jumps == 1
    assert [(tracklet.track_id, tracklet.part) for tracklet in found] == [(0, 0), (1, 0), (1, 1)]


@pytest.mark.parametrize("rate", [7, 25, 60])
def test_short_is_a_time_at_any_frame_rate(rate: float) -> None:
    found, _ = _build(["red"], rate=rate, min_seconds=1.7)
    assert found[0].reason == KEPT
    found, _ = _build(["red"], rate=rate, min_seconds=2.1)
    assert found[0].reason == "too_short"
