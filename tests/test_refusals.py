"""Whatever library writes, and however the system refuses: one sentence with path and remedy.

torch says that a position is not what it should be, safetensors and SQLite have their own words,
pyarrow and PIL name no file. Nothing that was there is lost, and the same call works later.
"""

import errno
import os
import resource
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.disks import SmallDisk, become_nobody, limit_file_size, open_disk, open_read_only
from vills.curation.images import read_images
from vills.curation.video import VideoStream
from vills.data.images import read_image
from vills.data.layouts import RawImage
from vills.endings import run_main
from vills.evaluation.extract import ExtractReport, load_pixels
from vills.io import open_atomic
from vills.refusals import list_paths, open_writing
from vills.train.checkpoint import load_checkpoint, save_checkpoint

KILOBYTES = 512
NUMBERS = np.random.default_rng(0).random(200_000)
TABLE = pa.table({"number": NUMBERS})


def write_parquet_in_groups(path: Path) -> None:
    with pq.ParquetWriter(path, TABLE.schema) as writer:
        for start in range(0, len(NUMBERS), 50_000):
            writer.write_table(TABLE.slice(start, 50_000))


def write_picture(path: Path) -> None:
    pixels = np.frombuffer(NUMBERS.tobytes()[: 700 * 700 * 3], np.uint8).reshape(700, 700, 3)
    Image.fromarray(pixels).save(path, format="PNG")


def write_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("numbers.npy", "w") as file:
        np.lib.format.write_array(file, NUMBERS)


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table of_bytes (bytes)")
        database.execute("insert into of_bytes values (zeroblob(1000000))")
        database.commit()


WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": lambda path: torch.save({"a": torch.zeros(300_000), "b": torch.ones(9)}, path),
    "safetensors": lambda path: save_file({"a": torch.zeros(300_000)}, path),
    "pyarrow": lambda path: pq.write_table(TABLE, path),
    "pyarrow in groups": write_parquet_in_groups,
    "PIL": write_picture,
    "zipfile": write_archive,
    "sqlite": write_database,
    "numpy": lambda path: NUMBERS.tofile(path),
    "python": lambda path: path.write_bytes(NUMBERS.tobytes()),
}


@pytest.fixture(scope="module")
def small() -> Iterator[SmallDisk]:
    with open_disk(f"size={KILOBYTES}k", "nr_inodes=30") as disk:
        yield disk


