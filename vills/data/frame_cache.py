"""A bounded cache of decoded images that worker processes share."""

import mmap
from multiprocessing import get_context

import numpy as np


class FrameCache:
    """Decoded uint8 [H, W, 3] images by number, in anonymous shared memory.

    Children made by fork see the same memory, so that every image is decoded once, not once per
    worker. The cache fills up and stays: there is no eviction, since a random epoch would evict
    each image before its next use. Which images it holds never changes what is read.
    """

    def __init__(self, *, num_images: int, megabytes: float) -> None:
        self._capacity = int(megabytes * 2**20)
        self._pixels = mmap.mmap(-1, max(self._capacity, 1))
        # start + 1 (0 = absent), height, width of each image; then the number of bytes in use
        self._table = np.frombuffer(mmap.mmap(-1, 24 * num_images + 8), dtype=np.int64)
        self._lock = get_context("fork").Lock()

    def get(self, number: int) -> np.ndarray | None:
        """The image, read-only, or None."""
        start = int(self._table[3 * number])
        if not start:
            return None
        # read after the start, as they are written before it
        height, width = self._table[3 * number + 1 : 3 * number + 3].tolist()
        flat = np.frombuffer(self._pixels, np.uint8, count=height * width * 3, offset=start - 1)
        flat.flags.writeable = False
        return flat.reshape(height, width, 3)

    def put(self, number: int, pixels: np.ndarray) -> None:
        """Keep the image if there is room."""
        size = pixels.size
        with self._lock:
            used = int(self._table[-1])
            if self._table[3 * number] or used + size > self._capacity:
                return
            self._table[-1] = used + size
        view = np.frombuffer(self._pixels, np.uint8, count=size, offset=used)
        view[:] = pixels.ravel()
        self._table[3 * number + 1 : 3 * number + 3] = pixels.shape[:2]
        # written last: a reader that sees the start sees the whole image
        self._table[3 * number] = used + 1
