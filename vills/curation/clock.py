"""When the frames of a video are shown, by their own time stamps."""

from dataclasses import dataclass
from fractions import Fraction

import av

FALLBACK_RATE = Fraction(25)
"""Frames per second where frames have no time stamp and the file states no rate."""


@dataclass
class Clock:
    """Turns presentation time stamps into seconds that never run backwards.

    The first frame shown is at 0, whatever stamp it carries: broadcast files begin at any number,
    and a phone may start its picture after its sound. A frame without a stamp, or with one that
    lies before that of an earlier frame (two recordings in one file), follows the frame before it
    by one frame of the stated rate; the stamps after it are counted on from there.

    Attributes:
        rate: Frames per second that the file states; 0 if it does not say.
        num_untimed: Frames whose time was made up from the rate.
    """

    rate: Fraction
    num_untimed: int = 0
    _last: Fraction = Fraction(-1)
    _origin: Fraction | None = None

    def compute_time(self, frame: av.VideoFrame) -> Fraction:
        """Seconds from the first frame shown to this one; ask in the order of display."""
        expected = self._last + 1 / (self.rate or FALLBACK_RATE) if self._last >= 0 else Fraction(0)
        if frame.pts is None or not frame.time_base:
            self.num_untimed += 1
            self._last = expected
            return expected
        stamp = frame.pts * Fraction(frame.time_base)
        if self._origin is None:
            self._origin = stamp - expected
        if stamp - self._origin < self._last:
            self.num_untimed += 1
            self._origin = stamp - expected
        self._last = stamp - self._origin
        return self._last
