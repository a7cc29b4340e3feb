import numpy as np
import pytest

from tests.curation.scenes import Walk, build_config, walk_right
from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig
from vills.curation.person_tracker import PersonTracker, compute_rate
from vills.curation.video import Detections, Frame, build_detections


def _detect(walks: list[Walk], frame: int, score: float = 0.9) -> Detections:
    boxes = [box for walk in walks if (box := walk(frame))]
    image = Frame("a.mp4", frame, frame / 25, np.zeros((128, 160, 3), np.uint8))
    return build_detections(
        np.array(boxes, dtype=np.float32), scores=np.full(len(boxes), score), frame=image
    )


RATE = 25.0


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_two_people_are_two_tracks(tracker: str) -> None:
    walks = [walk_right(4, top=4), walk_right(60, top=66)]
    person_tracker = PersonTracker(build_config(tracker=tracker), rate=RATE)
    seen: dict[int, list[float]] = {}
    for frame in range(20):
        detections = _detect(walks, frame)
        tracked = person_tracker.update(detections, time=frame / RATE)
        assert tracked.track_ids.tolist() == sorted(tracked.track_ids.tolist())
        np.testing.assert_array_equal(tracked.boxes, detections.boxes[tracked.index])
        for track_id, box in zip(tracked.track_ids.tolist(), tracked.boxes, strict=True):
            seen.setdefault(track_id, []).append(float(box[1]))
    assert sorted(seen) == [0, 1]
    assert all(len(tops) == 19 and len(set(tops)) == 1 for tops in seen.values())


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
@pytest.mark.parametrize("rate", [7.0, 25.0, 60.0])
@pytest.mark.parametrize(("gap", "num_tracks"), [(0.6, 1), (1.4, 2)])
def test_a_lost_track_is_kept_for_a_time(
    tracker: str, rate: float, gap: float, num_tracks: int
) -> None:
    config = build_config(tracker=tracker, lost_track_seconds=1.0)
    person_tracker = PersonTracker(config, rate=rate)
    walk = walk_right(20, speed=0)
    ids: set[int] = set()
    for frame in range(round(4 * rate)):
        hidden = 1 <= frame / rate < 1 + gap
        detections = _detect([] if hidden else [walk], frame)
        ids.update(person_tracker.update(detections, time=frame / rate).track_ids.tolist())
        assert ids >= person_tracker.alive - {-1}
    assert len(ids) == num_tracks


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
@pytest.mark.parametrize(("gap", "num_tracks"), [(0.8, 1), (5.0, 2)])
def test_a_gap_between_frames_is_a_time_too(tracker: str, gap: float, num_tracks: int) -> None:
    """A camera that records only while something moves: no frame lies in the gap."""
    person_tracker = PersonTracker(build_config(tracker=tracker), rate=RATE)
    ids: set[int] = set()
    for frame in range(40):
        time = frame / RATE + (gap if frame >= 20 else 0)
        tracked = person_tracker.update(_detect([walk_right(20, speed=0)], frame), time=time)
        ids.update(tracked.track_ids.tolist())
    assert len(ids) == num_tracks


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_frames_seconds_apart_or_at_one_time_are_tracked(tracker: str) -> None:
    for step, lost in ((4.0, 1.0), (0.04, 0.0), (0.0, 1.0)):
        rate = compute_rate([step * i for i in range(8)])
        config = build_config(tracker=tracker, lost_track_seconds=lost)
        person_tracker = PersonTracker(config, rate=rate)
        found = [
            person_tracker.update(_detect([walk_right(4)], frame), time=step * frame)
            for frame in range(10)
        ]
        assert [len(tracked) for tracked in found] == [0] + [1] * 9
        assert {int(i) for tracked in found for i in tracked.track_ids} == {0}


def test_the_rate_is_that_of_most_frames() -> None:
    assert compute_rate([0, 0.04, 0.08, 5.0, 5.04, 5.04]) == pytest.approx(25)
    assert compute_rate([]) == compute_rate([3.0]) == 30


def test_a_doubtful_box_continues_a_track_but_starts_none() -> None:
    def run(scores: list[float], config: CurateConfig) -> int:
        person_tracker = PersonTracker(config, rate=RATE)
        walk = walk_right(4)
        return sum(
            len(person_tracker.update(_detect([walk], frame, score), time=frame / RATE))
            for frame, score in enumerate(scores)
        )

    config = build_config(confidence=0.8, low_confidence=0.2)
    assert run([0.5] * 10, config) == 0
    assert run([0.9] * 3 + [0.5] * 7, config) == 9


def test_low_confidence_is_refused_where_it_would_be_ignored() -> None:
    with pytest.raises(ConfigError, match="low_confidence"):
        build_config(tracker="ocsort", low_confidence=0.2)
    with pytest.raises(ConfigError, match="low_confidence"):
        build_config(confidence=0.5, low_confidence=0.6)
