"""Pixels and masks as bytes: JPEG and PNG, COCO run lengths."""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco

from vills.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
# PIL does not turn pixels by EXIF either: boxes and masks refer to the stored raster
_READ = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class CorruptImageError(InputError):
    """Bytes that are no complete image."""


def decode_image(data: bytes, *, name: str = "image") -> np.ndarray:
    """Pixels as uint8 [H, W, 3] RGB.

    PIL, since OpenCV fills the missing part of a truncated JPEG with grey and says nothing.

    Raises:
        CorruptImageError: naming the image, if it is empty, truncated, or no image.
    """
    if not data:
        raise CorruptImageError(f"{name}: the file is empty")
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    # PIL reports damage by OSError, SyntaxError (PNG chunks), ValueError or a bomb error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error) if "BytesIO" not in str(error) else "not a known image format"
        raise CorruptImageError(f"{name}: {reason}") from error
    return pixels


def decode_curated(data: bytes, *, name: str = "image") -> np.ndarray:
    """Pixels as uint8 [H, W, 3] RGB of bytes that curation has decoded before; 2.5 times as fast.

    OpenCV skips the checks of `decode_image`, so nothing may come here that has not passed them.

    Raises:
        CorruptImageError: naming the image, if nothing can be decoded.
    """
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _READ) if data else None
    if pixels is None:
        raise CorruptImageError(f"{name}: cannot be decoded. What to do: run curate again.")
    return np.asarray(pixels)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of uint8 [H, W, 3]; the same pixels give the same bytes."""
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def find_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight (x1, y1, x2, y2) of bool [H, W] that is not empty; x2 and y2 are outside."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode_rle(mask: np.ndarray) -> bytes:
    """Compressed counts of bool [H, W]."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def decode_rle(counts: bytes, height: int, width: int) -> np.ndarray:
    """Bool [height, width] of compressed counts."""
    return np.asarray(coco.decode({"size": [height, width], "counts": counts}), dtype=bool)
