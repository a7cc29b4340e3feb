"""Bytes to normalised pixels."""

from typing import overload

from torch import Tensor

from vills.data.transforms import MEAN, STD


@overload
def normalise(pixels: Tensor, *, weight: Tensor | None = None) -> Tensor: ...


@overload
def normalise(pixels: None, *, weight: Tensor | None = None) -> None: ...


def normalise(pixels: Tensor | None, *, weight: Tensor | None = None) -> Tensor | None:
    """uint8 [..., 3, H, W] -> float (x / 255 - MEAN) / STD; exactly 0 where weight [...] is 0."""
    if pixels is None:
        return None
    values = pixels.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
    if weight is not None:
        values[weight == 0] = 0.0
    return values
