"""Small videos whose frames show their own numbers, as eight bars: dark is 0, bright is 1."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from vills.curation.video import VideoStream

RATE = 25
WIDTH, HEIGHT = 96, 64


def draw_number(number: int, *, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A frame, uint8 [height, width, 3]: bit b of the number is bar b from the left."""
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    for bit in range(8):
        left, right = bit * width // 8, (bit + 1) * width // 8
        image[height // 4 :, left:right] = 235 if number >> bit & 1 else 20
    noise = np.random.default_rng(number).integers(0, 255, (height // 4, width, 3), dtype=np.uint8)
    image[: height // 4] = noise
    return image


def read_number(image: np.ndarray) -> int:
    """The number that a frame shows."""
    height, width = image.shape[:2]
    bars = image[height // 2 : 7 * height // 8].reshape(-1, 8, width // 8, 3)[:, :, 2:-2]
    return sum(1 << bit for bit, value in enumerate(bars.mean(axis=(0, 2, 3))) if value > 127)


def write_coded(
    path: Path,
    *,
    num_frames: int = 50,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rate: Fraction | int = RATE,
    stamps: Callable[[int], int] | None = None,
    base: Fraction = Fraction(1, 1000),
    audio_seconds: float = 0,
    **settings: Any,
) -> Path:
    """Write frames 0 to `num_frames` - 1; `stamps` of a frame, in `base` s, else the rate's."""
    options, codec_options = settings.pop("options", {}), settings.pop("codec_options", {})
    with av.open(str(path), "w", options=options, **settings) as container:
        stream = container.add_stream(codec, rate=rate, options=codec_options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        stream.codec_context.gop_size, stream.codec_context.thread_count = 12, 1
        if stamps:
            stream.codec_context.time_base = base
        audio = container.add_stream("aac", rate=8000, layout="mono") if audio_seconds else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            frame.pts = stamps(number) if stamps else number
            frame.time_base = base if stamps else 1 / Fraction(rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            for start in range(0, int(audio_seconds * 8000), 1024):
                sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = 8000, start, Fraction(1, 8000)
                container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return path


def read_coded(path: Path, **settings: Any) -> tuple[list[int], list[float], VideoStream]:
    """Numbers that the frames of a file show, their times, and the stream that gave them."""
    stream = VideoStream(path, path.name, **settings)
    frames = list(stream)
    return [read_number(f.image) for f in frames], [f.time for f in frames], stream


def copy_packets(
    source: Path, target: Path, *, shift: float = 0.0, first: int = 0, last: int = 10**9
) -> Path:
    """Copy packets `first` to `last` into another container as they are, `shift` s later."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size and first <= number <= last:
                ticks = round(shift / packet.time_base)
                packet.pts = (packet.pts or 0) + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
                packet.stream = stream
                new.mux(packet)
    return target


def find_packets(path: Path) -> Sequence[tuple[int, int]]:
    """Place and size of every packet of the first video stream, in bytes of the file."""
    with av.open(str(path)) as container:
        return [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]
