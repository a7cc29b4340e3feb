"""Kinetics: short mp4 scenes, `train/<video id>_<start>_<end>.mp4`, several people in each."""

import functools
import string
from collections.abc import Mapping
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.people import build_pretrain_actor
from vills.miniature.person import Group
from vills.miniature.predictions import plan_clutter
from vills.miniature.scene import FRAMES_PER_SECOND, HEIGHT, WIDTH, add_video, plan_walkers
from vills.miniature.sink import Sink

UNIT = 1  # scene
_FIRST_CAMERA = 300
_ALPHABET = string.ascii_letters + string.digits + "-_"


def list_items(config: MiniatureConfig) -> range:
    """Return the numbers of the scenes."""
    return range(config.num_scenes)


def render_item(config: MiniatureConfig, number: int, sink: Sink) -> None:
    """Render one scene."""
    rng = sample_rng(config.seed, Stream.SCENE, number)
    name = "".join(_ALPHABET[i] for i in rng.integers(len(_ALPHABET), size=11))
    start = int(rng.integers(0, 300))
    stop = start + -(-config.scene_frames // FRAMES_PER_SECOND)
    most = min(config.people_per_scene, config.num_pretrain_ids)
    casts = deal_people(config.seed, config.num_scenes, config.num_pretrain_ids, most)
    actors = [
        build_pretrain_actor(config, person, int(rng.integers(config.num_outfits)))
        for person in casts[number]
    ]
    add_video(
        sink,
        f"train/{name}_{start:06d}_{stop:06d}.mp4",
        camera=build_camera(config.seed, _FIRST_CAMERA + number % config.num_scene_cameras),
        walkers=plan_walkers(actors, rng),
        clutter=plan_clutter(rng, height=HEIGHT, width=WIDTH, count=int(rng.integers(1, 4))),
        num_frames=config.scene_frames,
        key=(config.seed, Stream.SCENE, number),
    )


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return no files: the clips speak for themselves."""
    return {}


@functools.lru_cache(maxsize=8)
def deal_people(
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
