"""Videos as a stream of frames; never more than one decoded frame is held here."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from vills.curation.frame import Frame


@dataclass
class VideoStream:
    """The frames of one video file, read once, in order.

    A file that breaks off is not an error here: the frames before the break are given, and
    `damage` then says what happened. An unreadable file gives no frame at all.

    Attributes:
        file: Where the video lies.
        path: Raw relative path, carried by every frame.
        step: Every step-th frame is given.
        num_frames: Frames decoded so far, skipped ones counted.
        expected_frames: Frames that the file announces, once open; 0 if it does not say.
        damage: Why the stream ended early; empty for a whole file.
    """

    file: Path
    path: str
    step: int = 1
    num_frames: int = 0
    expected_frames: int = 0
    damage: str = field(default="")

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame by frame."""
        self.num_frames, self.damage = 0, ""
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
            self.damage = "nothing says how its stream is coded"
            return
        self.expected_frames = stream.frames
        # One thread: frame threads decode ahead, and hold that many frames.
        context.thread_type = "NONE"
        num_packets, end = 0, 0
        for packet in container.demux(stream):
            num_packets += packet.size > 0
            end = max(end, (packet.pts or 0) + (packet.duration or 0))
            for frame in packet.decode():
                number, self.num_frames = self.num_frames, self.num_frames + 1
                if number % self.step == 0:
                    yield Frame(self.path, number, _to_image(frame))
        # A file cut between two frames ends without an error. Its index then promises more frames
        # and a later end; either alone is also true of a whole file trimmed without re-encoding.
        promised = (stream.start_time or 0) + (stream.duration or 0)
        if num_packets < stream.frames and end < promised:
            self.damage = f"breaks off after frame {self.num_frames} of {stream.frames}"
        elif self.num_frames == 0:
            self.damage = "no frame could be decoded"


def _to_image(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """Convert to RGB, upright: phones store a rotation beside the pixels."""
    image = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    if frame.rotation % 360:
        image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
    return image
