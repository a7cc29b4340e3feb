"""Who lives in the world: people in clothes, their numbers, and what a viewer sees of them.

A person in clothes is drawn as maps around the body. Rows of a map run down the body, columns
around it: the middle one is its front, a quarter more its left.
"""

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vills.miniature import Stream, sample_rng
from vills.miniature.person import Colour, Group, Identity, Outfit, build_identity, build_outfit

PRETRAIN_OFFSET, DISTRACTOR_OFFSET = 100_000, 200_000  # truth numbers of those without a pid
# The later data sets number their people anew: their truth numbers are these plus the pid.
PRCC_OFFSET, LTCC_OFFSET, PRID_OFFSET, SIGSET_OFFSET = 300_000, 400_000, 500_000, 600_000
_FIRST_PASSER, _NUM_PASSERS = 10_000, 12
_FIRST_HANGER = 10_000  # outfits from here on belong to a wardrobe, not to a person

Map = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Plane = NDArray[np.float64]
ROWS = 48
AROUND = 72
WIDTH = 28
_LIGHT = 0.5  # radians by which the light comes from the image's right
_ACROSS = np.arcsin(np.linspace(-0.98, 0.98, WIDTH))
_SHADE = (0.66 + 0.36 * np.cos(_ACROSS - _LIGHT)).astype(np.float32)[None, :, None]
_DOWN = np.arange(ROWS) / ROWS
_ROUND = np.arange(AROUND) / AROUND
_TURN = _ROUND - 0.5  # of each column from the front

