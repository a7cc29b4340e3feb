"""PRCC and LTCC as published, read by means other than our own readers."""

import dataclasses
import re
from collections import defaultdict
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from vills.config.miniature import MiniatureConfig
from vills.miniature.people import LTCC_OFFSET, PRCC_OFFSET, build_actor
from vills.miniature.person import Group

PRCC_TRAIN = re.compile(r"^([ABC])_cropped_rgb\d{3}\.jpg$")
PRCC_TEST = re.compile(r"^cropped_rgb\d{3}\.jpg$")
LTCC = re.compile(r"^(\d{3})_(\d+)_c(\d+)_\d{6}\.png$")
Sighting = tuple[int, int, int]


def list_people(folder: Path) -> set[str]:
    people = {path.name for path in folder.iterdir() if path.is_dir()}
    assert all(re.fullmatch(r"\d{3}", name) for name in people)
    return people


def list_ltcc(world: Path, split: str) -> list[Sighting]:
    """Person, outfit and camera of each picture."""
    found = []
    for file in sorted((world / "ltcc" / split).glob("[!.T]*")):
        match = LTCC.match(file.name)
        assert match, file.name
        assert file.read_bytes()[:4] == b"\x89PNG"
        found.append((int(match[1]), int(match[2]), int(match[3])))
    return found


def test_prcc_names_follow_the_published_pattern(world: Path, small: MiniatureConfig) -> None:
    rgb = world / "prcc" / "rgb"
    train, val = list_people(rgb / "train"), list_people(rgb / "val")
    assert len(train) == small.num_prcc_ids
    assert val <= train
    for person in train:
        files = [f.name for f in (rgb / "train" / person).glob("[!.T]*")]
        cameras = [PRCC_TRAIN.match(name)[1] for name in files]
        assert set(cameras) == set("ABC")
        assert not {f.name for f in (rgb / "val" / person).iterdir()} & set(files)
    tests = [list_people(rgb / "test" / camera) for camera in "ABC"]
    assert tests[0] == tests[1] == tests[2]
    assert len(tests[0]) == small.num_prcc_ids // 2
    assert not tests[0] & train
    for camera in "ABC":
        for person in tests[0]:
            names = [f.name for f in (rgb / "test" / camera / person).glob("[!.T]*")]
            assert len(names) == small.images_per_camera + 1
            assert all(PRCC_TEST.match(name) for name in names)


def test_prcc_people_change_between_b_and_c_only(world: Path) -> None:
    worn = defaultdict(set)
    for row in pq.read_table(world / "truth" / "prcc.parquet").to_pylist():
        parts = row["path"].split("/")
        camera = parts[2] if parts[1] == "test" else parts[3][0]
        pid = int(parts[3] if parts[1] == "test" else parts[2])
        if row["person"] == PRCC_OFFSET + pid:
            worn[camera].add(row["outfit"])
    assert worn == {"A": {0}, "B": {0}, "C": {1}}


@pytest.mark.parametrize("group", [Group.PRCC, Group.LTCC])
def test_training_people_share_a_wardrobe_and_change_within_it(group: Group) -> None:
    worn = [
        [
            build_actor(0, group, index, outfit, person=index, wardrobe=4).outfit
            for outfit in range(3)
        ]
        for index in range(12)
    ]
    for outfits in worn:
        assert [outfit.index for outfit in outfits] == [0, 1, 2]
    clothes = [[dataclasses.replace(outfit, index=0) for outfit in outfits] for outfits in worn]
    assert all(len(set(outfits)) == 3 for outfits in clothes)
    assert len({outfit for outfits in clothes for outfit in outfits}) == 4


def test_ltcc_names_and_lists_agree(world: Path, small: MiniatureConfig) -> None:
    people = {}
    for split, folders in (("train", ["train"]), ("test", ["query", "test"])):
        outfits = defaultdict(set)
        for folder in folders:
            for pid, outfit, _ in list_ltcc(world, folder):
                outfits[pid].add(outfit)
        people[split] = set(outfits)
        for kind, changes in (("change", True), ("unchange", False)):
            text = (world / "ltcc" / "info" / f"cloth-{kind}_id_{split}.txt").read_text()
            listed = [int(line) for line in text.splitlines()]
            assert sorted(listed) == sorted(p for p in outfits if (len(outfits[p]) > 1) is changes)
            assert listed
    assert len(people["train"]) == len(people["test"]) == small.num_ltcc_ids
    assert not people["train"] & people["test"]
    # As in the release: a person trained on, not a distractor.
    assert 0 in people["train"]


def test_ltcc_truth_tells_the_outfits_of_the_names(world: Path) -> None:
    for row in pq.read_table(world / "truth" / "ltcc.parquet").to_pylist():
        pid, outfit, _ = row["path"].split("/")[1].split("_", maxsplit=2)
        if row["person"] == LTCC_OFFSET + int(pid):
            assert row["outfit"] == int(outfit) - 1


def test_ltcc_has_a_camera_of_two_digits_in_every_split(world: Path) -> None:
    for split in ("train", "query", "test"):
        cameras = {camera for _, _, camera in list_ltcc(world, split)}
        assert max(cameras) >= 10
        assert min(cameras) < 10
        assert cameras <= set(range(1, 13))


def test_ltcc_queries_with_and_without_an_answer(world: Path) -> None:
    query, gallery = list_ltcc(world, "query"), list_ltcc(world, "test")
    assert len(set(query)) == len(query)  # one per person, outfit and camera
    valid = {"standard": 0, "changing": 0, "same": 0}
    for pid, outfit, camera in query:
        others = {(o, c) for p, o, c in gallery if p == pid and c != camera}
        valid["standard"] += bool(others)
        valid["changing"] += any(o != outfit for o, _ in others)
        valid["same"] += any(o == outfit for o, _ in others)
    assert valid["standard"] == len(query)
    assert 0 < valid["changing"] < len(query)
    assert 0 < valid["same"] < len(query)


def test_crops_differ_in_size(world: Path) -> None:
    for folder in ("prcc/rgb/test/A", "ltcc/test"):
        files = [f for f in sorted((world / folder).rglob("[!.]*")) if f.suffix in (".png", ".jpg")]
        shapes = {cv2.imread(str(file)).shape for file in files}
        assert len(shapes) > 3
