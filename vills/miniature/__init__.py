"""The embedded world: a small seeded set of pedestrians in the official layouts, with truth.

`world.render_world` writes it. Every random number comes from a generator keyed by integers, so
that no draw depends on what was drawn before.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """First key of every generator of the world: what the numbers are for."""

    IDENTITY = 1
    OUTFIT = 2
    CAMERA = 3
    CAST = 4
    VIEW = 5
    SCENE = 6


def sample_rng(*key: int) -> np.random.Generator:
    """Return the Philox generator that belongs to `key`."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
