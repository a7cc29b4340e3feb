"""Straps of bags, woven into the map of the top they lie on."""

import numpy as np

from vills.miniature.identity import Identity
from vills.miniature.palette import shade
from vills.miniature.texture import AROUND, ROWS, Map


def strap(torso: Map, identity: Identity) -> Map:
    """Return the torso map with the straps of the bag over it."""
    worn = torso.copy()
    column = np.arange(AROUND) / AROUND - 0.5
    row = np.arange(ROWS) / ROWS
    colour = shade(identity.bag_colour, 0.8)
    if identity.bag == "backpack":
        front = np.abs(np.abs(column) - 0.115) < 0.024
        worn[np.ix_(row < 0.6, front)] = colour
    elif identity.bag == "shoulder_bag":
        # From one shoulder over chest and back down to the bag at the other side's hip.
        ahead = 0.25 - np.abs(np.abs(column) - 0.25)  # 0 at front and back, 0.25 at the sides
        offset = identity.bag_side * np.sign(column) * ahead * 2.0 + 0.5
        worn[np.abs(row[:, None] - offset[None, :]) < 0.07] = colour
    return worn
