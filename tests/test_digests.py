import hashlib
import os
from pathlib import Path

import pytest

from vills import digests as digest_module
from vills.digests import DigestCache, compute_digest, compute_listing
from vills.errors import RunError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "x.bin").write_bytes(b"1234")
    (folder / "a.txt").write_bytes(b"text")
    return folder


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_module, "RACY_NS", -(10**12))


def test_a_file_is_its_sha256_and_a_folder_its_listing(tree: Path) -> None:
    text, data = (hashlib.sha256(value).hexdigest() for value in (b"text", b"1234"))
    assert compute_digest(tree / "a.txt") == text
    assert compute_listing(tree) == {"a.txt": text, "b/x.bin": data}
    lines = f"{text}  a.txt\n{data}  b/x.bin\n"
    assert compute_digest(tree) == hashlib.sha256(lines.encode()).hexdigest()


def test_place_order_and_links_do_not_count(tree: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    (other / "b").mkdir(parents=True)
    (other / "a.txt").symlink_to(tree / "a.txt")
    os.link(tree / "b" / "x.bin", other / "b" / "x.bin")
    (other / "empty").mkdir()
    assert compute_digest(other) == compute_digest(tree)


def test_names_and_content_count(tree: Path) -> None:
    before = compute_digest(tree)
    (tree / "a.txt").rename(tree / "c.txt")
    renamed = compute_digest(tree)
    (tree / "c.txt").write_bytes(b"tex_")
    assert len({before, renamed, compute_digest(tree)}) == 3


def test_unchanged_files_are_not_read_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache.json"
    before = compute_digest(tree, DigestCache(cache))
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert compute_digest(tree, DigestCache(cache)) != ""
    monkeypatch.undo()
    assert compute_digest(tree, DigestCache(cache)) == before


def test_a_change_in_place_is_seen_even_with_the_old_mtime(tree: Path, tmp_path: Path) -> None:
    cache = DigestCache(tmp_path / "cache.json")
    path = tree / "a.txt"
    before, stat = compute_digest(path, cache), path.stat()
    path.write_bytes(b"tixt")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert compute_digest(path, cache) == hashlib.sha256(b"tixt").hexdigest() != before


def test_a_young_file_is_not_remembered(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_module, "RACY_NS", 2_000_000_000)
    compute_digest(tree, DigestCache(tmp_path / "cache.json"))
    assert not (tmp_path / "cache.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_damaged_cache_is_made_anew(tree: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache.json").write_bytes(content)
    assert compute_digest(tree, DigestCache(tmp_path / "cache.json")) == compute_digest(tree)


def test_caches_of_two_processes_are_merged(tree: Path, tmp_path: Path) -> None:
    one, two = (DigestCache(tmp_path / "cache.json") for _ in range(2))
    compute_digest(tree / "a.txt", one)
    compute_digest(tree / "b", two)
    assert (tmp_path / "cache.json").read_text().count(":") > 0
    assert len(DigestCache(tmp_path / "cache.json")._known) == 2


def test_nothing_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="first run the stage that makes it"):
        compute_digest(tmp_path / "nowhere")


def test_without_a_cache_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A cache kept at os.devnull once replaced that device by a file, atomically, as root.
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("a")
    os.utime(folder / "a", (1, 1))
    monkeypatch.setattr(digest_module, "RACY_NS", -(2**62))
    monkeypatch.setattr(
        digest_module, "save_own_json", lambda *_, **__: pytest.fail("something was written")
    )
    assert compute_digest(folder) == compute_digest(folder)


def test_a_folder_that_cannot_be_listed_is_an_error(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tree / "closed"
    closed.mkdir()
    listing = os.scandir

    def scandir(path: str) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(RunError, match="closed cannot be listed"):
        compute_digest(tree)
