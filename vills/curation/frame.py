"""One decoded frame of a video."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on its way from the decoder to the detector, the tracker and the crops.

    Attributes:
        path: Raw relative path of the video; supplied predictions are found by it.
        number: Position in the video, from 0, skipped frames counted.
        image: uint8 [H, W, 3], RGB.
    """

    path: str
    number: int
    image: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Width of the frame, px."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Height of the frame, px."""
        return int(self.image.shape[0])
