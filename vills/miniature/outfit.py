"""What a person wears: garments, their patterns and which colour sits where."""

import functools
from dataclasses import dataclass

import numpy as np

from vills.miniature.identity import Group
from vills.miniature.palette import CLOTHES, COLOUR_SETS, Colour
from vills.miniature.rng import Stream, sample_rng

TOPS = ("short_sleeve", "long_sleeve", "long_sleeve", "open_jacket", "vest")
TOP_PATTERNS = (
    "plain",
    "hoops",
    "pinstripes",
    "checks",
    "yoke",
    "hem",
    "chest_band",
    "dots",
    "diagonal",
    "logo",
)
BOTTOMS = ("trousers", "trousers", "trousers", "shorts", "skirt")
BOTTOM_PATTERNS = ("plain", "plain", "side_stripe", "checks", "knee_panel", "cuffs")
LOGOS = ("disc", "bar", "cross", "triangle", "ring")


@dataclass(frozen=True, slots=True)
class Outfit:
    """One set of clothes; `top_second` is the other colour of the top's pattern."""

    index: int
    top: str
    top_pattern: str
    top_colour: Colour
    top_second: Colour
    sleeve_second: bool
    """Sleeves take the second colour."""
    num_bands: int
    """Stripes, checks or dots over the garment's height."""
    logo: str
    bottom: str
    bottom_pattern: str
    bottom_colour: Colour
    bottom_second: Colour
    bottom_bands: int
    shoe_colour: Colour


@functools.lru_cache(maxsize=4096)
def build_outfit(seed: int, group: Group, person: int, index: int) -> Outfit:
    """Return outfit `index` of a person; colours come from the sets that everybody shares."""
    rng = sample_rng(seed, Stream.OUTFIT, group, person, index)
    names = COLOUR_SETS[rng.integers(len(COLOUR_SETS))]
    first, second, third = (CLOTHES[names[i]] for i in rng.permutation(3))
    shoes = [CLOTHES[name] for name in ("black", "white", "brown", "red")]
    return Outfit(
        index=index,
        top=_draw(rng, TOPS),
        top_pattern=_draw(rng, TOP_PATTERNS),
        top_colour=first,
        top_second=second,
        sleeve_second=bool(rng.random() < 0.4),
        num_bands=int(rng.integers(3, 7)),
        logo=_draw(rng, LOGOS),
        bottom=_draw(rng, BOTTOMS),
        bottom_pattern=_draw(rng, BOTTOM_PATTERNS),
        bottom_colour=third,
        bottom_second=second if rng.random() < 0.5 else first,
        bottom_bands=int(rng.integers(4, 8)),
        shoe_colour=shoes[rng.integers(len(shoes))],
    )


def _draw(rng: np.random.Generator, names: tuple[str, ...]) -> str:
    return names[int(rng.integers(len(names)))]
