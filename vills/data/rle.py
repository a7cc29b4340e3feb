"""COCO run-length encoding of masks."""

import numpy as np
from pycocotools import mask as coco


def encode_rle(mask: np.ndarray) -> bytes:
    """Compressed counts of bool [H, W]."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def decode_rle(counts: bytes, height: int, width: int) -> np.ndarray:
    """Bool [height, width] of compressed counts."""
    return np.asarray(coco.decode({"size": [height, width], "counts": counts}), dtype=bool)
