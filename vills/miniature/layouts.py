"""The data sets that the world can be written as."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from vills.config.miniature import MiniatureConfig
from vills.miniature import kinetics, ltcc, luperson, market1501, mars, prcc, prid2011, sigset
from vills.miniature.sink import Sink


class Layout(Protocol):
    """A data set's writer: a module with these names."""

    NAME: str

    def count_units(self, config: MiniatureConfig) -> int:
        """Return how many units it is rendered in."""
        ...

    def render_unit(self, config: MiniatureConfig, unit: int, sink: Sink) -> None:
        """Make the pictures of one unit, and their rows."""
        ...

    def finish(self, config: MiniatureConfig, root: Path) -> None:
        """Write the files that describe the whole data set."""
        ...


LAYOUTS: Mapping[str, Layout] = {
    layout.NAME: layout
    for layout in (luperson, kinetics, market1501, prcc, ltcc, mars, prid2011, sigset)
}
