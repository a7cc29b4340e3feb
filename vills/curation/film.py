"""The frames of a film in the order in which they are shown, and in their places what was lost."""

from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError

from vills.curation.clock import Clock
from vills.curation.container import Film, read_packets, read_promise
from vills.curation.ledger import NO_STAMP, Ledger, Shown
from vills.data.images import MAX_PIXELS

HEADLESS = "that begin in the middle: frames before the first whole one are left out"
_CHECKS = "crccheck+bitstream+buffer"
_MARKING = (
    *("h264", "h263", "h263p", "h263i", "mpeg1video", "mpeg2video", "mpeg4", "flv1", "vc1"),
    *("msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1", "wmv2", "wmv3"),
)
"""Codecs whose decoder fills in what is damaged and marks the frame; others give it unmarked, so
they are told to fail."""


class FilmReader:
    """Decodes a film once; `ledger` and `clock` then tell of it."""

    def __init__(
        self, container: InputContainer, film: Film, *, say: Callable[[str], None]
    ) -> None:
        self._container, self._stream, self._say = container, film.stream, say
        promise = read_promise(container, film.stream)
        self.ledger, self.clock = Ledger(promise), Clock(promise.interval)
        self._number, self._time, self._shown = 0, Fraction(0), Fraction(0)
        self._has_begun = False
        self._aspects = _Aspects(film.stream)
        # An AVI numbers its packets in the order of the file, also where that is not the order of
        # display: the n-th frame shown has the n-th number.
        self._is_avi = container.format.name == "avi"
        self._stamps: deque[Fraction | None] = deque()
        self._distrust = _Distrust()

    def __iter__(self) -> Iterator[Shown]:
        """Give frame by frame; a packet that cannot be decoded does not stop those behind it.

        Raises:
            FFmpegError, OSError: the file cannot be read on.
        """
        # One thread: frame threads decode ahead, and hold that many frames.
        context = self._stream.codec_context
        context.thread_type = "NONE"
        checks = _CHECKS if context.name in _MARKING else f"{_CHECKS}+explode"
        # a picture may become larger on its way
        context.options = {"err_detect": checks, "max_pixels": str(MAX_PIXELS)}
        for packet in read_packets(self._container):
            # not `stream_index`, which the empty packets at the end do not have
            is_film = packet.stream.index == self._stream.index
            if packet.size:
                self.ledger.add_packet(packet, is_film=is_film)
            # the last one is empty, has no stamp, and gets what the decoder still holds
            if is_film and (packet.size or packet.dts is None):
                yield from self._decode(packet)
        for failed in self.ledger.take_failures(None):
            yield self._lose(failed)

    def _decode(self, packet: "av.Packet[Any]") -> Iterator[Shown]:
        stamp = _convert_stamp(packet.dts if self._is_avi else packet.pts, packet.time_base)
        if packet.is_keyframe or not packet.size:
            self._has_begun = True
        elif not self._has_begun:
            self._say(HEADLESS)
        if packet.size:
            self._distrust.add_packet(stamp, is_whole=packet.is_keyframe)
        try:
            frames = packet.decode()
        except FFmpegError:
            if packet.size and self._has_begun:
                self.ledger.add_failure(stamp)
                self._distrust.add_failure(stamp)
            return
        if packet.size:
            self._aspects.add_packet()
            self._stamps.append(stamp)
        for frame in frames:
            yield from self._show(frame)

    def _show(self, frame: av.VideoFrame) -> Iterator[Shown]:
        stamp = _convert_stamp(frame.pts, frame.time_base)
        first = self._stamps.popleft() if self._stamps else None
        stamp = first if self._is_avi else stamp
        if frame.is_corrupt:
            self._distrust.add_failure(stamp)
        if self._distrust.covers(stamp):
            self.ledger.add_failure(stamp)
            self._aspects.take()
            return
        is_first, num_before = self._number == 0, self._number
        for failed in self.ledger.take_failures(stamp):
            yield self._lose(failed)
        time = self.clock.compute_time(stamp)
        if not is_first:
            interval, before = self.ledger.promise.interval, self._shown
            missing = self.ledger.count_missing(frame, step=time - before)
            while self._number - num_before < missing:
                self._time = before + (self._number - num_before + 1) * interval
                yield self._lose(NO_STAMP)
        self._time = self._shown = time
        yield Shown(self._number, time, frame, self._aspects.take())
        self._number += 1

    def _lose(self, stamp: Fraction) -> Shown:
        if stamp != NO_STAMP:
            self._time = self.clock.compute_time(stamp)
        self._number += 1
        return Shown(self._number - 1, self._time)


class _Distrust:
    """Spans of the film that build on damage: from the first frame there to the next whole one."""

    def __init__(self) -> None:
        self._spans: list[tuple[Fraction, Fraction | None]] = []
        self._whole = NO_STAMP

    def add_packet(self, stamp: Fraction | None, *, is_whole: bool) -> None:
        """Note what is decoded next; `is_whole`: it needs no frame before it."""
        if self._spans and self._spans[-1][1] is None:
            start = self._spans[-1][0]
            if is_whole:
                self._spans[-1] = start, NO_STAMP if stamp is None else stamp
            elif stamp is not None:  # it may be shown before what it builds on
                self._spans[-1] = min(start, stamp), None
        if is_whole and stamp is not None:
            self._whole = stamp

    def add_failure(self, stamp: Fraction | None) -> None:
        """Note that the frame with this stamp is damaged."""
        start = NO_STAMP if stamp is None else stamp
        if not self.covers(stamp):
            self._spans.append((start, self._whole if self._whole > start else None))

    def covers(self, stamp: Fraction | None) -> bool:
        """Whether the frame with this stamp builds on damage."""
        if stamp is None:
            return bool(self._spans) and self._spans[-1][1] is None
        return any(a <= stamp and (b is None or stamp < b) for a, b in self._spans)


class _Aspects:
    """Shapes of pixels: what the container says, which may be newer, else the film itself."""

    def __init__(self, stream: av.VideoStream) -> None:
        self._context, self._aspect = stream.codec_context, stream.sample_aspect_ratio
        self._is_fixed = self._aspect != self._context.sample_aspect_ratio
        # of packets whose frames the decoder still holds; a new shape begins behind them all
        self._waiting: deque[Fraction | None] = deque()

    def add_packet(self) -> None:
        """Note what the film says of the packet that was just decoded."""
        if not self._is_fixed:
            self._waiting.append(self._context.sample_aspect_ratio)

    def take(self) -> Fraction | None:
        """Take the shape of the pixels of the next frame."""
        if self._waiting:
            self._aspect = self._waiting.popleft()
        return self._aspect


def _convert_stamp(ticks: int | None, base: Fraction | None) -> Fraction | None:
    return None if ticks is None or not base else ticks * base
