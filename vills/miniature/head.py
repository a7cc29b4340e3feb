"""The head: a sphere with a face, hair or a hat, seen from any side."""

import functools

import numpy as np
from numpy.typing import NDArray

from vills.miniature.identity import Identity
from vills.miniature.palette import Colour, shade

SIZE = 40
_FACE_DARK: Colour = (44, 36, 36)

Plane = NDArray[np.float64]


@functools.cache
def _build_sphere() -> tuple[Plane, Plane, Plane]:
    """Right, up and near coordinates [SIZE, SIZE] of a sphere's visible half."""
    axis = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    right, up = np.meshgrid(axis, -axis)
    near = np.sqrt(np.clip(1.0 - right**2 - up**2, 0.0, None))
    return right, up, near


def build_head(identity: Identity, yaw: float) -> NDArray[np.uint8]:
    """Return the head as uint8 [SIZE, SIZE, 3]; its ellipse fills the square."""
    right, up, near = _build_sphere()
    ahead = near * np.cos(yaw) + right * np.sin(yaw)
    left = right * np.cos(yaw) - near * np.sin(yaw)
    image = np.empty((SIZE, SIZE, 3), dtype=np.float64)
    image[:] = identity.skin
    for sign in (1.0, -1.0):
        eye = (ahead > 0) & ((left - sign * 0.36) ** 2 + (up - 0.12) ** 2 < 0.016)
        image[eye] = _FACE_DARK
    mouth = (ahead > 0) & (np.abs(left) < 0.26) & (np.abs(up + 0.48) < 0.07)
    image[mouth] = shade(identity.skin, 0.6)
    image[_get_hair(identity.hair_style, left, up, ahead)] = identity.hair_colour
    hat = _get_hat(identity.hair_style, up, ahead)
    image[hat] = identity.hat_colour
    light = 0.70 + 0.30 * near + 0.10 * right
    return np.clip(image * light[..., None], 0, 255).astype(np.uint8)


def _get_hair(style: str, left: Plane, up: Plane, ahead: Plane) -> NDArray[np.bool_]:
    if style == "bald":
        return np.zeros(up.shape, dtype=np.bool_)
    # A hairline above the forehead that comes down behind the ears.
    nape = {"short": -0.35, "medium": -0.8, "long": -1.1, "cap": -0.4, "beanie": -0.5}
    fringe = {"short": 0.62, "medium": 0.46, "long": 0.5}.get(style, 0.6)
    behind = (ahead < 0.12) & (up > nape.get(style, -0.45))
    sides = (np.abs(left) > 0.8) & (ahead < 0.5) & (style in ("medium", "long"))
    crown: NDArray[np.bool_] = (up > fringe) | behind | sides
    return crown


def _get_hat(style: str, up: Plane, ahead: Plane) -> NDArray[np.bool_]:
    if style == "cap":
        peak = (ahead > 0.55) & (up > 0.22)
        return (up > 0.36) | peak
    if style == "beanie":
        return up > 0.18
    return np.zeros(up.shape, dtype=np.bool_)
