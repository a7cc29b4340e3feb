"""Tracks to tracklets: filtered crops of one person, cut to length, each rejection counted."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from vills.config.curate import CurateConfig
from vills.curation.crops import CropBox, cut_crop
from vills.curation.detections import Detections
from vills.curation.filters import KEPT, compute_overlaps, find_reasons
from vills.curation.frame import Frame
from vills.curation.person_tracker import TrackedBoxes
from vills.data.images import encode_jpeg

NOT_THE_SUBJECT = "not_the_subject"
TRACKLET_REASONS = ("no_good_frame", "too_short", NOT_THE_SUBJECT)
"""Reasons to reject a tracklet."""


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """One box of a track, with or without a crop.

    Attributes:
        number: Frame of the video.
        box: x1, y1, x2, y2 as detected, px.
        score: Of the detection.
        reason: Why it has no crop; empty if it has one.
    """

    number: int
    box: tuple[float, float, float, float]
    score: float
    reason: str


@dataclass
class Tracklet:
    """A stretch of one track, of at most `max_length` frames.

    Attributes:
        track_id: Of the tracker, unique within the video.
        part: Stretch of the track, from 0.
        tracked: All frames in which the track was seen.
        frames: Numbers of the frames that have a crop.
        boxes: The part of the frame that each crop shows, px.
        crops: JPEG bytes.
        width: Of the first crop, px.
        height: Of the first crop, px.
        reason: Why it is rejected; empty if it is kept.
    """

    track_id: int
    part: int = 0
    tracked: list[TrackedFrame] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    boxes: list[CropBox] = field(default_factory=list)
    crops: list[bytes] = field(default_factory=list)
    width: int = 0
    height: int = 0
    reason: str = KEPT


class TrackletBuilder:
    """Gathers the crops of every track of one video and hands over each tracklet as it ends.

    It holds the JPEG bytes of the tracks that are still open, so memory is bounded by the people
    in view and `max_length`, not by the length of the video.
    """

    def __init__(self, config: CurateConfig, *, sink: Callable[[Tracklet], None]) -> None:
        self._config = config
        self._sink = sink
        self._open: dict[int, Tracklet] = {}
        self._last_seen: dict[int, int] = {}
        self._num_updates = 0
        self.frames: Counter[str] = Counter()
        """Tracked frames by reason of rejection; kept ones under KEPT."""
        self.tracklets: Counter[str] = Counter()
        """Tracklets by reason of rejection; kept ones under KEPT."""

    def add(self, frame: Frame, *, tracked: TrackedBoxes, detections: Detections) -> None:
        """Take the tracked boxes of the next frame, and all detections that may cover them."""
        self._num_updates += 1
        reasons = find_reasons(
            tracked.boxes,
            overlaps=compute_overlaps(detections.boxes)[tracked.index],
            width=frame.width,
            height=frame.height,
            config=self._config,
        )
        for i, reason in enumerate(reasons):
            self._add_box(frame, tracked=tracked, i=i, reason=reason)
        for track_id in sorted(self._open):
            # One frame of grace: the tracker gives up a track after, not at, its buffer's end.
            idle = self._num_updates - self._last_seen[track_id]
            if idle > self._config.lost_track_buffer + 1:
                self._finish(track_id)

    def finish(self) -> None:
        """Hand over the tracklets that are open at the end of the video."""
        for track_id in sorted(self._open):
            self._finish(track_id)

    def _add_box(self, frame: Frame, *, tracked: TrackedBoxes, i: int, reason: str) -> None:
        track_id = int(tracked.track_ids[i])
        tracklet = self._open.setdefault(track_id, Tracklet(track_id))
        self._last_seen[track_id] = self._num_updates
        x1, y1, x2, y2 = (float(value) for value in tracked.boxes[i])
        tracklet.tracked.append(
            TrackedFrame(frame.number, (x1, y1, x2, y2), float(tracked.scores[i]), reason)
        )
        if reason == KEPT:
            crop, box = cut_crop(
                frame.image, box=tracked.boxes[i], crop_height=self._config.crop_height
            )
            if not tracklet.crops:
                tracklet.height, tracklet.width = crop.shape[:2]
            tracklet.frames.append(frame.number)
            tracklet.boxes.append(box)
            tracklet.crops.append(encode_jpeg(crop, self._config.jpeg_quality))
        if len(tracklet.tracked) == self._config.max_length:
            self._finish(track_id)
            self._open[track_id] = Tracklet(track_id, part=tracklet.part + 1)

    def _finish(self, track_id: int) -> None:
        tracklet = self._open.pop(track_id)
        if not tracklet.tracked:
            return
        if not tracklet.crops:
            tracklet.reason = "no_good_frame"
        elif len(tracklet.crops) < self._config.min_length:
            tracklet.reason = "too_short"
        for seen in tracklet.tracked:
            self.frames[seen.reason or tracklet.reason] += 1
        self.tracklets[tracklet.reason] += 1
        self._sink(tracklet)
