"""PRCC: people in cameras A and B in one outfit and in camera C in another.

`rgb/{train,val}/<pid>/<camera>_cropped_rgb<number>.jpg`, val holding more pictures of the people
of train, and `rgb/test/<camera>/<pid>/cropped_rgb<number>.jpg`.
"""

from collections.abc import Mapping
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import add_still, draw_size
from vills.miniature.people import PRCC_OFFSET, build_actor, draw_pids
from vills.miniature.person import Group
from vills.miniature.sink import Sink

UNIT = 10  # people
_OUTFITS = {"A": 0, "B": 0, "C": 1}
_PIDS = range(1, 334)
_FIRST_CAMERA = 12_000
_FIRST_TEST = 1_000  # index of the first test person: more training people leave them alone
_JITTER = 0.03
_WEARERS = 5  # training people per outfit of their wardrobe


def list_items(config: MiniatureConfig) -> list[tuple[int, int]]:
    """Return index and pid of the people of the training split, then of the test split."""
    counts = (config.num_prcc_ids, max(2, config.num_prcc_ids // 2))
    train, test = draw_pids(config.seed, Group.PRCC, _PIDS, *counts)
    return [*enumerate(train), *enumerate(test, start=_FIRST_TEST)]


def render_item(config: MiniatureConfig, item: tuple[int, int], sink: Sink) -> None:
    """Render all pictures of a person."""
    index, pid = item
    test = index >= _FIRST_TEST
    wardrobe = None if test else max(3, config.num_prcc_ids // _WEARERS)
    for camera, (letter, outfit) in enumerate(_OUTFITS.items()):
        person = PRCC_OFFSET + pid
        actor = build_actor(
            config.seed, Group.PRCC, index, outfit, person=person, wardrobe=wardrobe
        )
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
            seen_by = build_camera(config.seed, _FIRST_CAMERA + camera)
            size = draw_size(config, rng)
            add_still(sink, path, actor, camera=seen_by, size=size, rng=rng, jitter=_JITTER)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return no files: PRCC says everything in its names."""
    return {}
