import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from tests.curation.scenes import build_config, write_image
from vills.config.checks import ConfigError
from vills.config.curate import SourceConfig
from vills.curation.source import run_source
from vills.data.layouts import LayoutError, RawImage, read_layout
from vills.data.layouts.containers import LmdbStore, PlainPickleError, load_image_list
from vills.data.records import load_manifest
from vills.data.shards import ShardReader

KEYS = [f"{i:02d}_00_0000_{m:08d}" for i in (0, 1) for m in range(3)]


def write_database(
    path: Path, values: dict[str, bytes], *, keys: object = None, is_file: bool = False
) -> Path:
    """A database, and keys.pkl beside it, as LUPerson's convert_lmdb.py leaves them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        lmdb.open(str(path), map_size=1 << 24, subdir=not is_file) as database,
        database.begin(write=True) as transaction,
    ):
        for key, value in values.items():
            transaction.put(key.encode(), value)
    lock = path.with_name(path.name + "-lock") if is_file else path / "lock.mdb"
    lock.unlink(missing_ok=True)
    content = list(values) if keys is None else keys
    (path.parent / "keys.pkl").write_bytes(pickle.dumps(content))
    return path.parent


@pytest.fixture
def crops(tmp_path: Path) -> dict[str, bytes]:
    return {key: write_image(tmp_path / "x.jpg", seed=i).read_bytes() for i, key in enumerate(KEYS)}


def paths_of(root: Path, **options: Any) -> list[str]:
    return [image.path for image in read_layout("luperson", root, **options).images]


@pytest.mark.parametrize(
    ("name", "is_file"), [("lup_lmdb", False), ("lup.lmdb", False), ("lup.lmdb", True)]
)
@pytest.mark.parametrize("as_dict", [False, True])
def test_a_database_is_read_by_its_keys(
    name: str, is_file: bool, as_dict: bool, crops: dict[str, bytes], tmp_path: Path
) -> None:
    keys = {"keys": KEYS[::-1], "pids": [1] * 6} if as_dict else KEYS[::-1]
    root = write_database(tmp_path / "lup" / name, crops, keys=keys, is_file=is_file)
    before = sorted(root.rglob("*"))
    layout = read_layout("luperson", root)
    assert list(layout.images) == [RawImage(f"{key}.jpg", "pretrain") for key in KEYS]
    assert [layout.read_bytes(image.path) for image in layout.images] == list(crops.values())
    assert sorted(root.rglob("*")) == before, "no lock file"
    assert bool(layout.notes) == as_dict
    if as_dict:
        assert layout.notes == ("pids of keys.pkl are not used: pre-training has no labels",)


def test_a_database_that_is_the_root_itself(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops)
    (root / "keys.pkl").rename(root / "db" / "keys.pkl")
    assert len(paths_of(root / "db")) == 6
    assert len(paths_of(root)) == 6


def test_keys_with_a_suffix_and_in_bytes(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", {"a/b.jpg": b"1", "c.png": b"2"})
    (root / "keys.pkl").write_bytes(pickle.dumps([b"c.png", "a/b.jpg"]))
    layout = read_layout("luperson", root)
    assert [(i.path, layout.read_bytes(i.path)) for i in layout.images] == [
        ("a/b.jpg", b"1"),
        ("c.png", b"2"),
    ]


def test_a_read_only_database(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops)
    for path in (root / "db" / "data.mdb", root / "db"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert len(paths_of(root)) == 6
    finally:
        (root / "db").chmod(0o755)


def test_curation_of_a_database_equals_that_of_files(
    crops: dict[str, bytes], tmp_path: Path
) -> None:
    write_database(tmp_path / "lup" / "db", crops)
    for key, content in crops.items():
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"{key}.jpg").write_bytes(content)
    for name in ("lup", "files"):
        run_source(
            "luperson",
            SourceConfig("luperson", name, "pretrain_images"),
            build_config(),
            root=tmp_path,
            out=tmp_path / "out" / name,
            work=tmp_path / "work" / name,
        )
    for name in ("manifest.parquet", "shard-000000.tar"):
        files = [tmp_path / "out" / source / name for source in ("lup", "files")]
        assert files[0].read_bytes() == files[1].read_bytes()
    manifest = load_manifest(tmp_path / "out" / "lup" / "manifest.parquet")
    record = manifest[0]
    assert record.record_id == record.origins[0].removesuffix(".jpg") == KEYS[0]
    reader = ShardReader(tmp_path / "out" / "lup")
    assert reader.read(record.shard, record.offsets[0], record.lengths[0]) == crops[KEYS[0]]


def test_keys_without_a_value_are_counted_and_named(
    crops: dict[str, bytes], tmp_path: Path
) -> None:
    write_database(tmp_path / "lup" / "db", crops, keys=[*KEYS, "09_00_0000_00000000"])
    report = run_source(
        "luperson",
        SourceConfig("luperson", "lup", "pretrain_images"),
        build_config(),
        root=tmp_path,
        out=tmp_path / "out",
        work=tmp_path / "work",
        max_corrupt_share=0.2,
    )
    assert report["damaged"]["named"] == [
        {"path": "09_00_0000_00000000.jpg", "reason": "not in the database"}
    ]
    assert report["notes"][0].startswith("keys.pkl lists 7 keys, the database holds 6")


def test_a_key_that_no_database_can_have_is_unreadable(
    crops: dict[str, bytes], tmp_path: Path
) -> None:
    root = write_database(tmp_path / "lup" / "db", crops, keys=[*KEYS, ""])
    layout = read_layout("luperson", root)
    with pytest.raises(OSError, match="BAD_VALSIZE"):
        layout.read_bytes(".jpg")


def _touch(root: Path) -> list[os.PathLike[str]]:
    class Touch:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {root / 'ran'}",)

    return [Touch()]  # type: ignore[list-item]


def test_keys_that_would_run_code_are_refused(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops, keys={"keys": _touch(tmp_path)})
    with pytest.raises(PlainPickleError, match=r"system, which is refused"):
        read_layout("luperson", root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keys", [{}, [], {"keys": []}, {"keys": [1]}, "abc", {"keys": {"a": 1}}])
def test_keys_that_are_none(keys: object, crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops, keys=keys)
    with pytest.raises(LayoutError, match=r"keys\.pkl holds no keys"):
        read_layout("luperson", root)


def test_a_database_that_cannot_be_used(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops, keys=[KEYS[0], *KEYS])
    with pytest.raises(LayoutError, match=f"lists {KEYS[0]} twice"):
        read_layout("luperson", root)
    (root / "keys.pkl").unlink()
    with pytest.raises(LayoutError, match=r"no keys\.pkl in or beside"):
        read_layout("luperson", root)
    write_database(tmp_path / "lup" / "second.lmdb", crops)
    with pytest.raises(LayoutError, match=r"holds 2 databases, db and second\.lmdb"):
        read_layout("luperson", root)


def test_a_truncated_database_is_told_before_it_is_touched(
    crops: dict[str, bytes], tmp_path: Path
) -> None:
    root = write_database(tmp_path / "lup" / "db", crops)
    file = root / "db" / "data.mdb"
    whole = file.read_bytes()
    for size in (len(whole) // 2, 4096, 100, 0):
        file.write_bytes(whole[:size])
        with pytest.raises(LayoutError, match=r"is incomplete|is not an LMDB database"):
            LmdbStore(root / "db")
    file.write_text("version https://git-lfs.github.com/spec/v1\n" * 200)
    with pytest.raises(LayoutError, match="is not an LMDB database"):
        read_layout("luperson", root)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a.jpg", "images/b.jpg", "images/sub/c.jpg", "images/d.png"):
        path = tmp_path / "LUP" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "LUP"


def write_list(path: Path, names: list[str]) -> str:
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(names))
    elif path.suffix == ".json":
        path.write_text(json.dumps(names))
    else:
        path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*names, "", ""]).encode())
    return path.name


@pytest.mark.parametrize("suffix", [".pkl", ".json", ".txt"])
def test_the_top_of_a_list_is_kept(suffix: str, folder: Path) -> None:
    """TransReID-SSL: save_list[:keep_num], relative to images/."""
    name = write_list(folder / f"CFS_list{suffix}", ["d.png", "./sub/c.jpg", "images/a.jpg"])
    assert paths_of(folder, filter_list=name) == [
        "images/a.jpg",
        "images/d.png",
        "images/sub/c.jpg",
    ]
    assert paths_of(folder, filter_list=name, keep=2) == ["images/d.png", "images/sub/c.jpg"]
    assert read_layout("luperson", folder, filter_list=name, keep=2).notes == (
        f"2 images are in the list {name} (keep = 2)",
    )
    name = write_list(folder / f"CFS_list{suffix}", ["d.png", "a.jpg", "images/a.jpg"])
    layout = read_layout("luperson", folder, filter_list=name)
    assert [image.path for image in layout.images] == ["images/a.jpg", "images/d.png"]
    assert layout.notes[1] == f"1 lines of {name} name a path again; it counts once"


def test_a_list_of_keys(crops: dict[str, bytes], tmp_path: Path) -> None:
    root = write_database(tmp_path / "lup" / "db", crops)
    name = write_list(root / "best.txt", [KEYS[4], f"{KEYS[1]}.jpg"])
    assert paths_of(root, filter_list=name) == [f"{KEYS[1]}.jpg", f"{KEYS[4]}.jpg"]


def test_a_list_that_names_what_is_not_there(folder: Path) -> None:
    name = write_list(folder / "list.txt", ["a.jpg", "b.jpg", "z.jpg"])
    layout = read_layout("luperson", folder, filter_list=name)
    assert [image.path for image in layout.images] == ["images/a.jpg", "images/b.jpg"]
    assert layout.notes[1] == "1 paths of list.txt do not exist: z.jpg"
    name = write_list(folder / "list.txt", ["a.jpg", "us/y.jpg", "us/z.jpg"])
    with pytest.raises(
        LayoutError,
        match=r"2 of the 3 paths of list\.txt .* It names us/y\.jpg; there is images/a\.jpg",
    ):
        read_layout("luperson", folder, filter_list=name)
    name = write_list(folder / "list.txt", ["a.JPG", "/lup/b.jpg", "d.png"])
    spelt = r" 'a\.JPG' would match 'a\.jpg' with other upper and lower case\."
    with pytest.raises(LayoutError, match=rf"2 of the 3 paths .*images/a\.jpg\.{spelt} What"):
        read_layout("luperson", folder, filter_list=name)
    name = write_list(folder / "list.txt", ["a.jpg", "b.jpg", "D:\\lup\\images\\d.png"])
    note = read_layout("luperson", folder, filter_list=name).notes[1]
    assert note.endswith("would match 'd.png' with the folders in front removed.")
    with pytest.raises(LayoutError, match=r"keep = 9 is more than the 3 paths"):
        read_layout("luperson", folder, filter_list=name, keep=9)


def test_a_name_of_the_list_that_fits_twice(folder: Path) -> None:
    (folder / "a.jpg").touch()
    name = write_list(folder / "list.txt", ["a.jpg"])
    with pytest.raises(LayoutError, match=r"may be a\.jpg or images/a\.jpg|may be images/a\.jpg"):
        read_layout("luperson", folder, filter_list=name)


def test_lists_that_are_none(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no list of images at"):
        read_layout("luperson", folder, filter_list="absent.txt")
    bad = {
        "a.csv": b"a.jpg",
        "a.json": b'{"a": 1}',
        "b.json": b"[1, 2]",
        "c.json": b"[",
        "a.txt": b"\n\n",
        "b.txt": b"\xff\xfea\x00",
        "d.json": b"[" * 100_000,
        "a.pkl": pickle.dumps({"a": 1}),
        "b.pkl": pickle.dumps([b"\xff"]),
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LayoutError, match="What to do"):
            load_image_list(tmp_path / name)
    (tmp_path / "c.pkl").write_bytes(pickle.dumps(_touch(tmp_path)))
    with pytest.raises(PlainPickleError, match="refused"):
        load_image_list(tmp_path / "c.pkl")


def test_only_luperson_has_a_list(folder: Path) -> None:
    with pytest.raises(ConfigError, match="not allowed with layout folder"):
        read_layout("folder", folder, filter_list="list.txt")
    with pytest.raises(ConfigError, match=r"sources\.\*\.filter = 'a\.txt' .*layout luperson"):
        SourceConfig("market1501", filter="a.txt")
    with pytest.raises(ConfigError, match=r"sources\.\*\.keep = 3 .*name the list"):
        SourceConfig("luperson", keep=3)
    with pytest.raises(ConfigError, match=r"sources\.\*\.filter = '\.\./a\.txt'"):
        SourceConfig("luperson", filter="../a.txt")
