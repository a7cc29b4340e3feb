"""Randomness keyed by what a sample is, never by which process or worker makes it."""

import numpy as np

_MASK = (1 << 64) - 1


def sample_rng(*key: int) -> np.random.Generator:
    """A generator of its own for `key`, e.g. (seed, stream, epoch, sample index).

    Philox is counter-based: generators of neighbouring keys are independent by construction. The
    key's length is part of it, since SeedSequence fills short ones up with zeros.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((len(key), *key))))


def sample_key(*key: int) -> int:
    """A 63-bit number that identifies `key`, for noise drawn where the key itself is not known."""
    state = 0x9E3779B97F4A7C15
    for part in key:
        # splitmix64 finaliser: every bit of the input reaches every bit of the output
        state = (state + part * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1
