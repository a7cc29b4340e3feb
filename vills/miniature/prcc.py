"""PRCC: people in cameras A and B in one outfit and in camera C in another.

`rgb/{train,val}/<pid>/<camera>_cropped_rgb<number>.jpg`, val holding more pictures of the people
of train, and `rgb/test/<camera>/<pid>/cropped_rgb<number>.jpg`.
"""

from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature.identity import Group
from vills.miniature.people import PRCC_OFFSET, build_actor, draw_pids, dress
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.sink import Sink
from vills.miniature.still import add_still, draw_size

NAME = "prcc"
OUTFITS = {"A": 0, "B": 0, "C": 1}
_PIDS = range(1, 334)
_UNIT = 10  # people
_FIRST_CAMERA = 12_000
_FIRST_TEST = 1_000  # index of the first test person: more training people leave them alone
_JITTER = 0.03
_WEARERS = 5  # training people per outfit of their wardrobe


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return sum(-(-count // _UNIT) for count in _count_people(config))


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render some people of the training split, or later of the test split."""
    counts = _count_people(config)
    train, test = draw_pids(config.seed, Group.PRCC, _PIDS, *counts)
    part = unit - -(-counts[0] // _UNIT)
    pids, first = (train, 0) if part < 0 else (test, _FIRST_TEST)
    start = (unit if part < 0 else part) * _UNIT
    for number, pid in enumerate(pids[start : start + _UNIT], start=start):
        _render_person(config, pid, first + number, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write what describes the whole data set: PRCC says everything in its names."""


def _count_people(config: MiniatureConfig) -> tuple[int, int]:
    """Return how many people the training and the test split have."""
    return config.num_prcc_ids, max(2, config.num_prcc_ids // 2)


def _render_person(config: MiniatureConfig, pid: int, index: int, sink: Sink) -> None:
    test = index >= _FIRST_TEST
    for camera, (letter, outfit) in enumerate(OUTFITS.items()):
        person = PRCC_OFFSET + pid
        if test:
            actor = build_actor(config.seed, Group.PRCC, index, outfit, person=person)
        else:
            shared = max(3, config.num_prcc_ids // _WEARERS)
            actor = dress(config.seed, Group.PRCC, index, outfit, person=person, size=shared)
        # Numbers rise with gaps, as of frames that were picked from a video.
        number = 0
        for picture in range(config.images_per_camera + 1):
            rng = sample_rng(config.seed, Stream.VIEW, 3, index, camera, picture)
            number += int(rng.integers(1, 9))
            if test:
                path = f"rgb/test/{letter}/{pid:03d}/cropped_rgb{number:03d}.jpg"
            else:
                split = "train" if picture < config.images_per_camera else "val"
                path = f"rgb/{split}/{pid:03d}/{letter}_cropped_rgb{number:03d}.jpg"
            size = draw_size(config, rng)
            where = _FIRST_CAMERA + camera
            add_still(config, sink, path, actor, camera=where, rng=rng, jitter=_JITTER, size=size)
