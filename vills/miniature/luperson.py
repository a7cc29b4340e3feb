"""LUPerson: unlabelled person crops, `<country>/<city>/<frame>_<object>.jpg`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import plan_shot, render_crop
from vills.miniature.people import build_pretrain_actor
from vills.miniature.sink import Sink

UNIT = 50  # images
_FIRST_CAMERA, _NUM_CAMERAS = 100, 12
_CITIES = ("northland/harbour", "northland/mill", "southland/market", "southland/station")
_TINY = 0.02  # share of crops that are too small to use, as real sets have them


def list_items(config: MiniatureConfig) -> range:
    """Return the numbers of the images."""
    return range(config.num_luperson_images)


def render_item(config: MiniatureConfig, number: int, sink: Sink) -> None:
    """Render one image."""
    rng = sample_rng(config.seed, Stream.VIEW, 0, number)
    person = number % config.num_pretrain_ids
    actor = build_pretrain_actor(config, person, int(rng.integers(config.num_outfits)))
    camera = build_camera(config.seed, _FIRST_CAMERA + int(rng.integers(_NUM_CAMERAS)))
    height = int(config.image_height * (rng.uniform(0.7, 1.3) if rng.random() > _TINY else 0.3))
    width = int(height * rng.uniform(0.40, 0.54))
    shot = plan_shot(camera, (height, width), rng, spread=20.0)
    time = float(rng.uniform(0, 4))
    image, instances = render_crop(shot, actor, rng, time=time, jitter=0.035)
    city = _CITIES[camera.index % len(_CITIES)]
    path = f"{city}/{number * 7:08d}_{int(np.floor(4 * rng.random())):04d}.jpg"
    sink.add_image(path, image, instances, rng, quality=camera.quality)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return no files: LUPerson has none but its images."""
    return {}
