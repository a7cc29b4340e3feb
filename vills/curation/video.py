"""A video as a stream of frames, and the people that a detector sees in a frame.

Never more than one decoded frame is held here.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream as VideoStreamOfFile
from numpy.typing import NDArray

from vills.curation.clock import Clock
from vills.curation.pace import Pace


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on its way from the decoder to the detector, the tracker and the crops.

    Attributes:
        path: Raw relative path of the video; supplied predictions are found by it.
        number: Position in the video, from 0, in the order of display, skipped frames counted.
        time: Seconds since the first frame of the video was shown, by the frame's own time stamp;
            never less than that of the frame before.
        image: uint8 [H, W, 3], RGB.
    """

    path: str
    number: int
    time: float
    image: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Width of the frame, px."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Height of the frame, px."""
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True)
class Detections:
    """Person boxes of one frame, most confident first.

    Attributes:
        boxes: float32 [n, 4], x1, y1, x2, y2 in px of the frame.
        scores: float32 [n], 0 to 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.scores)

    def above(self, confidence: float) -> "Detections":
        """Keep the boxes whose score is at least `confidence`."""
        kept = self.scores >= np.float32(confidence)
        return Detections(self.boxes[kept], self.scores[kept])


def build_detections(
    boxes: NDArray[np.floating], *, scores: NDArray[np.floating], frame: Frame
) -> Detections:
    """Clip boxes to their frame, drop what is empty or not finite, and sort by score.

    Ties keep their order, so that equal input gives equal output.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(scores, dtype=np.float32).reshape(-1)
    clipped = np.clip(boxes, 0, np.array([frame.width, frame.height] * 2, dtype=np.float32))
    valid = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    valid &= (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    order = np.argsort(-scores[valid], kind="stable")
    return Detections(clipped[valid][order], scores[valid][order])


@dataclass
class VideoStream:
    """The frames of one video file, read once, in order.

    A file that breaks off is not an error here: the frames before the break are given, and
    `damage` then says what happened. An unreadable file gives no frame at all.

    Attributes:
        file: Where the video lies.
        path: Raw relative path, carried by every frame.
        rate: Frames that are given of a second, at most, from `start` on; 0: all.
        start: First frame given, or ms from which frames are.
        stop: Frame, or ms, at which the stream ends; -1: at the end of the file.
        unit: What start and stop count: frame, or ms.
        num_frames: Frames decoded so far, skipped ones counted.
        num_untimed: Decoded frames without a usable time stamp; their time follows from the rate.
        expected_frames: Frames that the file announces, once open; 0 if it does not say.
        damage: Why the stream ended early; empty for a whole file.
    """

    file: Path
    path: str
    rate: float = 0.0
    start: int = 0
    stop: int = -1
    unit: str = "frame"
    num_frames: int = 0
    num_untimed: int = 0
    expected_frames: int = 0
    damage: str = ""

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame by frame."""
        self.num_frames, self.num_untimed, self.damage = 0, 0, ""
        try:
            with av.open(str(self.file)) as container:
                yield from self._read(container)
        except FFmpegError as error:
            self.damage = f"{error.strerror or type(error).__name__} after frame {self.num_frames}"
        except OSError as error:
            self.damage = f"{error.strerror or type(error).__name__}"

    def _read(self, container: InputContainer) -> Iterator[Frame]:
        if not container.streams.video:
            self.damage = "no video stream"
            return
        stream = container.streams.video[0]
        # A file without its index can still be opened, but nothing is known of its stream.
        context = cast("VideoCodecContext | None", stream.codec_context)
        if context is None:
            self.damage = "its codec is unknown"
            return
        self.expected_frames = stream.frames
        window = self._find_window(stream)
        if window is None:
            self.damage = "its frame rate is unknown"
            return
        start, stop = window
        # One thread: frame threads decode ahead, and hold that many frames.
        context.thread_type = "NONE"
        clock, pace = Clock(stream.average_rate or Fraction(0)), Pace(self.rate)
        num_packets, end = 0, 0
        for packet in container.demux(stream):
            num_packets += packet.size > 0
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
            for frame in packet.decode():
                number, self.num_frames = self.num_frames, self.num_frames + 1
                time = clock.compute_time(frame)
                self.num_untimed = clock.num_untimed
                if number == stop:
                    return
                if number >= start and pace.is_due(float(time)):
                    yield Frame(self.path, number, float(time), _to_image(frame))
        self.damage = self._find_damage(stream, num_packets=num_packets, end=end, start=start)

    def _find_damage(
        self, stream: VideoStreamOfFile, *, num_packets: int, end: int, start: int
    ) -> str:
        # A file cut between two frames ends without an error. Its index then promises more frames
        # and a later end; either alone is also true of a whole file trimmed without re-encoding.
        promised = (stream.start_time or 0) + (stream.duration or 0)
        if num_packets < stream.frames and end < promised:
            return f"ends early, after frame {self.num_frames} of {stream.frames}"
        if self.num_frames == 0:
            return "no frame could be decoded"
        if self.num_frames <= start:
            return f"has {self.num_frames} frames, its segment begins at {start}"
        return ""

    def _find_window(self, stream: VideoStreamOfFile) -> tuple[int, int] | None:
        """First frame, and the one after the last (-1: to the end); None without a rate."""
        if self.unit == "frame":
            return self.start, self.stop
        if not stream.average_rate:
            return None
        # frame n is shown from n / rate seconds on
        start, stop = (math.ceil(ms * stream.average_rate / 1000) for ms in (self.start, self.stop))
        return start, stop if self.stop >= 0 else -1


def _to_image(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Convert to RGB, upright: phones store a rotation beside the pixels."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    if frame.rotation % 360:
        image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
    return image
