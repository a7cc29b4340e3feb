"""M by supplied human-parsing maps (Table 2a): not interactive, cut to the crop."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vills.config.checks import ConfigError
from vills.data.predictions import Parsing, load_parsing
from vills.lse.crop import Crop, Floats, Labels, cut_mask
from vills.lse.segmenter import AreaMask, AreaMasks


class ParsingSegmenter:
    """The map of each area below the record's box; keypoints and tau have no say in it.

    A parsing map does not tell persons apart, so a neighbour inside the box is part of the mask:
    that, and the fixed set of labels, is what the interactive segmenter is compared with.
    """

    def __init__(self, parsing: Parsing) -> None:
        self._parsing = parsing

    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],  # noqa: ARG002  (the interface of eq. 3)
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        """Cut the areas of each crop; the score is 1, a parsing map carries none."""
        found: list[AreaMasks] = []
        for crop, prompts in zip(crops, labels, strict=True):
            maps = self._parsing.lookup(crop.path, crop.frame)
            cuts = {
                area: cut_mask(maps[area], box=crop.box, size=(crop.height, crop.width))
                for area in prompts
                if area in maps
            }
            found.append({a: AreaMask(mask=m, score=1.0) for a, m in cuts.items() if m.any()})
        return found


def build_parsing_segmenter(root: Path | None) -> ParsingSegmenter:
    """Load the parsing maps that lie beside a raw data set.

    Raises:
        ConfigError: there are none.
    """
    parsing = load_parsing(root) if root is not None else None
    if parsing is None:
        raise ConfigError(
            f"lse.segmenter = 'parsing' found no predictions/parsing.parquet in {root}. Allowed: "
            "grabcut or sam where no maps are supplied. What to do: supply the file, or choose "
            "another segmenter."
        )
    return ParsingSegmenter(parsing)
