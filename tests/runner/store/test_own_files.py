"""Every file that a run writes for itself, in every way that it can be damaged."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damage import DAMAGES
from tests.runner.store.test_run import Project
from vills import mounts
from vills.digests import DigestCache, compute_listing
from vills.endings import describe_os_error
from vills.errors import InputError, UserError
from vills.io import find_json, load_json, save_own_json
from vills.runner.mlflow.tracked_run import load_tracked_run
from vills.runner.store import lock as lock_module
from vills.runner.store.lock import LostRunError, RunLock
from vills.runner.store.receipt import load_receipt
from vills.runner.store.result import load_result


def replace_by(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def write_of_another_run(path: Path) -> None:
    content = find_json(path)
    save_own_json(path, {**content, "fingerprint": "0" * 64, "token": "another"})


WAYS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\x00\xff\xfe{" * 99),
    "a list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 100_000),
    "no keys": lambda path: path.write_text("{}\n"),
    "of another run": write_of_another_run,
    "a dangling link": replace_by(lambda path: path.symlink_to("nowhere")),
    "a pipe": replace_by(os.mkfifo),
    "a folder": replace_by(Path.mkdir),
}
FILES = ("receipt.json", "result.json", "attempts/000001.json", "attempts/000001.end.json")
REFUSED = {("receipt.json", "a folder"), ("result.json", "a folder")}
"""What people put there; nothing is made in its place."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("finished"))
    project.finish()
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy of it: inodes and times are others, as after `cp -r`."""
    shutil.copytree(finished.root, tmp_path, dirs_exist_ok=True)
    finished.said.clear()
    copied = object.__new__(Project)
    copied.root, copied.params, copied.said = tmp_path, finished.params, []
    (attempt,) = tmp_path.glob("runs/demo/*/attempts/000001.json")
    save_own_json(attempt, {**load_json(attempt), "started": 0})  # by a process that is gone
    return copied


def work(project: Project) -> str:
    """Open the run as a stage does; what it ended with, in words."""
    run = project.open()
    try:
        with run:
            if run.lock.attempt is not None:
                run.out.joinpath("sub").mkdir(exist_ok=True)
                for name, data in (("sub/model.bin", b"weights"), ("score.json", b"{}")):
                    run.out.joinpath(name).unlink(missing_ok=True)
                    run.out.joinpath(name).write_bytes(data)
                run.journal.log(1, {"loss": 2.0})
                run.complete(metrics={"mAP": 0.5}, artifacts=["score.json"])
        run.publish(project.root / "published")
    except UserError as error:
        return str(error)
    except OSError as error:
        return describe_os_error(error)
    return ""


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", WAYS)
def test_a_damaged_file_is_made_anew_or_refused_in_a_sentence(
    project: Project, name: str, way: str, is_complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder,) = (project.root / "runs" / "demo").iterdir()
    expected, before = compute_listing(folder / "out"), load_receipt(folder)
    monkeypatch.setattr(lock_module, "STALE_SECONDS", 0.0)  # its writer is gone
    if not is_complete:
        (folder / "result.json").unlink()
    if (path := folder / name).exists():
        WAYS[way](path)
    said = work(project)
    if (name, way) in REFUSED and os.path.lexists(path) and path.is_dir():
        assert name in said
        assert "What to do: a file is where a folder should be" in said
        return
    assert said == ""
    assert (
        compute_listing(folder / "out") == compute_listing(project.root / "published") == expected
    )
    receipt, result = load_receipt(folder), load_result(folder)
    assert receipt["params"] == before["params"]
    assert len(result["outputs"]) == 2
    tracked = load_tracked_run(folder)
    assert tracked is not None
    assert len(tracked.records) == 1
    assert any("receipt.json is missing or damaged" in line for line in project.said) == (
        name == "receipt.json"
    )
    assert work(project) == ""


def test_no_bit_of_our_own_files_may_turn(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    content = {"a": [1, 2.5, None], "b": {"1": "two"}, "c": "é"}
    save_own_json(path, content)
    whole, seen = path.read_bytes(), 0
    for bit in range(0, 8 * len(whole), 3):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        if found := find_json(path):  # a blank, or the name of the digest itself
            assert {key: found[key] for key in content} == content
        else:
            with pytest.raises(InputError, match="What to do"):
                load_json(path)
            seen += 1
    assert seen > 2 * len(whole)
    save_own_json(path, {"rows": {1: "one", 10: "ten", 2: "two"}}, sort=False)
    assert list(load_json(path)["rows"]) == ["1", "10", "2"]


def test_files_of_an_earlier_version_have_no_digest(project: Project) -> None:
    (folder,) = (project.root / "runs" / "demo").iterdir()
    for path in (folder / "receipt.json", folder / "result.json"):
        content = json.loads(path.read_text())
        del content["content_sha256"]
        content.pop("journal", None)
        path.write_text(json.dumps(content))
    assert work(project) == ""
    assert project.said == []


@pytest.mark.parametrize("left", ["000001.json", "000001.end.json"])
def test_a_lost_attempt_lets_no_two_write(tmp_path: Path, left: str) -> None:
    """Whatever is removed from under a living writer, it or the next one is refused."""
    first, second = RunLock(tmp_path), RunLock(tmp_path)
    arguments = {"is_done": lambda: False, "notes": {}, "progress": lambda text: None}
    assert first.acquire(**arguments) == 1  # type: ignore[arg-type]
    (tmp_path / "000001.json").rename(tmp_path / "kept")
    if left.endswith(".end.json"):
        save_own_json(tmp_path / left, {"status": "finished"})
    number = second.acquire(**arguments)  # type: ignore[arg-type]
    assert number == (1 if left == "000001.json" else 2)
    second.guard()
    with pytest.raises(LostRunError):
        first.guard()
    second.release("finished")


def test_a_truncated_attempt_is_held_by_its_heartbeat_alone(tmp_path: Path) -> None:
    first = RunLock(tmp_path)
    first.acquire(is_done=lambda: False, notes={}, progress=lambda text: None)
    path = tmp_path / "000001.json"
    path.write_bytes(b"")
    first.guard()  # nobody else has come
    second = RunLock(tmp_path)
    assert second.find_holder() == 1
    for seconds in (-1000.0, 1000.0):  # silent for long; or a clock that was put back
        os.utime(path, (0, time.time() + seconds))
        assert second.find_holder() == 0
    first.release("finished")


def test_how_old_a_file_is_its_own_server_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is ten minutes behind ours: what is a second old there looks old here."""
    path, cache = tmp_path / "input", tmp_path / "runs" / "cache.json"
    path.write_text("before")
    cache.parent.mkdir()
    behind = 600_000_000_000
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + behind)
    one = DigestCache(cache)
    one.compute_file_digest(path)
    assert one._known == {}
    # on another file server, whose clock is not known
    monkeypatch.setattr(mounts, "find_network_file_system", lambda path: "nfs4")
    two = DigestCache(tmp_path / "elsewhere" / "cache.json")
    two.compute_file_digest(path)
    assert two._known == {}
    os.utime(path, (0, 0))
    monkeypatch.setattr(time, "time_ns", lambda: now() + 2 * 3600 * 10**9)
    two.compute_file_digest(path)
    assert len(two._known) == 1


@pytest.mark.parametrize("way", [*WAYS])
def test_a_damaged_cache_costs_time_alone(tmp_path: Path, way: str) -> None:
    path, cache = tmp_path / "input", tmp_path / "cache.json"
    path.write_text("content")
    digest_of = DigestCache(cache)
    key = f"{path.stat().st_dev}:x"
    digest_of._known, digest_of._has_news = {key: "0" * 64}, True
    digest_of.save()
    WAYS[way](cache)
    found = DigestCache(cache)
    assert found._known in ({}, {key: "0" * 64}) or way in ("of another run", "flip")
    found.compute_file_digest(path)
    found.save()
