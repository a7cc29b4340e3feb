"""LUPerson: unlabelled person crops, `<country>/<city>/<frame>_<object>.jpg`."""

from pathlib import Path

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature.camera import build_camera
from vills.miniature.crop import plan_shot, render_crop
from vills.miniature.people import build_passers, build_pretrain_actor
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.sink import Sink

NAME = "luperson"
_UNIT = 50  # images
_FIRST_CAMERA, _NUM_CAMERAS = 100, 12
_CITIES = ("northland/harbour", "northland/mill", "southland/market", "southland/station")
_TINY = 0.02  # share of crops that are too small to use, as real sets have them


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return -(-config.num_luperson_images // _UNIT)


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render the images of one unit."""
    last = min(config.num_luperson_images, (unit + 1) * _UNIT)
    for number in range(unit * _UNIT, last):
        _render_image(config, number, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write what describes the whole data set: LUPerson has no such files."""


def _render_image(config: MiniatureConfig, number: int, sink: Sink) -> None:
    rng = sample_rng(config.seed, Stream.VIEW, 0, number)
    person = number % config.num_pretrain_ids
    actor = build_pretrain_actor(config, person, int(rng.integers(config.num_outfits)))
    camera = build_camera(config.seed, _FIRST_CAMERA + int(rng.integers(_NUM_CAMERAS)))
    height = int(config.image_height * (rng.uniform(0.7, 1.3) if rng.random() > _TINY else 0.3))
    width = int(height * rng.uniform(0.40, 0.54))
    shot = plan_shot(camera, (height, width), rng, build_passers(config.seed), spread=20.0)
    time = float(rng.uniform(0, 4))
    image, instances = render_crop(shot, actor, rng, seed=config.seed, time=time, jitter=0.035)
    city = _CITIES[camera.index % len(_CITIES)]
    path = f"{city}/{number * 7:08d}_{int(np.floor(4 * rng.random())):04d}.jpg"
    sink.add_image(path, image, instances, rng, quality=camera.quality)
