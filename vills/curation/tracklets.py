"""Tracks to tracklets: filtered crops of one person, cut to length, each rejection counted.

A track that goes over to another person is another track from there on. Of the tracklets of a
labelled video, those of its longest track show its person.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vills.config.curate import CurateConfig
from vills.curation.crops import (
    KEPT,
    CropBox,
    compute_overlaps,
    extract_crop,
    find_reasons,
)
from vills.curation.jumps import LOOKS_PER_SECOND, WINDOW, describe_colours, find_jumps
from vills.curation.pace import Pace
from vills.curation.person_tracker import TrackedBoxes
from vills.curation.video import Detections, Frame
from vills.data.images import encode_jpeg

NOT_THE_SUBJECT = "not_the_subject"
TRACKLET_REASONS = ("no_good_frame", "too_short", NOT_THE_SUBJECT)
"""Reasons to reject a tracklet."""
EVERYBODY = -1
"""Subject of a video without a label."""
NO_SUBJECT = -2
"""Subject of a labelled video that gave no tracklet."""

CORNERS = ("x1", "y1", "x2", "y2")
# Sums of time stamps differ in their last bits.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Look:
    """A crop, and when it shows what.

    Attributes:
        frame: Number of its frame.
        box: The part of the frame that it shows, px.
        content: JPEG bytes.
        size: (height, width), px.
        time: When it is shown, s.
        span: Time since the frame that was read before it, s: how long it stands for its person.
        colours: float32 [D], see `vills.curation.jumps`; None: they were looked at just before.
    """

    frame: int
    box: CropBox
    content: bytes
    size: tuple[int, int]
    time: float
    span: float
    colours: NDArray[np.float32] | None


@dataclass
class Tracklet:
    """A stretch of one track, of at most `max_seconds`.

    Attributes:
        track_id: Unique within the video.
        part: Stretch of the track, from 0.
        start: When the track was first seen in it, s.
        tracked: All frames in which the track was seen, as rows of tracks.parquet; `reason` is why
            there is no crop, and empty if there is one.
        looks: Its crops.
        before: The last crops of the stretch before it.
        pace: At which crops its colours are looked at.
        reason: Why it is rejected; empty if it is kept.
    """

    track_id: int
    part: int = 0
    start: float = 0.0
    tracked: list[dict[str, Any]] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    before: list[Look] = field(default_factory=list)
    pace: Pace = field(default_factory=lambda: Pace(LOOKS_PER_SECOND))
    reason: str = KEPT

    @property
    def seconds(self) -> float:
        """For how long it shows its person; frames without a crop do not count."""
        return sum(look.span for look in self.looks)

    def extract(self, start: int, stop: int, *, track_id: int) -> "Tracklet":
        """Return the crops from `start` up to `stop`, and what was seen among them."""
        first = self.looks[start].frame if start else -1
        last = self.looks[stop].frame if stop < len(self.looks) else math.inf
        return Tracklet(
            track_id,
            part=self.part if track_id == self.track_id else 0,
            tracked=[seen for seen in self.tracked if first <= seen["frame"] < last],
            looks=self.looks[start:stop],
        )


class TrackletBuilder:
    """Gathers the crops of every track of one video and hands over each tracklet as it ends.

    It holds the JPEG bytes of the tracks that are still open, so memory is bounded by the people
    in view and `max_seconds`, not by the length of the video.
    """

    def __init__(self, config: CurateConfig, *, sink: Callable[[Tracklet], None]) -> None:
        self._config = config
        self._sink = sink
        self._open: dict[int, Tracklet] = {}
        self._track_ids: dict[int, int] = {}
        self._num_tracks = 0
        self._time = math.inf
        self.num_jumps = 0
        """Moments at which a track went over to another person."""
        self.frames: Counter[str] = Counter()
        """Tracked frames by reason of rejection; kept ones under KEPT."""
        self.tracklets: Counter[str] = Counter()
        """Tracklets by reason of rejection; kept ones under KEPT."""
        self._kept_frames: Counter[int] = Counter()
        self._kept_parts: Counter[int] = Counter()
        self.kept_seconds: dict[int, float] = {}
        """For how long the kept tracklets of each track show it, s."""

    def add(self, frame: Frame, *, tracked: TrackedBoxes, detections: Detections) -> None:
        """Take the tracked boxes of the next frame, and all detections that may cover them."""
        reasons = find_reasons(
            tracked.boxes,
            overlaps=compute_overlaps(detections.boxes)[tracked.index],
            width=frame.width,
            height=frame.height,
            config=self._config,
        )
        for i, reason in enumerate(reasons):
            self._add_box(frame, tracked=tracked, i=i, reason=reason)
        self._time = frame.time

    def finish(self, alive: Collection[int] = ()) -> None:
        """Hand over the tracklets of the tracker's tracks that are not `alive` any more."""
        for number in sorted(self._open.keys() - set(alive)):
            self._finish(number)

    def _add_box(self, frame: Frame, *, tracked: TrackedBoxes, i: int, reason: str) -> None:
        tracklet = self._find_tracklet(int(tracked.track_ids[i]), frame.time)
        corners = dict(zip(CORNERS, tracked.boxes[i].tolist(), strict=True))
        row = {"frame": frame.number, "score": float(tracked.scores[i]), "reason": reason}
        tracklet.tracked.append(row | corners)
        if reason == KEPT:
            crop, box = extract_crop(
                frame.image, box=tracked.boxes[i], crop_height=self._config.crop_height
            )
            look = Look(
                frame=frame.number,
                box=box,
                content=encode_jpeg(crop, self._config.jpeg_quality),
                size=(crop.shape[0], crop.shape[1]),
                time=frame.time,
                span=max(frame.time - self._time, 0.0),  # nothing is known before the first frame
                colours=describe_colours(crop) if tracklet.pace.is_due(frame.time) else None,
            )
            tracklet.looks.append(look)

    def _find_tracklet(self, number: int, time: float) -> Tracklet:
        """Find or begin the tracklet of the tracker's track `number`, which is seen at `time` s."""
        tracklet = self._open.get(number)
        if tracklet is None:
            if number not in self._track_ids:
                self._track_ids[number] = self._number_track()
            tracklet = Tracklet(self._track_ids[number], start=time)
        elif time - tracklet.start > self._config.max_seconds - _TOLERANCE:
            last = self._finish(number)
            end = last.looks[-1].time - WINDOW if last.looks else 0.0
            before = [look for look in last.looks if look.time >= end]
            tracklet = Tracklet(last.track_id, part=last.part + 1, start=time, before=before)
        self._open[number] = tracklet
        return tracklet

    def _number_track(self) -> int:
        """Return the next number; tracks are met in the tracker's order."""
        self._num_tracks += 1
        return self._num_tracks - 1

    def _finish(self, number: int) -> Tracklet:
        """Hand over what is open of a track, each person apart, and return the last of it."""
        whole = self._open.pop(number)
        looks = [*whole.before, *whole.looks]
        found = find_jumps(
            [look.colours for look in looks],
            times=[look.time for look in looks],
            threshold=self._config.max_jump,
        )
        jumps = {max(position - len(whole.before), 0) for position in found}
        self.num_jumps += len(jumps)
        starts = sorted({0, *jumps})
        for start, stop in zip(starts, [*starts[1:], len(whole.looks)], strict=True):
            if start in jumps:
                self._track_ids[number] = self._number_track()
            tracklet = whole.extract(start, stop, track_id=self._track_ids[number])
            self._hand_over(tracklet)
        return tracklet

    def _hand_over(self, tracklet: Tracklet) -> None:
        if not tracklet.looks:
            tracklet.reason = "no_good_frame"
        elif tracklet.seconds < self._config.min_seconds - _TOLERANCE:
            tracklet.reason = "too_short"
        for seen in tracklet.tracked:
            self.frames[seen["reason"] or tracklet.reason] += 1
        self.tracklets[tracklet.reason] += 1
        if not tracklet.reason:
            track_id = tracklet.track_id
            self._kept_frames[track_id] += len(tracklet.looks)
            self._kept_parts[track_id] += 1
            self.kept_seconds[track_id] = self.kept_seconds.get(track_id, 0.0) + tracklet.seconds
        self._sink(tracklet)

    def reject_others(self) -> int:
        """Count all but the longest track, of most crops and the first of several, as rejected.

        A track that was cut at `curate.max_seconds` stays one track: all its tracklets are kept.

        Returns:
            The track, or NO_SUBJECT if no tracklet was kept.
        """
        lengths = self._kept_frames
        subject = min(lengths, key=lambda track: (-lengths[track], track), default=NO_SUBJECT)
        for counts, kept in ((self.frames, lengths), (self.tracklets, self._kept_parts)):
            others = kept.total() - kept[subject]
            counts[KEPT] -= others
            counts[NOT_THE_SUBJECT] += others
        return subject
