"""Cutting a person out of a frame."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CropBox = tuple[int, int, int, int]


def cut_crop(
    image: NDArray[np.uint8], *, box: NDArray[np.float32], crop_height: int
) -> tuple[NDArray[np.uint8], CropBox]:
    """Cut a box out of a frame and reduce what is higher than `crop_height` (0: never).

    Args:
        image: uint8 [H, W, 3].
        box: x1, y1, x2, y2 in px, not empty inside the frame.
        crop_height: Largest height of the crop, px.

    Returns:
        The crop, uint8 [h, w, 3], and the whole-pixel box of the frame that it shows; a point of
        the frame is found in the crop by that box and the crop's size.
    """
    height, width = image.shape[:2]
    x1, y1 = max(int(np.floor(box[0])), 0), max(int(np.floor(box[1])), 0)
    x2, y2 = min(int(np.ceil(box[2])), width), min(int(np.ceil(box[3])), height)
    crop = np.ascontiguousarray(image[y1:y2, x1:x2])
    if crop_height and crop.shape[0] > crop_height:
        new_width = max(1, round(crop.shape[1] * crop_height / crop.shape[0]))
        # PIL's filters widen with the reduction, so fine texture does not alias.
        small = Image.fromarray(crop).resize((new_width, crop_height), Image.Resampling.BICUBIC)
        crop = np.asarray(small, dtype=np.uint8)
    return crop, (x1, y1, x2, y2)
