import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tests.fake_sweep import FakeSweep, build_fake_sweep, sync_here, write_quickly
from tests.journals import rewind
from tests.tracking_server import TrackingServer, get_closed_port
from vills.config.checks import ConfigError
from vills.io import load_json, save_json
from vills.runner.mlflow.replay import SyncResult
from vills.runner.plan.context import LaunchContext
from vills.runner.store.journal import load_journal
from vills.runner.sweeps import tracking as sweep_tracking
from vills.runner.sweeps.report import build_report
from vills.runner.sweeps.sweep import load_record, save_record
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.sweeps.track import sync_all
from vills.runner.sweeps.tracking import open_tracking, sync_report, sync_sweep

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("VILLS_TRACKING", "VILLS_RUNS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    if "in_processes" not in request.fixturenames:
        monkeypatch.setattr(sweep_tracking, "sync_in_process", sync_here)
    with write_quickly():
        yield


@pytest.fixture
def in_processes() -> None:
    """Syncs are real processes, as they are for users."""


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


def sync(context: LaunchContext, name: str = "grid", *, ok: bool = True) -> SyncResult:
    state = load_sweep_state(context, name)
    result = sync_sweep(context, state, every=0.0, say=lambda text: None)
    assert result.ok is ok, result.reason
    return result


def open_here(context: LaunchContext, say: Callable[[str], None] = print) -> str:
    """What a launch does before it asks for jobs; the parent's id."""
    return open_tracking(context, load_sweep_state(context, "grid"), say=say).run_id


def load_family(uri: str, name: str = "grid") -> tuple[Run, dict[str, Run]]:
    """The one parent of a sweep, and its children by label."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("vills")
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    [parent] = [run for run in runs if run.info.run_name.startswith(f"sweep {name} ")]
    below = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    children = {run.data.tags["vills.point"]: run for run in below}
    assert len(children) == len(below)
    return parent, children


def load_curve(uri: str, run: Run, name: str = "loss") -> list[tuple[int, float, int]]:
    history = MlflowClient(uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value, point.timestamp) for point in history)


def read_curve(folder: Path, name: str = "loss") -> list[tuple[int, float, int]]:
    content = load_journal(folder / "journal.jsonl")
    return [(r.step, r.metrics[name], r.time_ms) for r in content.committed if name in r.metrics]


@pytest.mark.slow
def test_a_parent_and_a_child_per_point(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs", num_points=3)
    context = LaunchContext(tmp_path)
    said: list[str] = []
    parent_id = open_here(context, said.append)
    assert (said, bool(parent_id)) == ([], True)
    assert load_family(uri)[1] == {}  # children are made when the launcher looks at them
    assert open_here(context, said.append) == parent_id
    fake.finish(["masking_0"])
    folder = fake.pretrain("masking_1")
    fake.submit(fake.get_node("masking_1", "evaluate"), "77", cluster="local")
    sync(context)
    parent, children = load_family(uri)
    assert parent.info.run_id == parent_id
    assert parent.data.params == {
        "title": "Losses and balancing parameters",
        "tables": "Table 3. Balancing",
        "overrides": "profile=tiny",
        "seeds": "of params.yaml",
        "num_points": "3",
    }
    assert list(sorted(children)) == ["masking_0", "masking_1", "masking_2"]
    done, half = children["masking_0"], children["masking_1"]
    assert half.data.params["pretrain.masking_weight"] == "0.5"
    assert half.data.params["pretrain.areas"] == '["upper_body", "head"]'
    assert half.data.params["pretrain.model.width"] == "32"
    assert half.data.params["profile"] == "tiny"
    assert done.data.metrics["market1501/mAP"] == 0.5
    assert done.data.metrics["market1501/R-1"] == 0.6
    assert (done.info.status, done.data.tags["vills.state"]) == ("FINISHED", "done")
    assert half.data.tags["vills.run.pretrain"] == folder.name
    assert json.loads(half.data.tags["vills.jobs"]) == {"evaluate@market1501": ["77"]}
    assert json.loads(half.data.tags["vills.attempts"]) == {"pretrain": 1}
    assert load_curve(uri, half) == read_curve(folder)
    assert load_curve(uri, half, "loss/masking") == read_curve(folder, "loss/masking")
    # 77 is known to nobody; nobody was asked for the third
    assert (half.info.status, children["masking_2"].info.status) == ("KILLED", "SCHEDULED")


@pytest.mark.slow
def test_a_shared_point_is_a_child_of_each_sweep(tmp_path: Path, uri: str) -> None:
    build_fake_sweep(tmp_path / "runs", name="grid").finish()
    build_fake_sweep(tmp_path / "runs", name="other", num_points=1)
    context = LaunchContext(tmp_path)
    sync(context, "grid")
    sync(context, "other")
    (_, grid), (_, other) = load_family(uri, "grid"), load_family(uri, "other")
    assert other["masking_0"].data.metrics == grid["masking_0"].data.metrics
    assert other["masking_0"].info.run_id != grid["masking_0"].info.run_id


@pytest.mark.slow
def test_a_sync_with_no_news_imports_no_mlflow_and_takes_no_time(tmp_path: Path, uri: str) -> None:
    build_fake_sweep(tmp_path / "runs", num_points=30).finish()
    sync(LaunchContext(tmp_path))
    program = (
        "import sys; from pathlib import Path\n"
        "from vills.runner.plan.context import LaunchContext\n"
        "from vills.runner.sweeps.tracking import sync_sweep\n"
        "from vills.runner.sweeps.sweeping import load_sweep_state\n"
        "import vills.runner.sweeps.tracking as ours\n"
        "def refuse(*a, **k): raise AssertionError('no process is needed')\n"
        "ours.sync_in_process = refuse\n"
        "context = LaunchContext(Path.cwd()); state = load_sweep_state(context, 'grid')\n"
        "result = sync_sweep(context, state)\n"
        "assert result.ok and result.run_id, result\n"
        "assert 'mlflow' not in sys.modules and 'torch' not in sys.modules\n"
    )
    begun = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    assert time.monotonic() - begun < 5


@pytest.mark.slow
def test_a_database_made_anew_gets_everything_again(
    tmp_path: Path, uri: str, empty_store: Path
) -> None:
    fake = build_fake_sweep(tmp_path / "runs")
    fake.finish()
    first = sync(LaunchContext(tmp_path))
    assert sync(LaunchContext(tmp_path)) == SyncResult(ok=True, run_id=first.run_id)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    again = sync(LaunchContext(tmp_path))
    assert again.num_points == first.num_points
    assert len(load_family(uri)[1]) == 2


def test_another_edition_has_a_parent_of_its_own(tmp_path: Path, uri: str) -> None:
    context = LaunchContext(tmp_path)
    build_fake_sweep(tmp_path / "runs")
    first = open_here(context)
    build_fake_sweep(tmp_path / "runs", num_points=3)
    assert first
    assert open_here(context) not in ("", first)


@pytest.mark.slow
def test_curves_are_single_valued_after_two_requeues(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs", num_points=1)
    context, node = LaunchContext(tmp_path), fake.get_node("masking_0", "pretrain")
    for attempt, (start, saved, end) in enumerate([(0, 2, 5), (2, 4, 6), (4, 8, 8)]):
        with fake.open_run(node) as run:
            rewind(run.journal, start)
            for step in range(start + 1, end + 1):
                run.journal.log(step, {"loss": step + attempt / 10})
                if step == saved:
                    run.journal.mark_checkpoint(step)
            sync(context)  # as a launcher that waits: with what no checkpoint holds yet in the file
            if attempt == 2:
                run.complete()
        sync(context)
    _, children = load_family(uri)
    assert load_curve(uri, children["masking_0"]) == read_curve(run.folder)
    assert [step for step, _, _ in load_curve(uri, children["masking_0"])] == list(range(1, 9))
    assert json.loads(children["masking_0"].data.tags["vills.attempts"]) == {"pretrain": 3}


def test_curves_that_were_taken_back_are_replaced(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs", num_points=1)
    context, node = LaunchContext(tmp_path), fake.get_node("masking_0", "pretrain")
    for factor in (1.0, 10.0):  # the checkpoint of step 4 turned out damaged
        with fake.open_run(node) as run:
            rewind(run.journal, 2 if factor > 1 else 0)
            for step in range(3 if factor > 1 else 1, 5):
                run.journal.log(step, {"loss": factor * step})
                if step % 2 == 0:
                    run.journal.mark_checkpoint(step)
        sync(context)
    _, children = load_family(uri)
    assert [point[:2] for point in load_curve(uri, children["masking_0"])] == [
        (1, 1.0),
        (2, 2.0),
        (3, 30.0),
        (4, 40.0),
    ]


def test_files_of_an_earlier_version_are_understood(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs")
    folder, edition = tmp_path / "runs" / "_sweeps", fake.sweep.fingerprint
    origin = {"commit": "c" * 40, "dirty": "true", "created_ms": 1_700_000_000_000}
    save_json(folder / ".grid-origin.json", {"fingerprint": edition, **origin})
    tracked: dict[str, Any] = {
        "store": "another digest",
        "edition": edition,
        "parent": "gone",
        "report": "r",
    }
    tracked |= {"marks": {"": "m", "masking_0": "m"}, "tried": time.time(), "reason": ""}
    save_json(folder / ".grid-tracked.json", tracked)
    record = {**load_json(folder / "grid.json"), "parent": "gone"}
    save_json(folder / "grid.json", record, sort=False)
    sync_sweep(LaunchContext(tmp_path), load_sweep_state(LaunchContext(tmp_path), "grid"))
    parent, children = load_family(uri)
    assert parent.data.tags["vills.git_commit"] == "c" * 40
    assert parent.data.tags["vills.git_dirty"] == "true"
    assert parent.info.start_time == 1_700_000_000_000
    assert sorted(children) == ["masking_0", "masking_1"]


@pytest.mark.slow
@pytest.mark.usefixtures("in_processes")
def test_two_at_once_make_one_parent_and_one_child_per_point(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs", num_points=4)
    fake.finish()

    def launch(number: int) -> SyncResult:
        context = LaunchContext(tmp_path)
        if number < 2:
            assert open_here(context)
        return sync(context)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(launch, range(4)))
    assert len({result.run_id for result in results}) == 1
    assert len(load_family(uri)[1]) == 4


@pytest.mark.slow
def test_tables_become_artifacts_and_a_table(tmp_path: Path, uri: str) -> None:
    fake = build_fake_sweep(tmp_path / "runs")
    fake.finish()
    context = LaunchContext(tmp_path)
    state = load_sweep_state(context, "grid")
    paths = build_report(state, out=tmp_path / "tables")
    assert sync_report(context, state, paths).ok
    client = MlflowClient(uri)
    parent, _ = load_family(uri)
    files = {item.path for item in client.list_artifacts(parent.info.run_id, "tables")}
    assert files == {f"tables/{path.name}" for path in paths}
    tag = [{"path": "tables.json", "type": "table"}]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == tag
    (tmp_path / "tables" / "tables.csv").write_text("sweep,point,mAP\ng,b,99.5\ng,a,\n")
    assert sync_report(context, state, paths).ok
    table = Path(client.download_artifacts(parent.info.run_id, "tables.json", str(tmp_path)))
    assert json.loads(table.read_text()) == {
        "columns": ["point", "mAP", "sweep"],
        "data": [["b", 99.5, "g"], ["a", "", "g"]],
    }


@pytest.mark.usefixtures("in_processes")
def test_off_and_unreachable_stop_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_fake_sweep(tmp_path / "runs")
    said: list[str] = []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{get_closed_port()}")
    assert open_here(LaunchContext(tmp_path), said.append) == ""
    assert "no server at 127.0.0.1" in said[0]
    assert "jobs and results are not affected" in said.pop()
    state = load_sweep_state(LaunchContext(tmp_path), "grid")
    for _ in range(2):
        assert not sync_sweep(LaunchContext(tmp_path), state, say=said.append).ok
    assert said == []  # and is not said again and again
    monkeypatch.setenv("VILLS_TRACKING", "off")
    assert open_here(LaunchContext(tmp_path), said.append) == ""
    assert "off" in said.pop()
    assert sync_sweep(LaunchContext(tmp_path), state, say=said.append).ok


def test_a_database_on_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_fake_sweep(tmp_path / "runs")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} lustre rw 0 0\n")
    monkeypatch.setattr("vills.mounts.MOUNTS", mounts)
    with pytest.raises(ConfigError, match=r"is on lustre.*Allowed: a server.*VILLS_TRACKING=off"):
        open_here(LaunchContext(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{get_closed_port()}")
    assert open_here(LaunchContext(tmp_path)) == ""


def test_a_database_that_other_machines_cannot_see_is_told(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_fake_sweep(tmp_path / "runs")
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'runs'} nfs4 rw 0 0\n")
    monkeypatch.setattr("vills.mounts.MOUNTS", mounts)
    said: list[str] = []
    assert open_here(LaunchContext(tmp_path), said.append)
    assert "jobs on other machines cannot see it" in said[0]


@pytest.mark.slow
@pytest.mark.usefixtures("in_processes")
def test_a_tracker_killed_in_the_middle_and_one_absent_from_start_to_end(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TrackingServer(tmp_path / "server")
    (tmp_path / "server" / "server.db").write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    fake = build_fake_sweep(tmp_path / "runs", num_points=3)
    context, node = LaunchContext(tmp_path), fake.get_node("masking_0", "pretrain")
    assert open_here(context) == ""  # absent from the start
    with fake.open_run(node) as run:
        log_and_mark(run, range(1, 4))
        with server:
            sync(context)
            log_and_mark(run, range(4, 7))
            server.kill()
            sync(context, ok=False)  # the middle
            log_and_mark(run, range(7, 10))
            server.start()
            sync(context)
            log_and_mark(run, range(10, 13))
        run.complete()
    fake.evaluate("masking_0")
    fake.finish(["masking_1", "masking_2"])  # absent from start to end
    sync(context, ok=False)
    with server:
        assert sync_all(tmp_path) == 0
        check_everything_once(server.uri, fake, run.folder)
        assert sync_all(tmp_path) == 0
        check_everything_once(server.uri, fake, run.folder)


def log_and_mark(run: Any, steps: range) -> None:
    for step in steps:
        run.journal.log(step, {"loss": 1.0 / step})
    run.journal.mark_checkpoint(steps[-1])


def check_everything_once(uri: str, fake: FakeSweep, folder: Path) -> None:
    parent, children = load_family(uri)
    assert (parent.info.status, len(children)) == ("FINISHED", 3)
    assert load_curve(uri, children["masking_0"]) == read_curve(folder)
    for run in MlflowClient(uri).search_runs(["1"]):
        name = "loss" if "vills.point" in run.data.tags else ""
        stage = run.data.tags.get("vills.stage")
        if name or stage == "pretrain":
            own = run.data.tags.get("vills.run.pretrain", run.data.tags["vills.fingerprint"])
            assert load_curve(uri, run) == read_curve(fake.runs / "pretrain" / own)


def test_a_record_that_another_launch_replaces_is_left_to_it(tmp_path: Path, uri: str) -> None:
    context = LaunchContext(tmp_path)
    fake = build_fake_sweep(tmp_path / "runs")
    state = load_sweep_state(context, "grid")
    newer = build_fake_sweep(tmp_path / "runs", num_points=3)
    save_record(tmp_path / "runs", newer.sweep)
    sync_sweep(context, state, every=0.0)
    sync(context)
    assert load_record(tmp_path / "runs", "grid") is not None
    assert fake.sweep.fingerprint != newer.sweep.fingerprint
