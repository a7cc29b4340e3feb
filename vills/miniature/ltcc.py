"""LTCC: people who change clothes, and some who never do, in cameras of one and two digits.

`{train,query,test}/<pid>_<outfit>_c<camera>_<number>.png`, test being the gallery, and
`info/cloth-{change,unchange}_id_{train,test}.txt`. As published, person 0 is one like any other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature.files import write_bytes
from vills.miniature.identity import Group
from vills.miniature.people import LTCC_OFFSET, build_actor, draw_pids, dress
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.sink import Sink
from vills.miniature.still import add_still, draw_size

NAME = "ltcc"
_PIDS = range(1, 152)
_UNIT = 5  # people
# Each sees people come towards it: who somebody is shows in other clothes, too.
_CAMERAS = (12_060, 12_061, 12_062, 12_066, 12_067, 12_068)
_LABELS = (
    1,
    11,
    4,
    7,
    12,
    9,
)  # of the official 1 to 12: the first two already hold one of two digits
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


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return 2 * -(-config.num_ltcc_ids // _UNIT)


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render some people of the training split, or later of the test split."""
    test, part = divmod(unit, -(-config.num_ltcc_ids // _UNIT))
    for person in list(_plan_people(config, test=bool(test)))[part * _UNIT : (part + 1) * _UNIT]:
        _render_person(config, person, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write the lists of who changes clothes and who does not."""
    for split in ("train", "test"):
        people = list(_plan_people(config, test=split == "test"))
        for kind, changes in (("change", True), ("unchange", False)):
            pids = [person.pid for person in people if (len(person.outfits) > 1) is changes]
            text = "".join(f"{pid}\n" for pid in pids)
            write_bytes(root / "info" / f"cloth-{kind}_id_{split}.txt", text.encode())


def _plan_people(config: MiniatureConfig, *, test: bool) -> Iterator[_Person]:
    count = config.num_ltcc_ids
    train, held_out = draw_pids(config.seed, Group.LTCC, _PIDS, count - 1, count)
    for number, pid in enumerate(held_out if test else [0, *train]):
        index = number + _FIRST_TEST * test
        yield _Person(pid, index, _plan_outfits(config, index))


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


def _render_person(config: MiniatureConfig, person: _Person, sink: Sink) -> None:
    test = person.index >= _FIRST_TEST
    count = config.images_per_camera + int(test)
    shown = 0
    for outfit, cameras in enumerate(person.outfits):
        number = LTCC_OFFSET + person.pid
        if test:
            actor = build_actor(config.seed, Group.LTCC, person.index, outfit, person=number)
        else:
            shared = max(3, config.num_outfits + 1, config.num_ltcc_ids // _WEARERS)
            actor = dress(config.seed, Group.LTCC, person.index, outfit, person=number, size=shared)
        for camera in cameras:
            for picture in range(count):
                rng = sample_rng(config.seed, Stream.VIEW, 4, person.index, outfit, camera, picture)
                # A test person's first picture in an outfit and a camera asks.
                folder = "train" if not test else "test" if picture else "query"
                frame = person.index * 200 + shown
                shown += 1
                label = f"{person.pid:03d}_{outfit + 1}_c{_LABELS[camera]}_{frame:06d}"
                path = f"{folder}/{label}.png"
                size = draw_size(config, rng)
                where = _CAMERAS[camera]
                add_still(
                    config, sink, path, actor, camera=where, rng=rng, jitter=_JITTER, size=size
                )
