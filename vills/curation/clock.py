"""When the frames of a video are shown, by their own time stamps."""

from dataclasses import dataclass
from fractions import Fraction

FALLBACK_RATE = Fraction(25)
"""Frames per second where frames have no time stamp and the file states no rate."""
# A stamp that runs back by less is a writer's slip; by more, another recording begins.
_SLIP = Fraction(1)


@dataclass
class Clock:
    """Turns presentation time stamps into seconds that never run backwards.

    The first frame shown is at 0, whatever stamp it carries: broadcast files begin at any number,
    and a phone may start its picture after its sound. A frame without a stamp follows the frame
    before it by one frame of the stated rate, and so does one whose stamp is an earlier one's
    (two recordings in one file); the stamps after it are counted on from there.

    Attributes:
        interval: Seconds from a frame to the next by the rate that the file states.
        num_untimed: Frames whose time was made up.
    """

    interval: Fraction = 1 / FALLBACK_RATE
    num_untimed: int = 0
    _last: Fraction | None = None
    _origin: Fraction | None = None

    def compute_time(self, stamp: Fraction | None) -> Fraction:
        """Seconds from the first frame shown to one stamped `stamp` s; ask in order of display."""
        expected = Fraction(0) if self._last is None else self._last + self.interval
        if stamp is None:
            self.num_untimed += 1
            self._last = expected
            return expected
        if self._origin is None:
            self._origin = stamp - expected
        time = stamp - self._origin
        if self._last is not None and time < self._last:
            self.num_untimed += 1
            if self._last - time < _SLIP:
                time = self._last
            else:
                self._origin, time = stamp - expected, expected
        self._last = time
        return time
