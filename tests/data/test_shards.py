import multiprocessing
import pickle
import resource
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vills.data.layouts.base import LayoutError, RawImage, RawTracklet, RawVideo
from vills.data.shards import ShardReader, ShardWriter
from vills.errors import InputError
from vills.io import open_atomic


def list_numbers(i: int, frames: list[bytes]) -> list[int] | None:
    step = 10 if i == 2 else 1
    return [step * j for j in range(len(frames))] if len(frames) > 1 else None


def write(folder: Path, max_bytes: int = 4096) -> list[tuple[str, tuple[int, ...], list[bytes]]]:
    rows = []
    with ShardWriter(folder, max_bytes) as writer:
        for i in range(7):
            frames = [bytes([i, j]) * (300 + 100 * i + j) for j in range(1 + i % 3)]
            numbers = list_numbers(i, frames)
            shard, offsets, lengths = writer.add(f"r{i}", frames, numbers=numbers)
            assert lengths == tuple(len(frame) for frame in frames)
            rows.append((shard, offsets, frames))
        rows.append((*writer.add("n" * 150, [b"x" * 10])[:2], [b"x" * 10]))
    return rows


def test_offsets_are_those_of_tarfile(tmp_path: Path) -> None:
    rows = write(tmp_path)
    seen = {}
    for path in sorted(tmp_path.iterdir()):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                stream = tar.extractfile(member)
                assert stream is not None
                seen[path.name, member.offset_data] = (member.name, stream.read())
                assert (member.mtime, member.uid, member.uname) == (0, 0, "")
    expected = {
        (shard, offset): frame
        for shard, offsets, frames in rows
        for offset, frame in zip(offsets, frames, strict=True)
    }
    assert {key: data for key, (_, data) in seen.items()} == expected
    names = [name for name, _ in seen.values()]
    assert {"r0.jpg", "r1.000000.jpg", "r1.000001.jpg", "r2.000020.jpg"} <= set(names)
    assert "n" * 150 + ".jpg" in names


def test_members_group_by_key_as_webdataset_does(tmp_path: Path) -> None:
    """A key ends at the first dot; members of a key are neighbours within one shard."""
    write(tmp_path)
    groups: list[tuple[str, list[str]]] = []
    for path in sorted(tmp_path.iterdir()):
        with tarfile.open(path, "r|") as stream:
            for member in stream:
                key, _, extension = member.name.partition(".")
                if not groups or groups[-1][0] != key:
                    groups.append((key, []))
                groups[-1][1].append(extension)
    keys = [key for key, _ in groups]
    assert keys == [*(f"r{i}" for i in range(7)), "n" * 150]
    assert [len(extensions) for _, extensions in groups] == [1, 2, 3, 1, 2, 3, 1, 1]


def test_reader_reads_what_was_written(tmp_path: Path) -> None:
    rows = write(tmp_path)
    assert len({shard for shard, _, _ in rows}) > 2
    reader = pickle.loads(pickle.dumps(ShardReader(tmp_path)))
    for shard, offsets, frames in rows:
        for offset, frame in zip(offsets, frames, strict=True):
            assert reader.read(shard, offset, len(frame)) == frame
    reader.close()
    with pytest.raises(ValueError, match="ends before byte"):
        reader.read("shard-000000.tar", 0, 10**6)
    with pytest.raises(FileNotFoundError):
        reader.read("shard-999999.tar", 0, 1)


def _child(reader: ShardReader, shard: str, offset: int, length: int, queue: object) -> None:
    queue.put(reader.read(shard, offset, length))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reader_crosses_processes(tmp_path: Path, method: str) -> None:
    shard, offsets, frames = write(tmp_path)[0]
    reader = ShardReader(tmp_path)
    reader.read(shard, 0, 10)
    context: Any = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    process = context.Process(
        target=_child, args=(reader, shard, offsets[0], len(frames[0]), queue)
    )
    process.start()
    assert queue.get() == frames[0]
    process.join()
    assert process.exitcode == 0


def test_bytes_depend_on_content_alone(tmp_path: Path) -> None:
    write(tmp_path / "1")
    write(tmp_path / "2")
    for path in (tmp_path / "1").iterdir():
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()


def test_a_killed_writer_goes_on_at_its_shard(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    half = ShardWriter(tmp_path / "parts", 4096)
    all_frames = [[bytes([i, j]) * (300 + 100 * i + j) for j in range(1 + i % 3)] for i in range(7)]
    first_of: dict[Any, Any] = {}
    for i, frames in enumerate(all_frames[:5]):
        numbers = list_numbers(i, frames)
        first_of.setdefault(half.add(f"r{i}", frames, numbers=numbers)[0], i)
    finished = len(half.finished)
    assert sorted(p.name for p in (tmp_path / "parts").glob("*.tar")) == half.finished
    # as after kill -9: nobody closes `half`
    with ShardWriter(tmp_path / "parts", 4096, start=finished) as writer:
        for i in range(first_of[f"shard-{finished:06d}.tar"], 7):
            numbers = list_numbers(i, all_frames[i])
            writer.add(f"r{i}", all_frames[i], numbers=numbers)
        writer.add("n" * 150, [b"x" * 10])
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "parts" / path.name).read_bytes()
    half.abort()


def test_an_error_leaves_no_half_shard(tmp_path: Path) -> None:
    def fail() -> None:
        with ShardWriter(tmp_path, 4096) as writer:
            writer.add("a", [b"x"])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [50_000, 9_500])
def test_a_full_disk_leaves_nothing_that_looks_finished(tmp_path: Path, size: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        with (
            pytest.raises(OSError, match="File too large"),
            ShardWriter(tmp_path, 99_999) as writer,
        ):
            writer.add("a", [b"x" * size])
        with pytest.raises(OSError, match="File too large"), open_atomic(tmp_path / "b") as path:
            path.write_bytes(b"x" * size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_record_larger_than_a_shard_has_one_of_its_own(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, 2048) as writer:
        shards = [writer.add(name, [b"x" * size])[0] for name, size in (("a", 9), ("b", 9999))]
        assert writer.finished == ["shard-000000.tar"]
    assert shards == ["shard-000000.tar", "shard-000001.tar"]
    assert writer.finished == shards


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "shard-1.tar", "", "x"])
def test_a_manifest_of_a_stranger_names_no_other_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"private")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="names the shard .*Allowed: shard-000000.tar.*What to do"):
        ShardReader(folder).read(name, 0, 7)


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/x.jpg", "a/../../x.jpg", "..", "a\0b.jpg"])
def test_a_list_of_a_stranger_names_no_file_outside(path: str) -> None:
    builds: tuple[Callable[[], object], ...] = (
        lambda: RawImage(path, "train"),
        lambda: RawTracklet(("a.jpg", path), "train"),
        lambda: RawVideo(path, "v"),
    )
    for build in builds:
        with pytest.raises(LayoutError, match="Allowed: paths below its root.*What to do"):
            build()
    assert RawImage("a..b/..c.jpg", "train").path == "a..b/..c.jpg"