@pytest.fixture
def disk(small: SmallDisk) -> Iterator[SmallDisk]:
    yield small
    for path in sorted(small.folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    small.folder.chmod(0o755)


def refuse(how: str, disk: SmallDisk) -> AbstractContextManager[None]:
    if how == "read-only":
        return open_read_only(disk.folder)
    if how == "a file of limited size":
        return limit_file_size(100_000)
    if how == "a folder of somebody else":
        return become_nobody()
    if how == "no inode":
        disk.use_up_names()
    else:
        disk.fill(leave=100_000 if how == "nearly full" else 0)
    return nullcontext()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("full", "No space left for {path}: 0.0 MB are free"),
        ("nearly full", "No space left for {path}: 0."),
        ("no inode", "No space left for {path}: its disk has no inode left"),
        ("a file of limited size", "{path}: File too large. What to do: allow larger files"),
        ("read-only", "{path}: Read-only file system. What to do: work in a copy on a disk"),
        ("a folder of somebody else", "{path}: Permission denied. What to do: get the permission"),
    ],
)
def test_each_library_is_understood(
    how: str, words: str, disk: SmallDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = disk.folder / "of mine"
    path.write_bytes(b"old")
    with refuse(how, disk):
        for name, write in WRITERS.items():

            def work(write: Callable[[Path], object] = write) -> int:
                with open_atomic(path) as temporary:
                    write(temporary)
                return 0

            status, said = run_main("vills", work), capsys.readouterr().err
            assert (name, status) == (name, 2), said
            assert words.format(path=path) in said, name
            assert "What to do" in said
            assert len(said.splitlines()) == 1
    assert path.read_bytes() == b"old"
    left = {entry.name for entry in disk.folder.iterdir() if "ballast" not in entry.name}
    assert left == {"of mine"}


def test_a_bug_stays_a_bug(tmp_path: Path) -> None:
    """What the disk would have taken is not the disk's fault."""
    with pytest.raises(KeyError, match="colour"), open_atomic(tmp_path / "a"):
        raise KeyError("colour")
    with pytest.raises(FileNotFoundError) as missing, open_atomic(tmp_path / "a"):
        (tmp_path / "an input").read_bytes()
    assert missing.value.filename == str(tmp_path / "an input")
    with pytest.raises(KeyError), open_writing(tmp_path):
        raise KeyError("colour")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(disk: SmallDisk) -> None:
    """As `Path.glob` has it: training would begin anew, and scores would be missing."""
    folder = disk.folder / "checkpoints"
    save_checkpoint(folder, {"step": 1}, step=1, guard=lambda: None)
    assert list_paths(disk.folder, "*/step-*.pt") == [folder / "step-00000001.pt"]
    assert list_paths(disk.folder / "nothing", "*/x.json") == []
    folder.chmod(0o700)
    with become_nobody():
        for read in (load_checkpoint, lambda path: list_paths(path.parent, "*/step-*.pt")):
            with pytest.raises(PermissionError) as caught:
                read(folder)
            assert caught.value.filename == str(folder)


def test_a_checkpoint_that_has_no_space_costs_the_older_one_nothing(disk: SmallDisk) -> None:
    state: dict[str, Any] = {"weights": torch.arange(30_000.0), "step": 1}
    folder = disk.folder / "checkpoints"
    save_checkpoint(folder, state, step=1, guard=lambda: None)
    disk.fill(leave=60_000)
    with pytest.raises(OSError, match="No space left for .*step-00000002.pt: .*What to do: free"):
        save_checkpoint(folder, {**state, "step": 2}, step=2, guard=lambda: None)
    kept = load_checkpoint(folder)
    assert kept is not None
    assert kept["step"] == 1
    assert torch.equal(kept["weights"], state["weights"])
    disk.free()
    save_checkpoint(folder, {**state, "step": 2}, step=2, guard=lambda: None)
    again = load_checkpoint(folder)
    assert again is not None
    assert again["step"] == 2


def test_weights_that_had_no_space_are_written_later(disk: SmallDisk) -> None:
    path = disk.folder / "model.safetensors"
    disk.fill(leave=40_000)
    with (
        pytest.raises(OSError, match="No space left for .*/model.safetensors:"),
        open_atomic(path) as temporary,
    ):
        save_file({"a": torch.arange(90_000.0)}, temporary)
    disk.free()
    with open_atomic(path) as temporary:
        save_file({"a": torch.arange(90_000.0)}, temporary)
    assert torch.equal(load_file(path)["a"], torch.arange(90_000.0))


def test_a_log_on_a_full_disk_does_not_end_the_work(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "from pathlib import Path\n"
        "from vills.endings import run_main\n"
        "from vills.progress import ProgressLine\n"
        "def work():\n"
        "    line = ProgressLine('stage')\n"
        "    line('begun', 1, 2)\n"
        "    line.say('half')\n"
        "    line.close()\n"
        "    Path('done').touch()\n"
        "    return 0\n"
        "raise SystemExit(run_main('vills', work))\n"
    )
    root = Path(__file__).parent.parent
    command = f"{sys.executable} work.py 2> /dev/full"
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, check=False)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE])
def test_a_picture_is_not_damaged_because_the_machine_lacks_something(
    number: int, tmp_path: Path
) -> None:
    """It would be left out of the data, and all that follows would differ."""

    def read(path: str) -> bytes:
        raise OSError(number, os.strerror(number), path)

    with pytest.raises(OSError, match=os.strerror(number)):
        list(read_images([RawImage("a.jpg", split="train")], read=read, source="folder"))
    write_picture(tmp_path / "a.png")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))  # those that are open stay so
    try:
        with pytest.raises(OSError, match="Too many open files"):
            load_pixels(tmp_path / "a.png", "a.png", ExtractReport(about={}))
        with pytest.raises(OSError, match="Too many open files"):
            list(VideoStream(tmp_path / "a.png", "a.png"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_picture_is_not_damaged_because_memory_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", refuse_memory)
    with pytest.raises(MemoryError):
        read_image(b"any", name="a.png")
