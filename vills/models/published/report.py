"""What loading did, for the run's record."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a published file are in the encoder, and which are not."""

    file: str
    layout: str
    wrapper: str
    """Part of the file that was used, such as teacher; empty: the file as it is."""
    num_used: int
    """Tensors of the file that the encoder holds."""
    dropped: list[str]
    """Tensors of the file that belong to no encoder: heads, decoders, mask tokens."""
    random: list[str]
    """Tensors of the encoder that the layout lacks and that keep their random start."""
    zero: list[str]
    """Biases of the encoder that the file's architecture lacks, which is the same as zeros."""
    normalisation: str
    """Of pixels, that the file expects: half as here, or imagenet, folded into the embedding."""
    file_grid: tuple[int, int]
    """Patches down and across of the file's position table."""
    grid: tuple[int, int]
    """The encoder's, to which the table is resampled if they differ."""

    def build_row(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        row = asdict(self)
        return row | {"file_grid": list(self.file_grid), "grid": list(self.grid)}
