"""Tracks to tracklets: filtered crops of one person, cut to length, each rejection counted.

Of the tracklets of a labelled video, those of its longest track show its person.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vills.config.curate import CurateConfig
from vills.curation.person_tracker import TrackedBoxes
from vills.curation.video import Detections, Frame
from vills.data.images import encode_jpeg

KEPT = ""
FRAME_REASONS = ("too_low", "too_narrow", "too_wide", "too_slim", "overlapped", "cut_off")
"""Reasons to drop a frame of a track, in the order in which they are asked."""
NOT_THE_SUBJECT = "not_the_subject"
TRACKLET_REASONS = ("no_good_frame", "too_short", NOT_THE_SUBJECT)
"""Reasons to reject a tracklet."""
EVERYBODY = -1
"""Subject of a video without a label."""
NO_SUBJECT = -2
"""Subject of a labelled video that gave no tracklet."""

CORNERS = ("x1", "y1", "x2", "y2")
CropBox = tuple[int, int, int, int]


@dataclass
class Tracklet:
    """A stretch of one track, of at most `max_length` frames.

    Attributes:
        track_id: Of the tracker, unique within the video.
        part: Stretch of the track, from 0.
        tracked: All frames in which the track was seen, as rows of tracks.parquet; `reason` is why
            there is no crop, and empty if there is one.
        frames: Numbers of the frames that have a crop.
        boxes: The part of the frame that each crop shows, px.
        crops: JPEG bytes.
        width: Of the first crop, px.
        height: Of the first crop, px.
        reason: Why it is rejected; empty if it is kept.
    """

    track_id: int
    part: int = 0
    tracked: list[dict[str, Any]] = field(default_factory=list)
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
        self._kept_frames: Counter[int] = Counter()
        self._kept_parts: Counter[int] = Counter()

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
        corners = dict(zip(CORNERS, tracked.boxes[i].tolist(), strict=True))
        row = {"frame": frame.number, "track_id": track_id, "score": float(tracked.scores[i])}
        tracklet.tracked.append(row | corners | {"reason": reason})
        if reason == KEPT:
            crop, box = extract_crop(
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
            self.frames[seen["reason"] or tracklet.reason] += 1
        self.tracklets[tracklet.reason] += 1
        if not tracklet.reason:
            self._kept_frames[track_id] += len(tracklet.crops)
            self._kept_parts[track_id] += 1
        self._sink(tracklet)

    def reject_others(self) -> tuple[int, int]:
        """Count all but the longest track, of most crops and the first of several, as rejected.

        A track that was cut at `curate.max_length` stays one track: all its tracklets are kept.

        Returns:
            The track, or NO_SUBJECT if no tracklet was kept, and the frames kept of it.
        """
        lengths = self._kept_frames
        subject = min(lengths, key=lambda track: (-lengths[track], track), default=NO_SUBJECT)
        for counts, kept in ((self.frames, lengths), (self.tracklets, self._kept_parts)):
            others = kept.total() - kept[subject]
            counts[KEPT] -= others
            counts[NOT_THE_SUBJECT] += others
        return subject, lengths[subject]


def find_reasons(
    boxes: NDArray[np.float32],
    *,
    overlaps: NDArray[np.floating],
    width: int,
    height: int,
    config: CurateConfig,
) -> list[str]:
    """Name the first reason against each box, or KEPT.

    Boxes are float32 [n, 4], px, inside a frame of `width` and `height`; overlaps float [n], the
    share of each box that another person's box covers.
    """
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    aspects = heights / np.maximum(widths, np.float32(1e-6))
    to_border = np.minimum(boxes[:, :2], np.array([width, height]) - boxes[:, 2:]).min(axis=1)
    failed = {
        "too_low": heights < config.min_height,
        "too_narrow": widths < config.min_width,
        "too_wide": aspects < config.min_aspect,
        "too_slim": aspects > config.max_aspect,
        "overlapped": overlaps > config.max_overlap,
        "cut_off": to_border < config.border_margin,
    }
    return [
        next((reason for reason in FRAME_REASONS if failed[reason][i]), KEPT)
        for i in range(len(boxes))
    ]


def compute_overlaps(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the largest share of each box that one other box covers: float32 [n] of [n, 4]."""
    if len(boxes) < 2:
        return np.zeros(len(boxes), dtype=np.float32)
    top_left = np.maximum(boxes[:, None, :2], boxes[None, :, :2])  # [n, n, 2]
    bottom_right = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    covered = np.clip(bottom_right - top_left, 0, None).prod(axis=2)  # [n, n]
    np.fill_diagonal(covered, 0)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.asarray(covered.max(axis=1) / np.maximum(areas, 1e-6), dtype=np.float32)


def extract_crop(
    image: NDArray[np.uint8], *, box: NDArray[np.float32], crop_height: int
) -> tuple[NDArray[np.uint8], CropBox]:
    """Cut a box out of a frame and reduce what is higher than `crop_height` (0: never).

    Of an image, uint8 [H, W, 3], and a box, x1, y1, x2, y2 in px, not empty inside the frame.

    Returns:
        The crop, uint8 [h, w, 3], and the whole-pixel box of the frame that it shows; a point of
        the frame is found in the crop by that box and the crop's size.
    """
    height, width = image.shape[:2]
    x1, y1 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x2, y2 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    crop = np.ascontiguousarray(image[y1:y2, x1:x2])
    if crop_height and crop.shape[0] > crop_height:
        new_width = max(1, round(crop.shape[1] * crop_height / crop.shape[0]))
        # PIL's filters widen with the reduction, so fine texture does not alias.
        small = Image.fromarray(crop).resize((new_width, crop_height), Image.Resampling.BICUBIC)
        crop = np.asarray(small, dtype=np.uint8)
    return crop, (x1, y1, x2, y2)
