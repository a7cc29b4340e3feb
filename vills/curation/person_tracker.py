"""Detections to tracks, by the trackers of the `trackers` package.

The paper's tracker (its reference 12, on FairMOT) needs a build that no longer installs; ByteTrack
and OC-SORT take its place, with its confidence threshold gating detections and track births alike.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import supervision as sv
from numpy.typing import NDArray
from trackers import ByteTrackTracker, OCSORTTracker

from vills.config.curate import CurateConfig
from vills.curation.video import Detections

# The package counts its buffer in frames of a 30 Hz video; at this rate they are the frames read.
FRAME_RATE = 30.0
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
    """Tracks of one video; make a new one for the next."""

    def __init__(self, config: CurateConfig) -> None:
        settings: dict[str, Any] = {
            "lost_track_buffer": config.lost_track_buffer,
            "frame_rate": FRAME_RATE,
            "minimum_consecutive_frames": MIN_CONSECUTIVE,
            "minimum_iou_threshold": config.track_iou,
            "high_conf_det_threshold": config.confidence,
        }
        self._tracker = (
            ByteTrackTracker(track_activation_threshold=config.confidence, **settings)
            if config.tracker == "bytetrack"
            else OCSORTTracker(**settings)
        )

    def update(self, detections: Detections) -> TrackedBoxes:
        """Take the detections of the next frame, in order, empty ones too.

        The first box of a track is not given: it becomes a track with the second.
        """
        # With no boxes, an index array of no rows would be refused as data.
        data: dict[str, NDArray[Any] | list[Any]]
        data = {"index": np.arange(len(detections))} if len(detections) else {}
        result = self._tracker.update(
            sv.Detections(
                xyxy=detections.boxes.copy(), confidence=detections.scores.copy(), data=data
            )
        )
        ids = np.asarray(result.tracker_id, dtype=np.int64)
        index = np.asarray(result.data.get("index", []), dtype=np.int64)[ids >= 0]
        ids = ids[ids >= 0]
        order = np.argsort(ids, kind="stable")
        index = index[order]
        return TrackedBoxes(detections.boxes[index], detections.scores[index], ids[order], index)
