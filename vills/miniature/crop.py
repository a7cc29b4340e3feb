"""A person crop, as a detector would cut it: slightly off, at times behind somebody else."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vills.miniature.camera import Camera, build_place, develop
from vills.miniature.figure import draw_figure
from vills.miniature.look import Look
from vills.miniature.painter import SUPERSAMPLE, Canvas, Image, enlarge, shrink
from vills.miniature.projection import Placement
from vills.miniature.shadow import draw_shadow
from vills.miniature.truth import Instance, Painted, build_instance, measure
from vills.miniature.walk import compute_pose

_FIGURE = 0.90  # share of a crop's height that the figure fills
_PLACE_HEIGHTS, _PLACE_WIDTHS = 1.6, 4.0  # size of a camera's picture, in crop heights
_BLOCKER, _PASSER = 0.08, 0.14  # shares of crops behind an object, behind or before a person


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in clothes, with the number that the truth gives."""

    look: Look
    person: int


@dataclass(frozen=True, slots=True)
class Shot:
    """What stays the same along a tracklet: place, direction, passers-by."""

    camera: Camera
    size: tuple[int, int]
    """Height and width of the crop, px."""
    yaw: float
    phase: float
    left: float
    top: float
    """Where the crop lies in the camera's picture, shares of what is left of it."""
    blocker: tuple[float, float] | None
    """Edge and upper end of an object in front, shares of the crop."""
    passer: Actor | None
    passer_offset: float
    passer_drift: float


def plan_shot(
    camera: Camera,
    size: tuple[int, int],
    rng: np.random.Generator,
    passers: Sequence[Actor],
    *,
    spread: float = 11.0,
) -> Shot:
    """Draw how a person is seen; `spread` is the deviation from the camera's way, degrees."""
    blocked, passed = rng.random(2)
    edge = float(rng.choice((-1.0, 1.0)) * rng.uniform(0.12, 0.45))
    passer = passers[int(rng.integers(len(passers)))] if passers else None
    return Shot(
        camera=camera,
        size=size,
        yaw=camera.yaw + float(np.deg2rad(rng.normal(0.0, spread))),
        phase=float(rng.uniform(0, 2 * np.pi)),
        left=float(rng.random()),
        top=float(rng.random()),
        blocker=(edge, float(rng.uniform(0.45, 0.75))) if blocked < _BLOCKER else None,
        passer=passer if passed < _PASSER else None,
        passer_offset=float(rng.choice((-1.0, 1.0)) * rng.uniform(0.22, 0.42)),
        passer_drift=float(rng.normal(0.0, 0.012)),
    )


def render_crop(
    shot: Shot, actor: Actor, rng: np.random.Generator, *, seed: int, time: float, jitter: float
) -> tuple[Image, list[Instance]]:
    """Return the crop and the truth of who is in it, the main person first.

    Args:
        shot: how the person is seen.
        actor: the main person.
        rng: decides the detector's error, grain and exposure.
        seed: the world's seed.
        time: seconds since the start of the tracklet.
        jitter: how far the crop is off, as a share of its size.

    Returns:
        uint8 [H, W, 3] RGB and instances.
    """
    height, width = shot.size
    canvas = Canvas(_cut_background(shot, seed, time))
    gait = actor.look.identity.gait
    phase = shot.phase + 2 * np.pi * gait.frequency * time
    off = rng.normal(0.0, jitter, size=3)
    scale = height * SUPERSAMPLE * _FIGURE * float(np.exp(off[0]))
    x = (0.5 + off[1]) * width * SUPERSAMPLE
    y = (0.96 + 0.6 * off[2]) * height * SUPERSAMPLE
    place = Placement(x, y, scale, shot.yaw, shot.camera.pitch)
    painted: list[Painted | None] = []
    passer = _place_passer(shot, place, time)
    behind = shot.passer_offset > 0
    if passer is not None and behind:
        painted.append(_paint(canvas, 2, *passer))
    draw_shadow(canvas, place)
    painted.insert(0, _paint(canvas, 1, actor, place, phase))
    if passer is not None and not behind:
        painted.append(_paint(canvas, 2, *passer))
    _draw_blocker(canvas, shot)
    small = shrink(canvas.colour)
    instances = [build_instance(canvas, figure) for figure in painted if figure is not None]
    return develop(shot.camera, small, rng), instances


def _cut_background(shot: Shot, seed: int, time: float) -> Image:
    height, width = shot.size
    rows, columns = int(height * _PLACE_HEIGHTS), int(height * _PLACE_WIDTHS)
    place = build_place(seed, shot.camera.index, rows, columns, 0.42)
    # The crop follows the walker, so that what is behind moves.
    drift = 0.10 * time * float(np.sin(shot.yaw))
    left = int((columns - width) * float(np.clip(shot.left + drift, 0.0, 1.0)))
    top = int((rows - height) * shot.top)
    return enlarge(place.cut(top, left, height, width))


def _place_passer(
    shot: Shot, place: Placement, time: float
) -> tuple[Actor, Placement, float] | None:
    if shot.passer is None:
        return None
    near = 1.0 if shot.passer_offset > 0 else -1.0
    x = place.x + (shot.passer_offset + shot.passer_drift * time * 8) * place.scale * 0.75
    y = place.y - 0.03 * near * place.scale
    scale = place.scale * (0.93 if near > 0 else 1.06)
    phase = shot.phase + 2.0 + 2 * np.pi * shot.passer.look.identity.gait.frequency * time
    return shot.passer, Placement(x, y, scale, shot.yaw + 0.2, place.pitch), phase


def _paint(
    canvas: Canvas, slot: int, actor: Actor, place: Placement, phase: float
) -> Painted | None:
    canvas.begin(slot)
    joints = draw_figure(canvas, actor.look, compute_pose(actor.look.identity, phase), place)
    outfit = actor.look.outfit.index
    return measure(canvas, slot=slot, person=actor.person, outfit=outfit, joints=joints)


def _draw_blocker(canvas: Canvas, shot: Shot) -> None:
    if shot.blocker is None:
        return
    edge, upper = shot.blocker
    height, width = canvas.parts.shape
    columns = slice(0, int(width * edge)) if edge > 0 else slice(int(width * (1 + edge)), width)
    rows = slice(int(height * upper), height)
    grey = 70 + int(90 * abs(edge) * 2)
    canvas.colour[rows, columns] = (grey, grey, grey - 6)
    canvas.parts[rows, columns] = 0
