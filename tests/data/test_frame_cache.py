import fcntl
import gc
import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vills.data.frames import FrameCache


def test_it_fills_up_and_stays() -> None:
    cache = FrameCache(num_images=4, megabytes=2 * 300 / 2**20)
    images = [np.full((10, 10, 3), i, dtype=np.uint8) for i in range(4)]
    for number in (2, 0, 1):
        assert cache.get(number) is None
        cache.put(number, images[number])
    assert cache.get(1) is None, "no room"
    for number in (0, 2):
        found = cache.get(number)
        assert found is not None
        assert (found == images[number]).all()
        assert not found.flags.writeable


def test_sizes_differ() -> None:
    cache = FrameCache(num_images=3, megabytes=1)
    for number, shape in enumerate([(5, 7, 3), (1, 1, 3), (9, 2, 3)]):
        cache.put(number, np.random.default_rng(number).integers(0, 9, shape, dtype=np.uint8))
    for number, shape in enumerate([(5, 7, 3), (1, 1, 3), (9, 2, 3)]):
        expected = np.random.default_rng(number).integers(0, 9, shape, dtype=np.uint8)
        found = cache.get(number)
        assert found is not None
        assert (found == expected).all()


def _fill(cache: FrameCache, numbers: range) -> None:
    for number in numbers:
        cache.put(number, np.full((8, 4, 3), number, dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_share_it(method: str) -> None:
    cache = FrameCache(num_images=100, megabytes=1)
    context: Any = multiprocessing.get_context(method)
    ranges = range(0, 60), range(40, 100)
    children = [context.Process(target=_fill, args=(cache, numbers)) for numbers in ranges]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    for number in range(100):
        found = cache.get(number)
        assert found is not None
        assert (found == number).all()


def _die_in_lock(cache: FrameCache) -> None:
    fcntl.lockf(cache._descriptor, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_child_leaves_no_lock_behind() -> None:
    cache = FrameCache(num_images=1, megabytes=1)
    child = multiprocessing.get_context("fork").Process(target=_die_in_lock, args=(cache,))
    child.start()
    child.join()
    cache.put(0, np.zeros((2, 2, 3), dtype=np.uint8))
    assert cache.get(0) is not None


@pytest.mark.slow
def test_its_memory_is_given_back() -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        FrameCache(num_images=1, megabytes=1).put(0, np.zeros((2, 2, 3), dtype=np.uint8))
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    with pytest.raises(RuntimeError, match="only be shared between processes"):
        pickle.dumps(FrameCache(num_images=1, megabytes=1))
