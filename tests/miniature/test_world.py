"""The world as a whole: same bytes, resumable, only what is asked for."""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from vills.config.checks import ConfigError
from vills.config.miniature import MiniatureConfig
from vills.miniature.world import LAYOUTS, render_world

RENDER = """
import json, sys
from pathlib import Path
from vills.config.miniature import MiniatureConfig
from vills.miniature.world import render_world

folder = Path(sys.argv[1])
config = MiniatureConfig(**json.loads((folder / "config.json").read_text()))
render_world(config, out=folder / "out", work=folder / "work", workers=2)
"""


class Killed(BaseException):
    """Stands for a kill: nothing may catch it."""


def read_all(root: Path) -> dict[str, bytes]:
    files = (file for file in sorted(root.rglob("*")) if file.is_file())
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in files}


@pytest.mark.slow
def test_same_config_same_bytes(world: Path, small: MiniatureConfig, tmp_path: Path) -> None:
    render_world(small, out=tmp_path)
    assert read_all(tmp_path) == read_all(world)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 8])
def test_goes_on_after_a_kill_with_the_same_bytes(
    world: Path, small: MiniatureConfig, tmp_path: Path, stop: int
) -> None:
    def kill(label: str, done: int, total: int) -> None:
        if done == stop:
            raise Killed

    with pytest.raises(Killed):
        render_world(small, out=tmp_path, progress=kill)
    first = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("[!.]*.jpg")}
    # Cut off a file of a unit that was not finished: it must not be trusted.
    (tmp_path / "kinetics" / "train").mkdir(parents=True, exist_ok=True)
    (tmp_path / "kinetics" / "train" / ".left.mp4.tmp").write_bytes(b"half")
    render_world(small, out=tmp_path)
    (tmp_path / "kinetics" / "train" / ".left.mp4.tmp").unlink()
    assert read_all(tmp_path) == read_all(world)
    assert all(file.stat().st_mtime_ns == time for file, time in first.items())


def test_work_folder_remembers_what_is_finished(small: MiniatureConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(small, datasets=["luperson"])
    out, work = tmp_path / "out", tmp_path / "work"
    render_world(config, out=out, work=work)
    before = read_all(out)
    times = {file: file.stat().st_mtime_ns for file in out.rglob("[!.]*.jpg")}
    render_world(config, out=out, work=work)
    assert read_all(out) == before
    assert {file: file.stat().st_mtime_ns for file in out.rglob("[!.]*.jpg")} == times
    # A picture that went missing is rendered again.
    next(iter(times)).unlink()
    render_world(config, out=out, work=work)
    assert read_all(out) == before


def test_seed_changes_the_world(world: Path, small: MiniatureConfig, tmp_path: Path) -> None:
    render_world(dataclasses.replace(small, seed=1, datasets=["luperson"]), out=tmp_path)
    ours, theirs = (
        {file.read_bytes() for file in (root / "luperson").rglob("[!.]*.jpg")}
        for root in (tmp_path, world)
    )
    assert len(ours) == len(theirs) == small.num_luperson_images
    assert not ours & theirs


def test_more_people_leave_the_others_alone(
    world: Path, small: MiniatureConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(small, datasets=["luperson"], num_luperson_images=8)
    render_world(config, out=tmp_path)
    images = {name: data for name, data in read_all(world).items() if "luperson/" in name}
    images = {name: data for name, data in images.items() if name.endswith(".jpg")}
    assert images.items() <= read_all(tmp_path).items()


def test_renders_only_what_is_asked_for(tmp_path: Path) -> None:
    render_world(MiniatureConfig(datasets=[]), out=tmp_path)
    assert read_all(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "extreme",
    [
        {"num_distractors": 0, "num_cameras": 6, "image_height": 48, "tracklet_frames": 2},
        {"image_height": 512, "datasets": ["luperson", "market1501"], "num_luperson_images": 1},
        {"datasets": ["kinetics"], "num_pretrain_ids": 2, "people_per_scene": 7, "num_scenes": 1},
        {"datasets": ["kinetics"], "num_scenes": 1, "scene_frames": 1},
    ],
)
def test_extremes_of_the_config_render(
    small: MiniatureConfig, tmp_path: Path, extreme: dict[str, Any]
) -> None:
    fewest = {f"num_{name}_ids": 2 for name in ("train", "test", "prcc", "ltcc", "prid", "sigset")}
    config = dataclasses.replace(small, **{**fewest, **extreme})
    render_world(config, out=tmp_path)
    assert sorted(f.stem for f in (tmp_path / "truth").iterdir()) == sorted(config.datasets)


@pytest.mark.slow
def test_no_byte_depends_on_the_number_of_processes(
    world: Path, small: MiniatureConfig, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    render_world(
        small, out=tmp_path, workers=2, progress=lambda _, done, total: told.append((done, total))
    )
    assert read_all(tmp_path) == read_all(world)
    total = told[0][1]
    assert told == [(done, total) for done in range(1, total + 1)]


@pytest.mark.slow
def test_killed_with_its_processes_it_goes_on_with_the_same_bytes(
    world: Path, small: MiniatureConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(dataclasses.asdict(small)))
    out, work = tmp_path / "out", tmp_path / "work"
    process = subprocess.Popen([sys.executable, "-c", RENDER, str(tmp_path)])
    deadline = time.monotonic() + 60
    while len(list(work.rglob("*.seal"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    processes = list_children(process.pid)
    process.kill()
    process.wait()
    assert len(processes) >= 2
    while any(is_alive(pid) for pid in processes) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in processes)
    finished = len(list(work.rglob("*.seal")))
    render_world(small, out=out, work=work)
    assert 4 <= finished <= len(list(work.rglob("*.seal")))
    assert read_all(out) == read_all(world)


def list_children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rsplit(")", maxsplit=1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_layouts_are_those_of_the_config() -> None:
    assert list(LAYOUTS) == MiniatureConfig().datasets


def test_more_people_than_pids_are_refused() -> None:
    with pytest.raises(ConfigError, match="pids go from 2 to 1501"):
        MiniatureConfig(num_train_ids=800, num_test_ids=800)
