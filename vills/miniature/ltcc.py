"""LTCC: people who change clothes, and some who never do, in cameras of one and two digits.

`{train,query,test}/<pid>_<outfit>_c<camera>_<number>.png`, test being the gallery, and
`info/cloth-{change,unchange}_id_{train,test}.txt`. As published, person 0 is one like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import add_still, draw_size
from vills.miniature.people import LTCC_OFFSET, build_actor, draw_pids
from vills.miniature.person import Group
from vills.miniature.sink import Sink

UNIT = 5  # people
_PIDS = range(1, 152)
# Each sees people come towards it: who somebody is shows in other clothes, too.
_CAMERAS = (12_060, 12_061, 12_062, 12_066, 12_067, 12_068)
# Of the official 1 to 12: the first two already hold one of two digits.
_LABELS = (1, 11, 4, 7, 12, 9)
_FIRST_TEST = 1_000  # index of the first test person: more training people leave them alone
_WEARERS = 5  # training people per outfit of their wardrobe
_FAITHFUL = 4  # one person in so many never changes clothes
_JITTER = 0.03


@dataclass(frozen=True, slots=True)
class _Person:
    pid: int
    index: int
    outfits: tuple[tuple[int, ...], ...]
    """For each outfit the cameras that see it, as indices into _LABELS."""

    @property
    def is_test(self) -> bool:
        return self.index >= _FIRST_TEST


def list_items(config: MiniatureConfig) -> list[_Person]:
    """Return the people of the training split, then those of the test split."""
    count = config.num_ltcc_ids
    train, test = draw_pids(config.seed, Group.LTCC, _PIDS, count - 1, count)
    numbered = [*enumerate([0, *train]), *enumerate(test, start=_FIRST_TEST)]
    return [_Person(pid, index, _plan_outfits(config, index)) for index, pid in numbered]


def render_item(config: MiniatureConfig, person: _Person, sink: Sink) -> None:
    """Render all pictures of a person."""
    wardrobe = max(3, config.num_outfits + 1, config.num_ltcc_ids // _WEARERS)
    shown = 0
    for outfit, cameras in enumerate(person.outfits):
        actor = build_actor(
            config.seed,
            Group.LTCC,
            person.index,
            outfit,
            person=LTCC_OFFSET + person.pid,
            wardrobe=None if person.is_test else wardrobe,
        )
        for camera in cameras:
            seen_by = build_camera(config.seed, _CAMERAS[camera])
            for picture in range(config.images_per_camera + int(person.is_test)):
                rng = sample_rng(config.seed, Stream.VIEW, 4, person.index, outfit, camera, picture)
                # A test person's first picture in an outfit and a camera asks.
                folder = "train" if not person.is_test else "test" if picture else "query"
                frame = person.index * 200 + shown
                shown += 1
                label = f"{person.pid:03d}_{outfit + 1}_c{_LABELS[camera]}_{frame:06d}"
                path, size = f"{folder}/{label}.png", draw_size(config, rng)
                add_still(sink, path, actor, camera=seen_by, size=size, rng=rng, jitter=_JITTER)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return the lists of who changes clothes and who does not."""
    files = {}
    for split in ("train", "test"):
        people = [p for p in list_items(config) if p.is_test is (split == "test")]
        for kind, changes in (("change", True), ("unchange", False)):
            pids = [person.pid for person in people if (len(person.outfits) > 1) is changes]
            text = "".join(f"{pid}\n" for pid in pids)
            files[f"info/cloth-{kind}_id_{split}.txt"] = text.encode()
    return files


def _plan_outfits(config: MiniatureConfig, index: int) -> tuple[tuple[int, ...], ...]:
    rng = sample_rng(config.seed, Stream.CAST, Group.LTCC, index)
    count = 1
    if index % _FAITHFUL != _FAITHFUL - 1:
        count = 2 + int(rng.integers(max(1, config.num_outfits - 1)))
    outfits = []
    for outfit in range(count):
        order = rng.permutation(config.num_cameras).tolist()
        # What is worn third and later is seen once: nobody is asked for in the same clothes.
        seen = 1 if outfit > 1 else 2 + int(rng.integers(2))
        outfits.append(tuple(sorted(order[:seen])))
    return tuple(outfits)
