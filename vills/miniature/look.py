"""A person in an outfit, and what of the garments shows from one side."""

import functools
from dataclasses import dataclass

from vills.miniature.identity import Identity
from vills.miniature.outfit import Outfit
from vills.miniature.palette import fill
from vills.miniature.straps import strap
from vills.miniature.texture import (
    AROUND,
    ROWS,
    Map,
    build_leg_map,
    build_sleeve_map,
    build_torso_map,
    turn,
)


@dataclass(frozen=True, slots=True)
class Look:
    """A person in an outfit; maps run around the body."""

    identity: Identity
    outfit: Outfit
    torso: Map
    sleeve: Map
    leg: Map
    skin: Map
    shoe: Map


@dataclass(frozen=True, slots=True)
class Side:
    """The same maps as one viewer sees them."""

    torso: Map
    sleeve: Map
    leg: Map
    skin: Map
    shoe: Map


@functools.lru_cache(maxsize=4096)
def build_look(identity: Identity, outfit: Outfit) -> Look:
    """Return the look of `identity` in `outfit`."""
    return Look(
        identity=identity,
        outfit=outfit,
        torso=strap(build_torso_map(outfit), identity),
        sleeve=build_sleeve_map(outfit),
        leg=build_leg_map(outfit),
        skin=fill(ROWS, AROUND, identity.skin),
        shoe=fill(ROWS, AROUND, outfit.shoe_colour),
    )


def turn_look(look: Look, yaw: float) -> Side:
    """Return what shows of `look` from the viewer's side."""
    return Side(
        torso=turn(look.torso, yaw),
        sleeve=turn(look.sleeve, yaw),
        leg=turn(look.leg, yaw),
        skin=turn(look.skin[:2], yaw),
        shoe=turn(look.shoe[:2], yaw),
    )
