"""PRCC: people in cameras A and B in one outfit and in camera C in another.

`rgb/{train,val}/<pid>/<camera>_cropped_rgb<number>.jpg`, val holding more pictures of the people
of train, and `rgb/test/<camera>/<pid>/cropped_rgb<number>.jpg`.
"""

from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature.identity import Group
from vills.miniature.people import PRCC_OFFSET, build_actor, draw_pids
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
_VAL_EVERY = 4  # of a training person's pictures in a camera, one in so many goes to val


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return 2 * -(-config.num_prcc_ids // _UNIT)


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render some people of the training split, or later of the test split."""
    count = config.num_prcc_ids
    splits = draw_pids(config.seed, Group.PRCC, _PIDS, count, count)
    test, part = divmod(unit, -(-count // _UNIT))
    for index in range(part * _UNIT, min(count, (part + 1) * _UNIT)):
        _render_person(config, splits[test][index], index + _FIRST_TEST * test, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write what describes the whole data set: PRCC says everything in its names."""


def _render_person(config: MiniatureConfig, pid: int, index: int, sink: Sink) -> None:
    test = index >= _FIRST_TEST
    count = config.images_per_camera + 1 if test else 2 * config.images_per_camera
    for camera, (letter, outfit) in enumerate(OUTFITS.items()):
        person = PRCC_OFFSET + pid
        actor = build_actor(config.seed, Group.PRCC, index, outfit, person=person)
        # Numbers rise with gaps, as of frames that were picked from a video.
        number = 0
        for picture in range(count):
            rng = sample_rng(config.seed, Stream.VIEW, 3, index, camera, picture)
            number += int(rng.integers(1, 9))
            if test:
                path = f"rgb/test/{letter}/{pid:03d}/cropped_rgb{number:03d}.jpg"
            else:
                split = "val" if picture % _VAL_EVERY == _VAL_EVERY - 1 else "train"
                path = f"rgb/{split}/{pid:03d}/{letter}_cropped_rgb{number:03d}.jpg"
            size = draw_size(config, rng)
            where = _FIRST_CAMERA + camera
            add_still(config, sink, path, actor, camera=where, rng=rng, jitter=_JITTER, size=size)
