"""A person crop, as a detector would cut it: slightly off, at times behind somebody else."""

from dataclasses import dataclass

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature.camera import Camera, build_place, render_photo
from vills.miniature.canvas import (
    SUPERSAMPLE,
    Canvas,
    Image,
    Instance,
    Painted,
    build_instance,
    compute_truth,
    convert_to_painting,
    convert_to_picture,
)
from vills.miniature.figure import render_figure, render_shadow
from vills.miniature.people import Actor, sample_passer
from vills.miniature.sink import Sink
from vills.miniature.walk import Placement, compute_pose

_FIGURE = 0.90  # share of a crop's height that the figure fills
_PLACE_HEIGHTS, _PLACE_WIDTHS = 1.6, 4.0  # size of a camera's picture, in crop heights
_BLOCKER, _PASSER = 0.08, 0.14  # shares of crops behind an object, behind or before a person


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


def get_size(config: MiniatureConfig) -> tuple[int, int]:
    """Return the height and width of a crop of data sets whose crops have one size, px."""
    return config.image_height, config.image_height // 2


def sample_size(config: MiniatureConfig, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the height and width of a crop of data sets whose crops differ in size, px."""
    height = int(config.image_height * rng.uniform(0.8, 1.2))
    return height, int(height * rng.uniform(0.42, 0.54))


def sample_shot(
    camera: Camera, size: tuple[int, int], rng: np.random.Generator, *, spread: float = 11.0
) -> Shot:
    """Draw how a person is seen; `spread` is the deviation from the camera's way, degrees."""
    blocked, passed = rng.random(2)
    edge = float(rng.choice((-1.0, 1.0)) * rng.uniform(0.12, 0.45))
    passer = sample_passer(camera.seed, rng)
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


def save_still(
    sink: Sink,
    path: str,
    actor: Actor,
    *,
    camera: Camera,
    size: tuple[int, int],
    rng: np.random.Generator,
    jitter: float,
) -> None:
    """Render a single picture of `actor` as `path`: a shot of its own, one moment of the walk."""
    shot = sample_shot(camera, size, rng)
    time = float(rng.uniform(0, 4))
    save_crop(sink, path, actor, shot=shot, rng=rng, time=time, jitter=jitter)


def save_crop(
    sink: Sink,
    path: str,
    actor: Actor,
    *,
    shot: Shot,
    rng: np.random.Generator,
    time: float,
    jitter: float,
) -> None:
    """Render a crop of `actor` as `path`, below the data set's folder; see `render_crop`."""
    image, instances = render_crop(shot, actor, rng, time=time, jitter=jitter)
    sink.add_image(path, image, instances, rng, quality=shot.camera.quality)


def render_crop(
    shot: Shot, actor: Actor, rng: np.random.Generator, *, time: float, jitter: float
) -> tuple[Image, list[Instance]]:
    """Return the crop, uint8 [H, W, 3] RGB, and the truth of who is in it, the main person first.

    `rng` decides the detector's error (the crop is off by `jitter`, a share of its size), grain
    and exposure; `time` is in seconds since the start of the tracklet.
    """
    height, width = shot.size
    canvas = Canvas(_cut_background(shot, time))
    off = rng.normal(0.0, jitter, size=3)
    scale = height * SUPERSAMPLE * _FIGURE * float(np.exp(off[0]))
    x = (0.5 + off[1]) * width * SUPERSAMPLE
    y = (0.96 + 0.6 * off[2]) * height * SUPERSAMPLE
    place = Placement(x, y, scale, shot.yaw, shot.camera.pitch)
    behind = shot.passer_offset > 0
    passer = _paint_passer(canvas, shot, place, time) if behind else None
    render_shadow(canvas, place)
    main = render_actor(canvas, 1, actor, place, phase=shot.phase, time=time)
    passer = passer if behind else _paint_passer(canvas, shot, place, time)
    _draw_blocker(canvas, shot)
    small = convert_to_picture(canvas.colour)
    instances = [build_instance(canvas, figure) for figure in (main, passer) if figure is not None]
    return render_photo(shot.camera, small, rng), instances


def render_actor(
    canvas: Canvas, slot: int, actor: Actor, place: Placement, *, phase: float, time: float
) -> Painted | None:
    """Paint a person as number `slot`, `time` seconds after the walk was at `phase`."""
    canvas.begin(slot)
    identity = actor.identity
    pose = compute_pose(identity, phase + 2 * np.pi * identity.gait.frequency * time)
    return compute_truth(canvas, slot, actor, render_figure(canvas, actor, pose, place))


def _cut_background(shot: Shot, time: float) -> Image:
    height, width = shot.size
    rows, columns = int(height * _PLACE_HEIGHTS), int(height * _PLACE_WIDTHS)
    place = build_place(shot.camera, rows, columns, 0.42)
    # The crop follows the walker, so that what is behind moves.
    drift = 0.10 * time * float(np.sin(shot.yaw))
    left = int((columns - width) * float(np.clip(shot.left + drift, 0.0, 1.0)))
    top = int((rows - height) * shot.top)
    return convert_to_painting(place.cut(top, left, height, width))


def _paint_passer(canvas: Canvas, shot: Shot, place: Placement, time: float) -> Painted | None:
    """Paint who passes by: a little smaller behind the main person, a little larger in front."""
    if shot.passer is None:
        return None
    side, size = (1.0, 0.93) if shot.passer_offset > 0 else (-1.0, 1.06)
    x = place.x + (shot.passer_offset + shot.passer_drift * time * 8) * place.scale * 0.75
    y = place.y - 0.03 * side * place.scale
    there = Placement(x, y, place.scale * size, shot.yaw + 0.2, place.pitch)
    return render_actor(canvas, 2, shot.passer, there, phase=shot.phase + 2.0, time=time)


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
