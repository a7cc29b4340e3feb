"""A decoded frame as a player shows it: upright, with square pixels, in RGB.

Its lines stay as they are, so that heights in px keep their meaning; where pixels are not square,
the columns are resampled: 720 x 480 at 8:9 is 640 x 480, 1440 x 1080 at 4:3 is 1920 x 1080.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import cast

import av
import numpy as np
from numpy.typing import NDArray

# What is done to videos, or left out, and so is counted in notes.
TURNED = "turned or mirrored as their display matrix says"
SLANTED = "whose display matrix is slanted: turned to the nearest quarter only"
SQUARED = "with pixels that are not square: columns resampled"
ABSURD = "that state pixels of an absurd shape: taken as square"
INTERLACED = "with interlaced frames: both fields are shown at once"
# Wider or narrower pixels than these are a slip: no camera or disc has them.
_WIDEST = 4
_Turn = tuple[bool, bool, bool]


def convert_picture(
    frame: av.VideoFrame, *, aspect: Fraction | None, say: Callable[[str], None]
) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W, 3] of a frame whose pixels are `aspect` as wide as high (None: 1).

    `say` is told what is done.
    """
    width = frame.width
    if aspect and aspect != 1:
        if Fraction(1, _WIDEST) <= aspect <= _WIDEST:
            say(SQUARED)
            width = max(1, round(width * aspect))
        else:
            say(ABSURD)
    if frame.interlaced_frame:
        say(INTERLACED)
    if width == frame.width:
        image = frame.to_ndarray(format="rgb24")
    else:
        image = frame.to_ndarray(
            format="rgb24", width=width, height=frame.height, interpolation="BICUBIC"
        )
    return _turn(np.asarray(image, dtype=np.uint8), frame, say)


def _turn(
    image: NDArray[np.uint8], frame: av.VideoFrame, say: Callable[[str], None]
) -> NDArray[np.uint8]:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return image
    # x' = a x + c y, y' = b x + d y; the rest of the nine moves the picture, which changes nothing
    a, b, _, c, d = (int(value) for value in np.frombuffer(cast("bytes", matrix), np.int32)[:5])
    is_swapped = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if is_swapped else (a, d)
    if min(abs(a) + abs(d), abs(b) + abs(c)) * 50 > max(abs(across), abs(down)):  # 1 degree
        say(SLANTED)
    turned = image.swapaxes(0, 1) if is_swapped else image
    turned = turned[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
    if is_swapped or down < 0 or across < 0:
        say(TURNED)
    return np.ascontiguousarray(turned)
