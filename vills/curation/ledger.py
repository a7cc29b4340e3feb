"""What of a film came, against what its file promises; what is missing is counted in frames."""

import heapq
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

from av import Packet, VideoFrame

from vills.curation.container import Promise

# In distances between frames: what is a gap between two of them, and what is one at the end.
_GAP, _END_GAP = 1.75, 1.5
_REORDERED = 3
# Share and number of regular distances from which on a gap means that frames are missing.
_CONSTANT, _LEAST = 0.9, 8
# Between packets of a Matroska file lie a few bytes; where its reader meets damage, it leaves out
# all up to the next cluster.
_HOLE = 1000
NO_STAMP = Fraction(-(10**9))
"""Of what failed and has no time stamp: it is lost at once."""


class Shown(NamedTuple):
    """A frame, or the place of one that is lost.

    Attributes:
        number: Position in the film, from 0.
        time: Seconds since the first frame was shown.
        frame: As decoded; None if it is lost.
        aspect: Width of a pixel by its height; None: square, or not stated.
    """

    number: int
    time: Fraction
    frame: VideoFrame | None = None
    aspect: Fraction | None = None


@dataclass
class Ledger:
    """Takes the packets of a file and the frames of its film, in the order in which they come.

    Attributes:
        promise: What the file says of its length.
    """

    promise: Promise
    _num_packets: int = 0
    _end: Fraction = Fraction(0)
    _file_end: Fraction = Fraction(0)
    _byte: int = 0
    _failed: list[Fraction] = field(default_factory=list)
    _is_damaged: bool = False
    _num_since_damage: int = _REORDERED + 1
    _num_steps: int = 0
    _num_regular: int = 0
    _num_gaps: int = 0
    _num_lost: int = 0
    _first_lost: float = 0.0
    _num_lost_last: int = 0

    def add_packet(self, packet: "Packet[Any]", *, is_film: bool) -> None:
        """Take a packet of any stream."""
        stamp = packet.pts if packet.pts is not None else packet.dts or 0
        end = (stamp + (packet.duration or 0)) * packet.time_base
        if not is_film:
            self._file_end = max(self._file_end, end)
        if self.promise.is_matroska and packet.pos is not None:
            self._is_damaged |= 0 < self._byte < packet.pos - _HOLE
            self._byte = packet.pos + packet.size
        if is_film:
            self._num_packets += 1
            self._end = max(self._end, end)
            self._note_damage(packet.is_corrupt)

    def add_failure(self, stamp: Fraction | None) -> None:
        """Take the stamp, s, of what gave an error, or a frame that is not as it was filmed."""
        self._note_damage(True)
        place = NO_STAMP if stamp is None else stamp
        if stamp is None or place not in self._failed:  # some decoders fail, and show it later
            heapq.heappush(self._failed, place)

    def take_failures(self, stamp: Fraction | None) -> list[Fraction]:
        """Give the stamps of what failed and should have been shown before `stamp` (None: all)."""
        found = []
        while self._failed and (stamp is None or self._failed[0] < stamp):
            found.append(heapq.heappop(self._failed))
        return found

    def count_missing(self, frame: VideoFrame, *, step: Fraction) -> int:
        """Count the frames that are missing before one that is shown `step` s after the last.

        A gap in time alone may be a picture that stood still; and an index names all frames.
        """
        self._note_damage(frame.is_corrupt)
        num_intervals = float(step / self.promise.interval)
        self._num_steps += 1
        self._num_regular += 1 / _GAP < num_intervals < _GAP
        if num_intervals <= _GAP or self.promise.is_indexed or not self._is_constant:
            return 0
        self._num_gaps += not self._is_damaged
        return round(num_intervals) - 1 if self._is_damaged else 0

    @property
    def has_gaps(self) -> bool:
        """Whether frames seem to be missing, but nothing else says so."""
        return self._num_gaps > 0 and self._is_constant

    @property
    def _is_constant(self) -> bool:
        """Whether so many frames came at the stated distance that a gap is no part of the rate."""
        return self._num_regular >= max(_CONSTANT * (self._num_steps - 1), _LEAST)

    def add(self, shown: Shown) -> None:
        """Take a frame that is asked for, or the place of one, in the order of display."""
        if shown.frame is None:
            self._first_lost = self._first_lost if self._num_lost else float(shown.time)
            self._num_lost += 1
            self._num_lost_last += 1
        else:
            self._num_lost_last = 0

    def describe(self, *, num_frames: int, missing_end: str, is_end: bool) -> tuple[int, str]:
        """Count and say what was lost of a film of which `num_frames` came.

        `missing_end` says what lacks of the file; `is_end`: all of it was read, not a segment.
        """
        tail = self._num_lost_last + (self._count_tail(is_cut=bool(missing_end)) if is_end else 0)
        lost = self._num_lost - self._num_lost_last
        plural = "s" * (lost > 1)
        parts = [f"lost {lost:,} frame{plural}, the first at {self._first_lost:.2f} s"]
        parts = parts if lost else []
        number = num_frames + lost
        if tail:
            about = "" if self.promise.frames else "about "
            parts.append(f"ends early, after frame {number} of {about}{number + tail}")
        elif is_end and self._num_since_damage <= _REORDERED:
            parts.append(f"breaks off within frame {number}")
        parts += [missing_end] if missing_end else []
        return lost + tail, "; ".join(parts)

    def _count_tail(self, *, is_cut: bool) -> int:
        """Count the frames that are missing at the end of a file, which is cut short or not."""
        promise = self.promise
        gap = (
            max(promise.end - self._end, promise.file_end - max(self._end, self._file_end))
            / promise.interval
        )
        if promise.frames:
            # An index alone may name frames that an edit list hides, a duration alone may be late;
            # the last packets may be shown before others.
            missing = min(promise.frames - self._num_packets, round(gap) + _REORDERED)
            return max(missing, 0) if gap > 0 else 0
        if is_cut:
            return max(round(gap), 0)
        # A whole Matroska states its bytes, and its last frame may stand for long.
        return round(gap) if gap > _END_GAP and not promise.is_matroska else 0

    def _note_damage(self, is_damaged: bool) -> None:
        self._is_damaged |= is_damaged
        self._num_since_damage = 0 if is_damaged else self._num_since_damage + 1
