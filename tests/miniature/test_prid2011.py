"""PRID2011 as published, read by means other than our own reader."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vills.config.miniature import MiniatureConfig
from vills.miniature.people import PRID_OFFSET

CAMERAS = ("cam_a", "cam_b")


def list_tracks(world: Path) -> dict[str, dict[str, int]]:
    """Number of frames by camera and person."""
    root = world / "prid2011" / "prid_2011" / "multi_shot"
    tracks: dict[str, dict[str, int]] = {}
    for camera in CAMERAS:
        for person in sorted((root / camera).glob("[!.]*")):
            assert re.fullmatch(r"person_\d{4}", person.name)
            frames = sorted(f.name for f in person.glob("[!.T]*"))
            assert frames == [f"{n:04d}.png" for n in range(1, len(frames) + 1)]
            tracks.setdefault(camera, {})[person.name] = len(frames)
    return tracks


def load_splits(world: Path) -> list[dict[str, list[str]]]:
    return json.loads((world / "prid2011" / "splits_prid2011.json").read_text())


def test_ten_splits_halve_the_same_people(world: Path, small: MiniatureConfig) -> None:
    splits = load_splits(world)
    assert len(splits) == 10
    for split in splits:
        assert set(split) == {"train", "test"}
        assert len(split["train"]) == len(split["test"]) == small.num_prid_ids
        assert not set(split["train"]) & set(split["test"])
        assert {*split["train"], *split["test"]} == {*splits[0]["train"], *splits[0]["test"]}
    assert len({tuple(split["test"]) for split in splits}) > 1


def test_people_of_the_splits_are_in_both_cameras_and_long(world: Path) -> None:
    tracks, people = list_tracks(world), load_splits(world)[0]
    for name in (*people["train"], *people["test"]):
        assert all(tracks[camera][name] >= 4 for camera in CAMERAS)


def test_others_are_too_short_or_in_one_camera(world: Path) -> None:
    tracks, people = list_tracks(world), load_splits(world)[0]
    used = {*people["train"], *people["test"]}
    others = {name for camera in CAMERAS for name in tracks[camera]} - used
    short = {n for n in others if min(tracks[c].get(n, 99) for c in CAMERAS) < 4}
    assert len(short) == 3
    assert min(min(found.values()) for found in tracks.values()) == 2
    assert len(others - short) == 5
    assert len(set(tracks["cam_b"]) - set(tracks["cam_a"])) == 2


def test_a_number_beyond_the_shared_people_is_two_people(world: Path) -> None:
    people: dict[Any, Any] = {}
    for row in pq.read_table(world / "truth" / "prid2011.parquet").to_pylist():
        if row["person"] >= PRID_OFFSET:
            camera, name = row["path"].split("/")[2:4]
            people.setdefault(name, {}).setdefault(camera, row["person"])
    both = [seen for seen in people.values() if len(seen) == 2]
    assert {len(set(seen.values())) for seen in both} == {1, 2}
    used = load_splits(world)[0]
    assert all(len(set(people[n].values())) == 1 for n in (*used["train"], *used["test"]))


def test_somebody_walks_past_in_front_during_most_tracklets(world: Path) -> None:
    least: dict[str, list[float]] = {}
    for row in pq.read_table(world / "truth" / "prid2011.parquet").to_pylist():
        if row["person"] >= PRID_OFFSET:
            least.setdefault(row["path"].rsplit("/", maxsplit=1)[0], []).append(row["visible"])
    hidden = [min(shares) < 0.75 for shares in least.values()]
    assert 0.2 < sum(hidden) / len(hidden) < 0.9