# The visible half of the head, a sphere: coordinates to the right, up and towards the viewer.
_HEAD = 40
_AXIS = (np.arange(_HEAD) + 0.5) / _HEAD * 2 - 1
_RIGHT, _UP = np.meshgrid(_AXIS, -_AXIS)
_NEAR = np.sqrt(np.clip(1.0 - _RIGHT**2 - _UP**2, 0.0, None))
_FACE_DARK: Colour = (44, 36, 36)


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in clothes."""

    identity: Identity
    outfit: Outfit
    maps: dict[str, Map]
    """Torso, sleeve, leg, skin and shoe, [H, AROUND, 3]."""
    person: int
    """Number that the truth gives."""


def build_actor(
    seed: int, group: Group, index: int, outfit: int, *, person: int, wardrobe: int | None = None
) -> Actor:
    """Return a person in clothes: their own, or some of a wardrobe that the group shares.

    Where many wear the same, clothes do not tell who somebody is: a model that trains on such
    people has to look at the body too.

    Outfits count from 0, and a person's differ; `person` is the truth number; a shared `wardrobe`
    has so many outfits, more than those of a person.
    """
    if wardrobe is None:
        worn = build_outfit(seed, group, index, outfit)
    else:
        order = sample_rng(seed, Stream.OUTFIT, group, _FIRST_HANGER, index).permutation(wardrobe)
        shared = build_outfit(seed, group, _FIRST_HANGER + int(order[outfit]), 0)
        worn = dataclasses.replace(shared, index=outfit)
    identity = build_identity(seed, group, index)
    return Actor(identity, worn, _build_maps(identity, worn), person)


def build_distractor(seed: int, index: int) -> Actor:
    """Return a person that no query asks for."""
    return build_actor(seed, Group.DISTRACTOR, index, 0, person=DISTRACTOR_OFFSET + index)


def sample_passer(seed: int, rng: np.random.Generator) -> Actor:
    """Return one of those who get in the way and belong to no data set."""
    return build_distractor(seed, _FIRST_PASSER + int(rng.integers(_NUM_PASSERS)))


def sample_pids(rng: np.random.Generator, pool: range, *counts: int) -> list[list[int]]:
    """Return so many lists of pids that no two share, each as long as asked for and rising."""
    pids = rng.permutation(np.array(pool)).tolist()
    assert sum(counts) <= len(pids), "the config's ranges keep to the pool"
    ends = np.cumsum(counts).tolist()
    return [sorted(pids[end - count : end]) for end, count in zip(ends, counts, strict=True)]


def render_turned(texture: Map, yaw: float) -> Map:
    """Return what a viewer sees of a cylinder turned by `yaw`, shaded: uint8 [H, WIDTH, 3].

    The texture is a map [H, AROUND, 3]; `yaw` is 0 when its front faces the viewer, pi/2 when it
    points to the image's right.
    """
    columns = np.round(((_ACROSS - yaw) / (2 * np.pi) + 0.5) * AROUND).astype(np.intp) % AROUND
    return np.asarray(np.minimum(texture[:, columns] * _SHADE, 255.0), dtype=np.uint8)


def build_head(identity: Identity, yaw: float) -> Map:
    """Return the head with its face, hair or hat as a square; its ellipse fills the square."""
    style = identity.hair_style
    ahead = _NEAR * np.cos(yaw) + _RIGHT * np.sin(yaw)
    left = _RIGHT * np.cos(yaw) - _NEAR * np.sin(yaw)
    image = np.empty((_HEAD, _HEAD, 3), dtype=np.float64)
    image[:] = identity.skin
    for sign in (1.0, -1.0):
        eye = (ahead > 0) & ((left - sign * 0.36) ** 2 + (_UP - 0.12) ** 2 < 0.016)
        image[eye] = _FACE_DARK
    mouth = (ahead > 0) & (np.abs(left) < 0.26) & (np.abs(_UP + 0.48) < 0.07)
    image[mouth] = _shade(identity.skin, 0.6)
    if style != "bald":
        image[_find_hair(style, left, _UP, ahead)] = identity.hair_colour
    if style == "cap":
        image[(_UP > 0.36) | (ahead > 0.55) & (_UP > 0.22)] = identity.hat_colour
    elif style == "beanie":
        image[_UP > 0.18] = identity.hat_colour
    light = 0.70 + 0.30 * _NEAR + 0.10 * _RIGHT
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)


def render_flat(rows: int, colour: Colour) -> Map:
    """Return a map of one colour."""
    return np.full((rows, AROUND, 3), colour, dtype=np.uint8)


@functools.lru_cache(maxsize=4096)
def _build_maps(identity: Identity, outfit: Outfit) -> dict[str, Map]:
    return {
        "torso": _add_straps(_build_torso(outfit), identity),
        "sleeve": _build_sleeve(outfit),
        "leg": _build_leg(outfit),
        "skin": render_flat(2, identity.skin),
        "shoe": render_flat(2, outfit.shoe_colour),
    }


def _find_hair(style: str, left: Plane, up: Plane, ahead: Plane) -> Mask:
    # A hairline above the forehead that comes down behind the ears.
    nape = {"short": -0.35, "medium": -0.8, "long": -1.1, "cap": -0.4, "beanie": -0.5}
    fringe = {"short": 0.62, "medium": 0.46, "long": 0.5}.get(style, 0.6)
    behind = (ahead < 0.12) & (up > nape.get(style, -0.45))
    sides = (np.abs(left) > 0.8) & (ahead < 0.5) & (style in ("medium", "long"))
    crown: Mask = (up > fringe) | behind | sides
    return crown


def _shade(colour: Colour, factor: float) -> Colour:
    """Return `colour` made darker, by a factor below 1."""
    red, green, blue = (int(c * factor) for c in colour)
    return red, green, blue


def _add_straps(torso: Map, identity: Identity) -> Map:
    """Lay the straps of a bag over the map of the torso, and return it."""
    colour = _shade(identity.bag_colour, 0.8)
    if identity.bag == "backpack":
        front = np.abs(np.abs(_TURN) - 0.115) < 0.024
        torso[np.ix_(_DOWN < 0.6, front)] = colour
    elif identity.bag == "shoulder_bag":
        # From one shoulder over chest and back down to the bag at the other side's hip.
        ahead = 0.25 - np.abs(np.abs(_TURN) - 0.25)  # 0 at front and back, 0.25 at the sides
        offset = identity.bag_side * np.sign(_TURN) * ahead * 2.0 + 0.5
        torso[np.abs(_DOWN[:, None] - offset[None, :]) < 0.07] = colour
    return torso


def _build_torso(outfit: Outfit) -> Map:
    if outfit.top != "open_jacket":
        return _build_pattern(outfit, outfit.top_colour, outfit.top_second)
    # A jacket shows its own colour around and the pattern of what is under it in front.
    jacket = render_flat(ROWS, outfit.top_colour)
    inner = _build_pattern(outfit, outfit.top_second, outfit.bottom_second)
    opening = np.abs(_TURN) < 0.09 + 0.012 * outfit.num_bands
    jacket[:, opening] = inner[:, opening]
    return jacket


def _build_sleeve(outfit: Outfit) -> Map:
    """Return a sleeve; hoops and checks go on along the arm, other patterns do not."""
    colours = (outfit.top_colour, outfit.top_second)
    colour, other = reversed(colours) if outfit.sleeve_second else colours
    sleeve = render_flat(ROWS, colour)
    if outfit.top != "open_jacket" and outfit.top_pattern in ("hoops", "checks"):
        sleeve[_find_bands(2 * outfit.num_bands, ROWS)] = other
    return sleeve


def _build_leg(outfit: Outfit) -> Map:
    """Return one leg of the trousers from hip (row 0) to ankle."""
    leg, second = render_flat(ROWS, outfit.bottom_colour), outfit.bottom_second
    if outfit.bottom_pattern == "side_stripe":
        leg[:, np.abs(np.abs(_TURN) - 0.25) < 0.07] = second
    elif outfit.bottom_pattern == "checks":
        leg[_find_checks(outfit.bottom_bands + 2, 10)] = second
    elif outfit.bottom_pattern == "knee_panel":
        leg[(_DOWN > 0.42) & (_DOWN < 0.62)] = second
    elif outfit.bottom_pattern == "cuffs":
        leg[_DOWN > 0.80] = second
    return leg


def _build_pattern(outfit: Outfit, colour: Colour, second: Colour) -> Map:
    garment, pattern, count = render_flat(ROWS, colour), outfit.top_pattern, outfit.num_bands
    rows, columns = _DOWN, _TURN
    if pattern == "hoops":
        garment[_find_bands(2 * count, ROWS)] = second
    elif pattern == "pinstripes":
        garment[:, _find_bands(count + 6, AROUND)] = second
    elif pattern == "checks":
        garment[_find_checks(count, count + 3)] = second
    elif pattern in ("yoke", "hem", "chest_band"):
        low, high = {"yoke": (-1, 0.36), "hem": (0.62, 2), "chest_band": (0.30, 0.58)}[pattern]
        garment[(rows > low) & (rows < high)] = second
    elif pattern == "dots":
        y, x = (rows * count) % 1.0 - 0.5, (_ROUND * count * 2) % 1.0 - 0.5
        garment[y[:, None] ** 2 + x[None, :] ** 2 < 0.11] = second
    elif pattern == "diagonal":
        slope = rows[:, None] + np.abs(columns)[None, :] * 2.2
        garment[(slope * (count - 1)).astype(np.intp) % 2 == 1] = second
    elif pattern == "logo":
        garment[_find_logo(outfit.logo, 0.0) | _find_logo(outfit.logo, 0.5)] = second
    return garment


def _find_bands(count: int, size: int) -> Mask:
    """Return every second one of `count` bands of an axis."""
    return np.asarray((np.arange(size) * count // size) % 2 == 1)


def _find_checks(down: int, around: int) -> Mask:
    return np.logical_xor.outer(_find_bands(2 * down, ROWS), _find_bands(2 * around, AROUND))


def _find_logo(shape: str, centre: float) -> Mask:
    """Return a large sign at the front (centre 0) or the back (0.5) of the top."""
    x = ((_TURN - centre + 0.5) % 1.0 - 0.5)[None, :] * 5.0
    y = (_DOWN - 0.42)[:, None] * 3.2
    radius = np.hypot(x, y)
    shapes = {
        "disc": radius < 0.72,
        "ring": (radius < 0.82) & (radius > 0.42),
        "bar": (np.abs(y) < 0.24) & (np.abs(x) < 0.95),
        "cross": ((np.abs(x) < 0.24) | (np.abs(y) < 0.24)) & (np.maximum(abs(x), abs(y)) < 0.85),
        "triangle": (y > -0.7) & (y < 0.7) & (np.abs(x) < (y + 0.7) * 0.6),
    }
    return shapes[shape]
