"""Our own readers find in the world what was put there, strays and all."""

from collections import Counter
from pathlib import Path

import pytest

from vills.config.miniature import MiniatureConfig
from vills.data.layouts import Layout, RawImage, RawTracklet, RawVideo, read_layout
from vills.data.layouts.listing import ZERO_PERSON
from vills.miniature.world import LAYOUTS

pytestmark = pytest.mark.slow

LABELLED = tuple(name for name in LAYOUTS if name not in ("luperson", "kinetics"))


def list_rows(layout: Layout) -> list[RawImage | RawTracklet | RawVideo]:
    return [*layout.images, *layout.tracklets, *layout.videos]


def list_files(layout: Layout) -> list[str]:
    files = [row.path for row in layout.images] + [row.path for row in layout.videos]
    return files + [path for tracklet in layout.tracklets for path in tracklet.paths]


@pytest.mark.parametrize("name", MiniatureConfig().datasets)
def test_readers_take_pictures_only_and_each_once(world: Path, name: str) -> None:
    files = list_files(read_layout(name, world / name))
    assert files
    assert len(set(files)) == len(files)
    for file in files:
        assert not set(Path(file).parts) & {"__MACOSX", "face", "val"}
        head = (world / name / file).read_bytes()[:12]
        assert head.startswith((b"\xff\xd8\xff", b"\x89PNG")) or head[4:8] == b"ftyp"


@pytest.mark.parametrize("name", LABELLED)
def test_people_of_training_are_not_in_testing(world: Path, name: str) -> None:
    people: dict[str, set[int]] = {}
    for row in list_rows(read_layout(name, world / name)):
        people.setdefault(row.split, set()).add(row.pid)
    assert set(people) == {"train", "query", "gallery"}
    assert not people["train"] & (people["query"] | people["gallery"])


def test_prcc_reads_outfits_and_cameras(world: Path, small: MiniatureConfig) -> None:
    rows = list(read_layout("prcc", world / "prcc").images)
    worn: dict[int, dict[int, set[int]]] = {}
    for row in rows:
        worn.setdefault(row.pid, {}).setdefault(row.camid, set()).add(row.clothes_id)
    for cameras in worn.values():
        assert cameras[0] == cameras[1] != cameras[2]
    test = small.num_prcc_ids // 2 * (small.images_per_camera + 1)
    train = small.num_prcc_ids * 3 * small.images_per_camera
    counts = Counter(row.split for row in rows)
    assert counts == {"train": train, "gallery": test, "query": 2 * test}


def test_ltcc_reads_person_zero_and_cameras_of_two_digits(world: Path) -> None:
    rows = list(read_layout("ltcc", world / "ltcc").images)
    assert {row.split for row in rows if row.path.split("/")[1].startswith("000_")} == {"train"}
    # 0 means a distractor from here on: this is a person.
    assert {row.split for row in rows if row.pid == ZERO_PERSON} == {"train"}
    assert 0 not in {row.pid for row in rows}
    assert {row.camid for row in rows} == {0, 10}


def test_prid2011_reads_the_people_of_the_splits_alone(world: Path, small: MiniatureConfig) -> None:
    layout = read_layout("prid2011", world / "prid2011")
    assert len(layout.splits) == 10
    first = layout.splits[0]
    rows = list(layout.tracklets)
    assert {row.pid for row in rows} == {*first.train, *first.test}
    assert len(first.train) == len(first.test) == small.num_prid_ids
    assert min(len(row.paths) for row in rows) >= 4


def test_sigset_reads_every_signature(world: Path, small: MiniatureConfig) -> None:
    layout = read_layout("sigset", world / "sigset")
    groups = Counter(entry.group for entry in layout.templates)
    probed, strangers = small.num_sigset_ids, small.num_distractors // 2
    assert groups == {
        "probe": 3 * probed,
        "gallery_1": probed - 1 + strangers,
        "gallery_2": probed - 2 + strangers,
    }
    assert {row.clothes_id % 10 for row in list_rows(layout)} == {1, 2}
