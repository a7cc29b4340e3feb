"""Writing that leaves a whole file or none, whenever it is stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


@contextmanager
def replace_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    temporary.replace(path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with replace_atomically(path) as temporary:
        temporary.write_bytes(data)


def encode_jpeg(image: NDArray[np.uint8], *, quality: int) -> bytes:
    """Return an RGB uint8 [H, W, 3] image as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, image.shape
    return bytes(data)


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB uint8 [H, W, 3] image as PNG."""
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, image.shape
    return bytes(data)


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """Return an image file as RGB uint8 [H, W, 3]."""
    bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
