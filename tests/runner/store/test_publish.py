import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vills.digests import compute_digest
from vills.runner.store import result as publish_module
from vills.runner.store.result import publish, set_read_only


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "model.bin").write_bytes(b"weights")
    (folder / "report.json").write_text("{}")
    set_read_only(folder)
    return folder


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "artifacts" / "deep" / "demo"


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_and_is_left_alone_when_it_is_there(source: Path, to: Path) -> None:
    assert publish(source, to)
    assert compute_digest(to) == compute_digest(source)
    inode = (to / "report.json").stat().st_ino
    assert not publish(source, to)
    assert (to / "report.json").stat().st_ino == inode
    assert list_names(to.parent) == ["demo"]


def test_a_single_file_can_be_published(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "artifacts" / "metrics.json"
    assert publish(source / "report.json", path)
    assert path.read_text() == "{}"
    assert not publish(source / "report.json", path)
    path.unlink()
    path.write_text("other")
    assert publish(source / "report.json", path)
    assert path.read_text() == "{}"


@pytest.mark.parametrize("damage", ["change", "remove", "add", "file", "link"])
def test_what_is_not_the_same_is_replaced(
    source: Path, to: Path, tmp_path: Path, damage: str
) -> None:
    publish(source, to)
    before = compute_digest(source)
    if damage == "add":
        (to / "more").write_text("")
    elif damage == "file":
        shutil.rmtree(to)
        to.write_text("in the way")
    elif damage == "link":
        shutil.rmtree(to)
        (tmp_path / "elsewhere").mkdir()
        to.symlink_to(tmp_path / "elsewhere")
    else:
        (to / "sub" / "model.bin").unlink()
        if damage == "change":
            (to / "sub" / "model.bin").write_bytes(b"WEIGHTS")
    assert publish(source, to)
    assert compute_digest(to) == compute_digest(source) == before
    assert list_names(to.parent) == ["demo"]


def test_a_hard_linked_file_is_read_only(source: Path, to: Path) -> None:
    publish(source, to)
    path = to / "sub" / "model.bin"
    if path.stat().st_ino == (source / "sub" / "model.bin").stat().st_ino:
        assert stat.S_IMODE(path.stat().st_mode) == 0o444


def test_leftovers_of_a_killed_publish_are_removed(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True)
    (to.parent / ".demo.publish-1").mkdir()
    (to.parent / ".demo.publish-1" / "half").write_text("")
    (to.parent / ".demo.publish-2").write_text("")
    publish(source, to)
    assert list_names(to.parent) == ["demo"]


@pytest.mark.parametrize("is_whole", [False, True])
def test_two_at_once_publish_one_thing(
    source: Path, to: Path, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The orphan of a killed parent and its successor take each other's files for leftovers."""
    place = publish_module._place_tree
    crossed: list[Path] = []

    def cross(own: Path, beside: Path) -> None:
        if own != source or crossed:
            place(own, beside)
            return
        crossed.append(beside)
        if is_whole:  # it is about to be renamed
            place(own, beside)
        else:
            beside.mkdir()
        assert publish(source, to)
        if not is_whole:
            place(own / "report.json", beside / "report.json")

    monkeypatch.setattr(publish_module, "_place_tree", cross)
    assert publish(source, to) == is_whole
    assert compute_digest(source) == compute_digest(to)
    assert list_names(to.parent) == [to.name]


def test_a_source_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        publish(tmp_path / "nothing", tmp_path / "to")


def test_between_file_systems_it_is_copied(
    source: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(publish_module, "_clone", lambda source, to: False)
    publish(source, to)
    path = to / "sub" / "model.bin"
    assert path.stat().st_ino != (source / "sub" / "model.bin").stat().st_ino
    assert compute_digest(to) == compute_digest(source)


STAGE = """
from pathlib import Path
from vills.runner.store.run import Run
run = Run(Path("runs"), stage="demo", read_params=lambda: {"a": 1},
               inputs={"data": Path("data")}, module="vills.config.checks", progress=print)
with run:
    if run.is_complete():
        print("COLLECTED")
    else:
        print("COMPUTED")
        (run.out / "demo").mkdir(exist_ok=True)
        (run.out / "demo" / "model.bin").write_bytes(b"weights")
        (run.out / "score.json").write_text('{"mAP": 0.5}')
        run.complete()
run.publish(Path("artifacts/demo"), part="demo")
run.publish(Path("artifacts/metrics/score.json"), part="score.json")
"""

DVC_YAML = """
stages:
  demo:
    cmd: '"{python}" stage.py'
    deps: [data, stage.py]
    outs: [artifacts/demo]
    metrics: [artifacts/metrics/score.json]
"""


def call_dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("cache_type", ["reflink,copy", "hardlink", "symlink"])
def test_dvc_deletes_caches_and_links_outs_and_the_run_stays(
    tmp_path: Path, cache_type: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("x")
    (tmp_path / "stage.py").write_text(STAGE)
    (tmp_path / "dvc.yaml").write_text(DVC_YAML.format(python=sys.executable))
    (tmp_path / ".dvc").mkdir()
    config = (
        f"[core]\n    no_scm = True\n    analytics = False\n[cache]\n    type = {cache_type!r}\n"
    )
    (tmp_path / ".dvc" / "config").write_text(config)
    assert "COMPUTED" in call_dvc(tmp_path, "repro")
    (run,) = (tmp_path / "runs" / "demo").iterdir()
    kept = run / "out" / "demo" / "model.bin"
    published = tmp_path / "artifacts" / "demo" / "model.bin"
    assert published.read_bytes() == kept.read_bytes() == b"weights"
    (tmp_path / "stage.py").write_text(f"{STAGE}# a comment\n")
    published.unlink()
    # DVC deletes the outs, calls the stage, hashes, moves into its cache, links back
    assert "COLLECTED" in call_dvc(tmp_path, "repro")
    assert published.read_bytes() == kept.read_bytes() == b"weights"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o444
    assert not kept.is_symlink()
    assert len(list((run / "attempts").glob("*.end.json"))) == 1
