"""What readers have to get over, and what no split may share."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import scipy.io

from vills.config.miniature import MiniatureConfig
from vills.miniature.people import DISTRACTOR_OFFSET, PRETRAIN_OFFSET, PRID_OFFSET
from vills.miniature.world import LAYOUTS, save_strays

TRAINING = {
    "luperson": "",
    "kinetics": "",
    "market1501": "bounding_box_train/",
    "prcc": ("rgb/train/", "rgb/val/"),
    "ltcc": "train/",
    "mars": "bbox_train/",
    "prid2011": (),
    "sigset": "BTS1/train/",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MiniatureConfig().datasets)
def test_every_data_set_has_stray_files(world: Path, name: str) -> None:
    root = world / name
    assert (root / "readme.txt").is_file()
    assert (root / ".DS_Store").is_file()
    assert list(root.rglob("Thumbs.db"))
    forks = [file for file in (root / "__MACOSX").rglob("*") if file.is_file()]
    assert forks
    for fork in forks:
        assert fork.name.startswith("._")
        real = fork.relative_to(root / "__MACOSX").with_name(fork.name.removeprefix("._"))
        assert (root / real).is_file()


def test_strays_are_the_same_when_written_again(tmp_path: Path) -> None:
    (tmp_path / "train" / "001").mkdir(parents=True)
    (tmp_path / "train" / "001" / "a.jpg").write_bytes(b"a picture")
    save_strays(tmp_path)
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    save_strays(tmp_path)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == before
    assert "__MACOSX/train/001/._a.jpg" in before
    assert {"train/.DS_Store", "train/001/Thumbs.db"} <= set(before)


def test_mars_has_a_tracklet_of_two_frames_in_either_split(world: Path) -> None:
    queries = scipy.io.loadmat(world / "mars" / "info" / "query_IDX.mat")["query_IDX"][0]
    for part in ("train", "test"):
        info = scipy.io.loadmat(world / "mars" / "info" / f"tracks_{part}_info.mat")
        rows = info[f"track_{part}_info"]
        lengths = rows[:, 1] - rows[:, 0] + 1
        assert lengths.min() == 2
        if part == "test":
            assert (rows[:, 2] == -1).any()
            assert (rows[:, 2] == 0).any()
            assert len(queries) < len(rows)


def list_people(world: Path, name: str) -> tuple[set[int], set[int]]:
    """Truth numbers of those that training sees, and of the others; passers-by left out."""
    table = pq.read_table(world / "truth" / f"{name}.parquet", columns=["path", "person"])
    seen: tuple[set[int], set[int]] = (set(), set())
    for row in table.to_pylist():
        passer = DISTRACTOR_OFFSET + 10_000 <= row["person"] < DISTRACTOR_OFFSET + 20_000
        if not passer:
            seen[not row["path"].startswith(TRAINING[name])].add(row["person"])
    return seen


def test_every_data_set_is_looked_at() -> None:
    assert set(TRAINING) == set(LAYOUTS)


def test_nobody_is_trained_on_in_one_data_set_and_asked_for_in_another(world: Path) -> None:
    people = {name: list_people(world, name) for name in TRAINING}
    train = set().union(*(seen for seen, _ in people.values()))
    test = set().union(*(asked for _, asked in people.values()))
    assert not train & test
    # The ten splits of PRID2011 train on everybody in turn: they are nowhere else.
    elsewhere = set().union(*({*a, *b} for name, (a, b) in people.items() if name != "prid2011"))
    assert not elsewhere & people["prid2011"][1]
    assert min(people["prid2011"][1]) > PRID_OFFSET
    pretrain = people["luperson"][0] | people["kinetics"][0]
    assert min(pretrain) >= PRETRAIN_OFFSET
    later = [name for name in TRAINING if name not in ("luperson", "kinetics")]
    assert not pretrain & set().union(*({*people[n][0], *people[n][1]} for n in later))


def test_market_and_mars_train_on_the_same_people(world: Path) -> None:
    assert list_people(world, "market1501")[0] == list_people(world, "mars")[0]
