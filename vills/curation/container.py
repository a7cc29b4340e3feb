"""Which stream of a file is the film, and how much of it the file promises."""

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from vills.curation.clock import FALLBACK_RATE
from vills.data.images import MAX_PIXELS
from vills.inputs import check_input

COVER = "with cover art or thumbnails beside the film, which are passed over"
SEVERAL = "with several films: the default one, then the largest picture, then the first, is read"
_STILL = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_PICTURE_CODECS = ("mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpeg2000", "ljpeg", "jpegls")
_MAX_FAILURES = 5
_LISTS = ("concat", "hls", "dash", "imf", "sdp")


class Film(NamedTuple):
    """The stream that is read, and what is said of it in notes."""

    stream: VideoStream
    changes: tuple[str, ...]


class Promise(NamedTuple):
    """What a file says of its length; 0 where it says nothing.

    Attributes:
        frames: Frames of the film, those included that an edit list hides.
        end: Stamp at which the film ends, s.
        file_end: Stamp at which the longest stream ends, s.
        interval: Seconds from a frame to the next.
        is_matroska: Whether it is Matroska or WebM, which says where packets are missing.
        is_indexed: Whether an index of all frames is read, so that none can be skipped (MP4).
    """

    frames: int
    end: Fraction
    file_end: Fraction
    interval: Fraction
    is_matroska: bool = False
    is_indexed: bool = False


class NoFilmError(ValueError):
    """A file without a film, and why."""


def open_container(file: Path) -> InputContainer:
    """Open a file; titles and names in it may be in any encoding.

    Raises:
        FFmpegError, OSError: it is no video, or cannot be read.
        NoFilmError: it only names other files.
    """
    check_input(file)
    # lists of other files and of addresses look like videos to it: none is followed
    container = av.open(
        str(file.absolute()), metadata_errors="replace", options={"protocol_whitelist": "file"}
    )
    if container.format.name in _LISTS:
        container.close()
        raise NoFilmError(f"a list of other files ({container.format.name}), which is not followed")
    return container


def find_film(container: InputContainer, file: Path) -> Film:
    """Choose a stream by what it holds: no cover art, no thumbnails, no stream of one picture.

    Raises:
        NoFilmError: there is none.
    """
    # A file without its index can still be opened, but nothing is known of its stream.
    known = [s for s in container.streams.video if cast("object", s.codec_context) is not None]
    if not known:
        raise NoFilmError("its codec is unknown" if container.streams.video else "no video stream")
    films = [s for s in known if not s.disposition & _STILL]
    if too_large := [s for s in films if s.width * s.height > MAX_PIXELS]:
        sides = f"{too_large[0].width} x {too_large[0].height}"
        raise NoFilmError(f"{sides} pixels; allowed: {MAX_PIXELS / 1e6:.0f} million")
    is_alone = len(container.streams) == 1
    if len(films) > 1 or (films and not is_alone and _is_picture(films[0])):
        counts = _count_packets(file, films)
        moving = [s for s in films if counts[s.index] > 1]
        films = moving or [s for s in films if not _is_picture(s)]
    if not films:
        raise NoFilmError("no video stream, only cover art")
    best = max(films, key=lambda s: (_is_default(s), s.width * s.height, -s.index))
    changes = [COVER] if len(films) < len(known) else []
    return Film(best, tuple(changes + ([SEVERAL] if len(films) > 1 else [])))


def read_promise(container: InputContainer, stream: VideoStream) -> Promise:
    """Read from the headers how long a film should be."""
    interval = 1 / (stream.average_rate or stream.guessed_rate or FALLBACK_RATE)
    base, end = stream.time_base or Fraction(0), Fraction(0)
    names = container.format.name.split(",")
    if "avi" in names:  # which sets the duration right where the file breaks off
        end = stream.frames * interval
    elif stream.duration:
        # In Matroska, Flash and ASF the duration counts from 0, not from the first frame.
        end = (stream.duration + ((stream.start_time or 0) if "mp4" in names else 0)) * base
    else:
        tags = [text for name, text in stream.metadata.items() if name.startswith("DURATION")]
        end = parse_duration(tags[0]) if tags else end
    # Where streams have durations of their own, that of the file is only their sum.
    file_end = Fraction(0 if stream.duration else container.duration or 0, av.time_base)
    is_indexed = "mp4" in names and stream.frames > 0
    return Promise(stream.frames, end, file_end, interval, "matroska" in names, is_indexed)


def parse_duration(text: str) -> Fraction:
    """Seconds of a tag of Matroska like 00:00:03.960000000; 0 of anything else."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + Fraction(seconds)
    except ValueError:
        return Fraction(0)


def read_packets(container: InputContainer) -> "Iterator[av.Packet[Any]]":
    """Give the packets of all streams, and go on behind what cannot be read.

    Raises:
        FFmpegError, OSError: nothing behind it can be read either.
    """
    failures = 0
    while True:
        try:
            for packet in container.demux():
                failures = 0
                yield packet
            return
        except (FFmpegError, OSError):
            failures += 1
            if failures == _MAX_FAILURES:
                raise


def _is_picture(stream: VideoStream) -> bool:
    return stream.codec_context.name in _PICTURE_CODECS


def _is_default(stream: VideoStream) -> bool:
    return bool(stream.disposition & Disposition.default)


def _count_packets(file: Path, streams: list[VideoStream]) -> Counter[int]:
    """Count packets by stream, until there are two of each."""
    counts: Counter[int] = Counter()
    with open_container(file) as container:
        for packet in container.demux([container.streams[s.index] for s in streams]):
            counts[packet.stream.index] += packet.size > 0
            if len(counts) == len(streams) and min(counts.values()) > 1:
                break
    return counts
