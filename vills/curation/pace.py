"""Which frames of a video are read, so that no more than a number of them is read in a second."""

import math
from dataclasses import dataclass

# Time stamps are often whole milliseconds, rounded up or down.
_TOLERANCE = 0.001


@dataclass
class Pace:
    """Chooses frames by the time at which they are shown, so that any frame rate gives the same.

    Attributes:
        rate: Frames a second, at most; 0: all.
    """

    rate: float
    _due: float = -math.inf

    def is_due(self, time: float) -> bool:
        """Whether the next frame, shown at `time` s, is one to be read; ask in order."""
        if not self.rate:
            return True
        if time + _TOLERANCE < self._due:
            return False
        # After a gap there is nothing to catch up with.
        following = self._due + 1 / self.rate
        self._due = following if following > time else time + 1 / self.rate
        return True
