"""Detections to tracks, by the trackers of the `trackers` package.

The paper's tracker (its reference 12, on FairMOT) needs a build that no longer installs; ByteTrack
and OC-SORT take its place, with its confidence threshold gating detections and track births alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers import ByteTrackTracker, OCSORTTracker

from vills.config.curate import CurateConfig
from vills.curation.video import Detections

# The package states its buffer in frames of a 30 Hz video, and keeps it as the seconds they take.
BUFFER_RATE = 30.0
# Frames at one time stamp are tracked one after the other; the package asks for rising times.
LEAST_STEP = 1e-6
# A track is real at its second frame: tracklets have a least length of their own.
MIN_CONSECUTIVE = 1


@dataclass(frozen=True, slots=True)
class TrackedBoxes(Detections):
    """Boxes of one frame that belong to a track, as detected, by rising track id.

    Attributes:
        track_ids: int64 [n], unique within the video.
        index: int64 [n], position of each box among the frame's detections.
    """

    track_ids: NDArray[np.int64]
    index: NDArray[np.int64]


class PersonTracker:
    """Tracks of one video; make a new one for the next.

    Args:
        config: `lost_track_seconds`, `track_iou` and the confidences.
        rate: frames a second that are given. It tunes how far a box may drift from one frame to
            the next; when a lost track is forgotten follows from the frames' times alone.
    """

    def __init__(self, config: CurateConfig, *, rate: float) -> None:
        settings: dict[str, Any] = {
            # A track that is seen in every frame is not lost, however far apart the frames are.
            "lost_track_buffer": (config.lost_track_seconds + 1.5 / rate) * BUFFER_RATE,
            "frame_rate": rate,
            "minimum_consecutive_frames": MIN_CONSECUTIVE,
            "minimum_iou_threshold": config.track_iou,
            "high_conf_det_threshold": config.confidence,
        }
        self._time = -math.inf
        self._tracker = (
            ByteTrackTracker(track_activation_threshold=config.confidence, **settings)
            if config.tracker == "bytetrack"
            else OCSORTTracker(**settings)
        )

    @property
    def alive(self) -> set[int]:
        """Tracks that may be seen again."""
        return {track.tracker_id for track in self._tracker.tracks}

    def update(self, detections: Detections, *, time: float) -> TrackedBoxes:
        """Take the detections of the next frame, shown at `time` s, in order, empty ones too.

        The first box of a track is not given: it becomes a track with the second.
        """
        self._time = max(time, self._time + LEAST_STEP)
        # With no boxes, an index array of no rows would be refused as data.
        data: dict[str, NDArray[Any] | list[Any]]
        data = {"index": np.arange(len(detections))} if len(detections) else {}
        result = self._tracker.update(
            sv.Detections(
                xyxy=detections.boxes.copy(), confidence=detections.scores.copy(), data=data
            ),
            timestamp=self._time,
        )
        ids = np.asarray(result.tracker_id, dtype=np.int64)
        index = np.asarray(result.data.get("index", []), dtype=np.int64)[ids >= 0]
        ids = ids[ids >= 0]
        order = np.argsort(ids, kind="stable")
        index = index[order]
        return TrackedBoxes(detections.boxes[index], detections.scores[index], ids[order], index)


def compute_rate(times: Sequence[float]) -> float:
    """Frames a second, by the median distance of frames shown at `times` s; 30 if there is none."""
    steps = np.diff(np.asarray(times, dtype=np.float64))
    steps = steps[steps > 0]
    return 1.0 / float(np.median(steps)) if len(steps) else BUFFER_RATE
