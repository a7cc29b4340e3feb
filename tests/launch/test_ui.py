"""The MLflow UI as a person sees it: a real server, a real browser."""

import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from project import build_project

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


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_the_ui_shows_a_run_with_its_fingerprint_and_scores(tmp_path: Path) -> None:
    project = build_project(
        tmp_path / "project", overrides=["miniature.datasets=[luperson]", "curate.sources={}"]
    )
    project.run("vills", "run", "miniature", env={"VILLS_TRACKING": "on"})
    [run] = (project.folder / "runs" / "miniature").iterdir()
    port = find_free_port()
    server = project.start("vills", "ui", "--port", str(port), env={"VILLS_TRACKING": "on"})
    try:
        wait_for_server(f"http://127.0.0.1:{port}/health", patience=120)
        command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'browser'}"]
        command += ["--virtual-time-budget=30000", "--dump-dom"]
        page = f"http://127.0.0.1:{port}/#/experiments/1/runs"
        dom = subprocess.run([*command, page], capture_output=True, text=True, check=True).stdout
        assert f"miniature {run.name[:8]}" in dom
    finally:
        server.terminate()
        server.wait(30)
