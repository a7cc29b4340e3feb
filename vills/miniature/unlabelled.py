"""LUPerson and Kinetics: pictures and scenes of people that nobody has named.

LUPerson: crops, `<country>/<city>/<frame>_<object>.jpg`. Kinetics: short mp4 scenes with several
people in each, `train/<video id>_<start>_<end>.mp4`.
"""

import functools
import string

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import render_crop, sample_shot
from vills.miniature.people import PRETRAIN_OFFSET, Actor, build_actor
from vills.miniature.person import Group
from vills.miniature.predictions import sample_clutter
from vills.miniature.scene import FRAMES_PER_SECOND, HEIGHT, WIDTH, sample_walkers, save_video
from vills.miniature.sink import Sink

_FIRST_CROP_CAMERA, _NUM_CROP_CAMERAS, _FIRST_SCENE_CAMERA = 100, 12, 300
_CITIES = ("northland/harbour", "northland/mill", "southland/market", "southland/station")
_TINY = 0.02  # share of crops that are too small to use, as real sets have them
_ALPHABET = string.ascii_letters + string.digits + "-_"


def render_crop_file(config: MiniatureConfig, number: int, sink: Sink) -> None:
    """Render image `number` of LUPerson."""
    rng = sample_rng(config.seed, Stream.VIEW, 0, number)
    actor = _dress(config, number % config.num_pretrain_ids, rng)
    camera = build_camera(config.seed, _FIRST_CROP_CAMERA + int(rng.integers(_NUM_CROP_CAMERAS)))
    height = int(config.image_height * (rng.uniform(0.7, 1.3) if rng.random() > _TINY else 0.3))
    width = int(height * rng.uniform(0.40, 0.54))
    shot = sample_shot(camera, (height, width), rng, spread=20.0)
    time = float(rng.uniform(0, 4))
    image, instances = render_crop(shot, actor, rng, time=time, jitter=0.035)
    city = _CITIES[camera.index % len(_CITIES)]
    path = f"{city}/{number * 7:08d}_{int(np.floor(4 * rng.random())):04d}.jpg"
    sink.add_image(path, image, instances, rng, quality=camera.quality)


def render_scene(config: MiniatureConfig, number: int, sink: Sink) -> None:
    """Render scene `number` of Kinetics."""
    rng = sample_rng(config.seed, Stream.SCENE, number)
    name = "".join(_ALPHABET[i] for i in rng.integers(len(_ALPHABET), size=11))
    start = int(rng.integers(0, 300))
    stop = start + -(-config.scene_frames // FRAMES_PER_SECOND)
    most = min(config.people_per_scene, config.num_pretrain_ids)
    casts = sample_scenes(config.seed, config.num_scenes, config.num_pretrain_ids, most)
    actors = [_dress(config, person, rng) for person in casts[number]]
    save_video(
        sink,
        f"train/{name}_{start:06d}_{stop:06d}.mp4",
        camera=build_camera(config.seed, _FIRST_SCENE_CAMERA + number % config.num_scene_cameras),
        walkers=sample_walkers(actors, rng),
        clutter=sample_clutter(rng, height=HEIGHT, width=WIDTH, count=int(rng.integers(1, 4))),
        num_frames=config.scene_frames,
        key=(config.seed, Stream.SCENE, number),
    )


@functools.lru_cache(maxsize=8)
def sample_scenes(
    seed: int, num_scenes: int, num_people: int, most: int
) -> tuple[tuple[int, ...], ...]:
    """Deal two to `most` people to each scene; all have their turn before anyone comes back.

    They are shuffled for each round: nobody keeps to the same camera, or to the same company.
    """
    rng = sample_rng(seed, Stream.CAST, Group.PRETRAIN, 1)
    casts, deck = [], list[int]()
    for _ in range(num_scenes):
        cast: list[int] = []
        count = int(rng.integers(2, most + 1))
        while len(cast) < count:
            deck = deck or rng.permutation(num_people).tolist()
            # Where two rounds meet, whoever is in the scene already waits for the next one.
            cast.append(next(person for person in deck if person not in cast))
            deck.remove(cast[-1])
        casts.append(tuple(cast))
    return tuple(casts)


def _dress(config: MiniatureConfig, index: int, rng: np.random.Generator) -> Actor:
    """Return a person of pre-training, who may wear any of several outfits."""
    outfit = int(rng.integers(config.num_outfits))
    return build_actor(config.seed, Group.PRETRAIN, index, outfit, person=PRETRAIN_OFFSET + index)
