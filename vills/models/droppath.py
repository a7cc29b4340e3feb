"""Stochastic depth whose noise belongs to the sample, not to the process.

Legend: R rows of an encoder pass. A row's noise is a hash of its key, the block and the branch, so
that a sample is dropped alike however the global batch is split over processes.
"""

import torch
from torch import Tensor

# Odd 64-bit constants of the splitmix64 generator, as signed integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def mix_keys(keys: Tensor, *salts: int | Tensor) -> Tensor:
    """Hash long keys with salts (integers or broadcastable long tensors) into new long keys."""
    mixed = _scramble(keys.long())
    for salt in salts:
        mixed = _scramble(mixed + _GAMMA + salt)
    return mixed


class DropPathNoise:
    """Keep-or-drop factors of the residual branches of one encoder pass.

    The rate rises linearly from 0 in the first block to `rate` in the last one (DINO, PASS).
    """

    def __init__(self, keys: Tensor, *, rate: float, depth: int) -> None:
        """Take `keys` long [R], one per row of the pass."""
        self._keys = keys
        self._rates = [rate * layer / max(depth - 1, 1) for layer in range(depth)]
        if depth == 1:
            self._rates = [rate]

    def compute_scale(self, *, layer: int, branch: int) -> Tensor | None:
        """[R, 1, 1] factors with mean 1: 0 or 1 / (1 - rate); None where nothing is dropped."""
        rate = self._rates[layer]
        if rate == 0.0:
            return None
        if rate >= 1.0:
            return torch.zeros_like(self._keys, dtype=torch.float32)[:, None, None]
        uniform = _shift(mix_keys(self._keys, layer, branch), 11).double() * 2.0**-53
        return ((uniform >= rate).float() / (1.0 - rate))[:, None, None]


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift; that of torch keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
