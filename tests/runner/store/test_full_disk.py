"""A disk that is full, for real: a small tmpfs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import SmallDisk, open_disk
from tests.journals import rewind
from vills.io import save_bytes
from vills.refusals import DiskFullError
from vills.runner.store.journal import Journal, load_journal
from vills.runner.store.result import publish
from vills.runner.store.run import Run

SAYS = r"No space left for .*What to do: free space and give the same command again"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with open_disk("size=512k") as disk:
        yield disk


def open_on(disk: SmallDisk, data: Path) -> Run:
    return Run(
        disk.folder / "runs",
        stage="demo",
        read_params=lambda: {"a": 1},
        inputs={"data": data},
        module="vills.config.checks",
        progress=lambda text: None,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.txt"
    path.write_text("input")
    return path


def test_an_old_file_survives(disk: SmallDisk) -> None:
    path = disk.folder / "state.json"
    save_bytes(path, b"old")
    disk.fill()
    with pytest.raises(DiskFullError, match=SAYS):
        save_bytes(path, b"new" * 100_000)
    assert path.read_bytes() == b"old"
    assert sorted(entry.name for entry in disk.folder.iterdir()) == ["ballast", "state.json"]


def test_a_run_that_cannot_begin_begins_later(disk: SmallDisk, data: Path) -> None:
    disk.fill()
    with pytest.raises(DiskFullError, match=SAYS), open_on(disk, data):
        pass
    disk.free()
    with open_on(disk, data) as run:
        run.complete()
    assert run.is_complete()


def test_a_run_that_cannot_end_loses_nothing(disk: SmallDisk, data: Path) -> None:
    def work(run: Run) -> None:
        (run.work / "shard").write_text("done")
        (run.out / "model.bin").write_bytes(b"weights")
        run.journal.log(1, {"loss": 1.0})
        disk.fill()
        run.complete(metrics={f"score{i}": 0.5 for i in range(1000)})

    run = open_on(disk, data)
    with pytest.raises(DiskFullError, match=SAYS), run:
        work(run)
    assert not run.result_path.exists()
    disk.free()
    again = open_on(disk, data)
    with again:
        assert (again.work / "shard").read_text() == "done"
        assert (again.out / "model.bin").read_bytes() == b"weights"
        again.complete()
    assert again.is_complete()


def test_a_stage_that_fills_the_disk_is_told_so(disk: SmallDisk, data: Path) -> None:
    run = open_on(disk, data)
    with pytest.raises(DiskFullError, match=SAYS), run:
        (run.work / "shard").write_bytes(b"x" * 10_000_000)


def test_a_journal_goes_on_after_its_last_whole_line(disk: SmallDisk) -> None:
    path = disk.folder / "journal.jsonl"
    journal = Journal(path)
    for step in range(1, 3):
        journal.log(step, {"loss": 1.0})
    journal.mark_checkpoint(2)
    disk.fill()

    def log_until_full() -> None:
        for step in range(3, 10_000):
            journal.log(step, {"loss": 1.0})

    with pytest.raises(DiskFullError, match=SAYS):
        log_until_full()
    assert [record.step for record in load_journal(path).committed] == [1, 2]
    disk.free()
    resumed = Journal(path)
    rewind(resumed, 2)
    resumed.log(3, {"loss": 1.0})
    resumed.mark_checkpoint(3)
    assert [record.step for record in load_journal(path).committed] == [1, 2, 3]


def test_what_was_published_stays(disk: SmallDisk, tmp_path: Path) -> None:
    new, to = tmp_path / "new", disk.folder / "artifacts" / "demo"
    new.mkdir()
    (new / "small").write_text("new")
    (new / "large").write_bytes(os.urandom(1_000_000))
    to.mkdir(parents=True)
    (to / "old").write_text("old")
    with pytest.raises(DiskFullError, match=SAYS):
        publish(new, to)
    assert [path.name for path in to.parent.iterdir()] == ["demo"]
    assert (to / "old").read_text() == "old"
