"""A single picture of one person: a shot of its own, one moment of the walk."""

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature.camera import build_camera
from vills.miniature.crop import Actor, plan_shot, render_crop
from vills.miniature.people import build_passers
from vills.miniature.sink import Sink


def add_still(
    config: MiniatureConfig,
    sink: Sink,
    path: str,
    actor: Actor,
    *,
    camera: int,
    rng: np.random.Generator,
    jitter: float,
    size: tuple[int, int] | None = None,
) -> None:
    """Render a crop of `actor` as `path`.

    Args:
        config: says how high pictures are.
        sink: takes the picture and its rows.
        path: below the data set's folder.
        actor: who is shown.
        camera: number of the camera in the world.
        rng: decides everything else.
        jitter: how far the crop is off, as a share of its size.
        size: height and width, px; image_height and half of it when None.
    """
    seen_by = build_camera(config.seed, camera)
    shape = size or (config.image_height, config.image_height // 2)
    shot = plan_shot(seen_by, shape, rng, build_passers(config.seed))
    time = float(rng.uniform(0, 4))
    image, instances = render_crop(shot, actor, rng, seed=config.seed, time=time, jitter=jitter)
    sink.add_image(path, image, instances, rng, quality=seen_by.quality)


def draw_size(config: MiniatureConfig, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the height and width of a crop of data sets whose crops differ in size, px."""
    height = int(config.image_height * rng.uniform(0.8, 1.2))
    return height, int(height * rng.uniform(0.42, 0.54))
