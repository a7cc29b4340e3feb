"""Reshaping of rows, typed: torch's own Tensor.unflatten is not."""

from collections.abc import Sequence

from torch import Tensor


def fold_rows(rows: Tensor, shape: Sequence[int]) -> Tensor:
    """[R, ...] -> [*shape, ...], where the product of `shape` is R."""
    return rows.reshape(*shape, *rows.shape[1:])
