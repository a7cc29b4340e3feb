"""Colour histogram of horizontal stripes: what clothing colour alone finds."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.evaluation.distance import FloatArray

NUM_STRIPES = 6
HUE_BINS, SATURATION_BINS, VALUE_BINS = 12, 4, 8
_HUE_LEVELS, _LEVELS = 180, 256  # OpenCV's 8-bit HSV


class StripeHistogram:
    """Six stripes, each a joint hue-saturation and a value histogram.

    The square root of the shares is kept, so that the cosine of two descriptors is the mean
    Bhattacharyya coefficient of their histograms. It needs no training and no size.
    """

    dim = NUM_STRIPES * (HUE_BINS * SATURATION_BINS + VALUE_BINS)

    def __call__(self, image: NDArray[np.uint8]) -> FloatArray:
        """Describe an RGB image [H, W, 3], float32 [dim]."""
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV).astype(np.int64)
        hue = hsv[..., 0] * HUE_BINS // _HUE_LEVELS
        saturation = hsv[..., 1] * SATURATION_BINS // _LEVELS
        value = hsv[..., 2] * VALUE_BINS // _LEVELS
        colour = hue * SATURATION_BINS + saturation
        parts = []
        for stripe in np.array_split(np.arange(len(image)), NUM_STRIPES):
            for bins, num in ((colour, HUE_BINS * SATURATION_BINS), (value, VALUE_BINS)):
                counts = np.bincount(bins[stripe].ravel(), minlength=num)
                parts.append(np.sqrt(counts / max(1, counts.sum())))
        return np.concatenate(parts).astype(np.float32)
