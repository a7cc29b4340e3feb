"""PRCC and LTCC: people who change clothes, and some of LTCC who never do.

PRCC: one outfit in cameras A and B and another in camera C. Train and val, which holds more
pictures of the same people: `rgb/{train,val}/<pid>/<camera>_cropped_rgb<number>.jpg`; test:
`rgb/test/<camera>/<pid>/cropped_rgb<number>.jpg`.

LTCC: `{train,query,test}/<pid>_<outfit>_c<camera>_<number>.png`, test being the gallery, and
`info/cloth-{change,unchange}_id_{train,test}.txt`; cameras of one and two digits. As published,
person 0 is one like any other.
"""

from collections.abc import Mapping
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import sample_size, save_still
from vills.miniature.people import LTCC_OFFSET, PRCC_OFFSET, build_actor, sample_pids
from vills.miniature.person import Group
from vills.miniature.sink import Sink

_PRCC_PIDS, _LTCC_PIDS = range(1, 334), range(1, 152)
_FIRST_TEST = 1_000  # index of the first test person: more training people leave them alone
_WEARERS = 5  # training people per outfit of their wardrobe
_FAITHFUL = 4  # one person of LTCC in so many never changes clothes
_JITTER = 0.03  # how far boxes are off
_PRCC_OUTFITS = {"A": 0, "B": 0, "C": 1}
_FIRST_PRCC_CAMERA = 12_000
# Each sees people come towards it: who somebody is shows in other clothes, too.
_LTCC_CAMERAS = (12_060, 12_061, 12_062, 12_066, 12_067, 12_068)
# Of the official 1 to 12: the first two already hold one of two digits.
_LTCC_LABELS = (1, 11, 4, 7, 12, 9)


def list_prcc(config: MiniatureConfig) -> list[tuple[int, int]]:
    """Return index and pid of the people of the training split, then of the test split."""
    counts = (config.num_prcc_ids, max(2, config.num_prcc_ids // 2))
    train, test = sample_pids(sample_rng(config.seed, Stream.CAST, Group.PRCC), _PRCC_PIDS, *counts)
    return [*enumerate(train), *enumerate(test, start=_FIRST_TEST)]


def render_prcc(config: MiniatureConfig, item: tuple[int, int], sink: Sink) -> None:
    """Render all pictures of a person of PRCC."""
    index, pid = item
    test, person = index >= _FIRST_TEST, PRCC_OFFSET + pid
    wardrobe = None if test else max(3, config.num_prcc_ids // _WEARERS)
    for camera, (letter, outfit) in enumerate(_PRCC_OUTFITS.items()):
        actor = build_actor(
            config.seed, Group.PRCC, index, outfit, person=person, wardrobe=wardrobe
        )
        seen_by = build_camera(config.seed, _FIRST_PRCC_CAMERA + camera)
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
            size = sample_size(config, rng)
            save_still(sink, path, actor, camera=seen_by, size=size, rng=rng, jitter=_JITTER)


def list_ltcc(config: MiniatureConfig) -> list[tuple[int, int]]:
    """Return index and pid of the people of the training split, then of the test split."""
    count, rng = config.num_ltcc_ids, sample_rng(config.seed, Stream.CAST, Group.LTCC)
    train, test = sample_pids(rng, _LTCC_PIDS, count - 1, count)
    return [*enumerate([0, *train]), *enumerate(test, start=_FIRST_TEST)]


def render_ltcc(config: MiniatureConfig, item: tuple[int, int], sink: Sink) -> None:
    """Render all pictures of a person of LTCC."""
    index, pid = item
    test, person = index >= _FIRST_TEST, LTCC_OFFSET + pid
    wardrobe = None if test else max(3, config.num_outfits + 1, config.num_ltcc_ids // _WEARERS)
    shown = 0
    for outfit, cameras in enumerate(_plan_outfits(config, index)):
        actor = build_actor(
            config.seed, Group.LTCC, index, outfit, person=person, wardrobe=wardrobe
        )
        for camera in cameras:
            seen_by = build_camera(config.seed, _LTCC_CAMERAS[camera])
            for picture in range(config.images_per_camera + int(test)):
                rng = sample_rng(config.seed, Stream.VIEW, 4, index, outfit, camera, picture)
                # A test person's first picture in an outfit and a camera asks.
                folder = "train" if not test else "test" if picture else "query"
                frame = index * 200 + shown
                shown += 1
                label = f"{pid:03d}_{outfit + 1}_c{_LTCC_LABELS[camera]}_{frame:06d}"
                path, size = f"{folder}/{label}.png", sample_size(config, rng)
                save_still(sink, path, actor, camera=seen_by, size=size, rng=rng, jitter=_JITTER)


def describe_ltcc(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return the lists of who changes clothes and who does not."""
    people = [(i, pid, len(_plan_outfits(config, i)) > 1) for i, pid in list_ltcc(config)]
    return {
        f"info/cloth-{kind}_id_{split}.txt": "".join(
            f"{pid}\n"
            for index, pid, has_changed in people
            if (index >= _FIRST_TEST) is is_test and has_changed is changes
        ).encode()
        for split, is_test in (("train", False), ("test", True))
        for kind, changes in (("change", True), ("unchange", False))
    }


def _plan_outfits(config: MiniatureConfig, index: int) -> list[list[int]]:
    """Return for each outfit of a person the cameras that see it, as indices of _LTCC_LABELS."""
    rng = sample_rng(config.seed, Stream.CAST, Group.LTCC, index)
    count = 1
    if index % _FAITHFUL != _FAITHFUL - 1:
        count = 2 + int(rng.integers(max(1, config.num_outfits - 1)))
    outfits = []
    for outfit in range(count):
        order = rng.permutation(config.num_cameras).tolist()
        # What is worn third and later is seen once: nobody is asked for in the same clothes.
        seen = 1 if outfit > 1 else 2 + int(rng.integers(2))
        outfits.append(sorted(order[:seen]))
    return outfits
