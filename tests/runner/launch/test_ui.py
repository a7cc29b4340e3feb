"""The MLflow UI as a person sees it: a real server, a real browser."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow.tracking import MlflowClient

from tests.fake_sweep import build_fake_sweep, write_quickly
from tests.project import BIN, build_project
from vills.runner.plan.context import LaunchContext
from vills.runner.sweeps.report import build_report
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.sweeps.tracking import sync_report, sync_sweep

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_server(url: str, *, patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=2).read()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise AssertionError(f"{url} did not answer")


def read_page(url: str, *, folder: Path) -> str:
    """What a browser has made of a page once its scripts have come to rest."""
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'browser'}"]
    command += ["--window-size=1500,1300", "--virtual-time-budget=60000", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


SERVE = """
import sys
from pathlib import Path
from vills.runner.sweeps import track
track.EVERY_SECONDS = 1.0
track.run_ui(Path(sys.argv[1]), port=int(sys.argv[2]))
"""


def test_while_it_serves_the_ui_keeps_points_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("VILLS_TRACKING", "on")
    port = find_free_port()
    command = [sys.executable, "-c", SERVE, str(tmp_path), str(port)]
    with write_quickly():
        fake = build_fake_sweep(tmp_path / "runs")
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for_server(f"http://127.0.0.1:{port}/health", patience=120)
            # which `ps` shows: an address may hold a password
            commands = read_commands()
            assert any(str(port).encode() in words for words in commands)
            assert not any(uri.encode() in words for words in commands)
            assert load_point_statuses(uri) == {"masking_0": "SCHEDULED", "masking_1": "SCHEDULED"}
            fake.finish(["masking_0"])
            end = time.monotonic() + 60
            while load_point_statuses(uri)["masking_0"] != "FINISHED":
                assert time.monotonic() < end
                time.sleep(0.5)
            assert load_point_statuses(uri)["masking_1"] == "SCHEDULED"
        finally:
            server.terminate()
            server.wait(60)


def read_commands() -> list[bytes]:
    """Words of all processes."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            commands.append(path.read_bytes())
    return commands


def load_point_statuses(uri: str) -> dict[str, str]:
    """MLflow's word for every point."""
    runs = MlflowClient(uri).search_runs(["1"], "tags.`vills.point` != ''")
    return {run.data.tags["vills.point"]: run.info.status for run in runs}


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_ui_shows_a_run_with_its_fingerprint_and_scores(tmp_path: Path) -> None:
    project = build_project(
        tmp_path / "project",
        overrides=[
            "miniature.datasets=[luperson]",
            *(f"{table}={{}}" for table in ("curate.sources", "finetune", "evaluate")),
        ],
    )
    project.run("vills", "run", "miniature", env={"VILLS_TRACKING": "on"})
    [run] = (project.folder / "runs" / "miniature").iterdir()
    port = find_free_port()
    server = project.start("vills", "ui", "--port", str(port), env={"VILLS_TRACKING": "on"})
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health", patience=120)
        dom = read_page(f"http://127.0.0.1:{port}/#/experiments/1/runs", folder=tmp_path)
        assert f"miniature {run.name[:8]}" in dom
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_ui_shows_a_sweep_its_points_their_weights_and_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VILLS_TRACKING", "VILLS_RUNS", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    with write_quickly():
        build_fake_sweep(tmp_path / "runs", num_points=4).finish()
    context = LaunchContext(tmp_path)
    state = load_sweep_state(context, "grid")
    parent = sync_sweep(context, state).run_id
    sync_report(context, state, build_report(state, out=tmp_path / "tables"))
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    found = client.search_runs(["1"], f"tags.`mlflow.parentRunId` = '{parent}'")
    children = json.dumps([run.info.run_id for run in found])
    port = find_free_port()
    server = subprocess.Popen([BIN / "vills", "ui", "--port", str(port)], cwd=tmp_path)
    try:
        site = f"http://127.0.0.1:{port}"
        wait_for_server(f"{site}/health", patience=120)
        page = read_page(f"{site}/#/experiments/1/runs/{parent}", folder=tmp_path)
        places = [page.find(f">masking_{number}<") for number in range(4)]
        assert -1 not in places
        assert places == sorted(places)  # in the order of the table
        assert "Finished" in page
        page = read_page(
            f"{site}/#/compare-runs?runs={quote(children)}&experiments={quote(json.dumps(['1']))}",
            folder=tmp_path,
        )
        assert "Comparing 4 Runs from 1 Experiment" in page
        # the axis of the parallel coordinates, and the rows below
        assert page.count("pretrain.masking_weight") > 2
        for name in ("pretrain.alignment_weight", "pretrain.areas", "market1501/mAP"):
            assert name in page
        address = f"{site}/#/experiments/1/runs/{parent}/artifacts/tables.json"
        page = read_page(address, folder=tmp_path)
        assert "View as table" in page
        assert "w/ L^m, λ2 = 1.5" in page
    finally:
        server.terminate()
        server.wait(30)
