import numpy as np
import pytest

from tests.curation.scenes import Walk, build_config, walk_right
from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig
from vills.curation.person_tracker import PersonTracker
from vills.curation.video import Detections, Frame, build_detections


def _detect(walks: list[Walk], frame: int, score: float = 0.9) -> Detections:
    boxes = [box for walk in walks if (box := walk(frame))]
    image = Frame("a.mp4", frame, frame / 25, np.zeros((128, 160, 3), np.uint8))
    return build_detections(
        np.array(boxes, dtype=np.float32), scores=np.full(len(boxes), score), frame=image
    )


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
def test_two_people_are_two_tracks(tracker: str) -> None:
    walks = [walk_right(4, top=4), walk_right(60, top=66)]
    person_tracker = PersonTracker(build_config(tracker=tracker))
    seen: dict[int, list[float]] = {}
    for frame in range(20):
        detections = _detect(walks, frame)
        tracked = person_tracker.update(detections)
        assert tracked.track_ids.tolist() == sorted(tracked.track_ids.tolist())
        np.testing.assert_array_equal(tracked.boxes, detections.boxes[tracked.index])
        for track_id, box in zip(tracked.track_ids.tolist(), tracked.boxes, strict=True):
            seen.setdefault(track_id, []).append(float(box[1]))
    assert sorted(seen) == [0, 1]
    assert all(len(tops) == 19 and len(set(tops)) == 1 for tops in seen.values())


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort"])
@pytest.mark.parametrize(("gap", "num_tracks"), [(5, 1), (12, 2)])
def test_a_lost_track_is_kept_for_the_buffer(tracker: str, gap: int, num_tracks: int) -> None:
    walk = walk_right(20, speed=0)
    person_tracker = PersonTracker(build_config(tracker=tracker, lost_track_buffer=8))
    ids: set[int] = set()
    for frame in range(40):
        hidden = 15 <= frame < 15 + gap
        tracked = person_tracker.update(_detect([] if hidden else [walk], frame))
        ids.update(tracked.track_ids.tolist())
    assert len(ids) == num_tracks


def test_a_doubtful_box_continues_a_track_but_starts_none() -> None:
    def run(scores: list[float], config: CurateConfig) -> int:
        person_tracker = PersonTracker(config)
        walk = walk_right(4)
        return sum(
            len(person_tracker.update(_detect([walk], frame, score)))
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
