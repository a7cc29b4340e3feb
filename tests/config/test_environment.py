"""Every environment variable of VILLS says what is allowed in it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from vills.config.checks import ConfigError
from vills.config.environment import read_count, read_folder, read_switch
from vills.config.resources import load_resources
from vills.config.tracking import load_tracking_settings
from vills.data.loading import get_start_method
from vills.pipeline import count_loaders, count_workers, get_folder, get_share
from vills.runner.clusters.jobs import select_cluster
from vills.runner.work.ranks import load_ranks
from vills.runner.work.slurm_job import REQUEUE

BAD = {
    "VILLS_TRACKING": ("garbage", lambda: load_tracking_settings(Path())),
    "VILLS_WORKERS": ("0", count_workers),
    "VILLS_LOADERS": ("\u00b2", count_loaders),
    "VILLS_WORKER_START": ("threads", get_start_method),
    "VILLS_CLUSTER": ("pbs", select_cluster),
    "VILLS_DATA": ("/no/such/folder", lambda: get_folder("VILLS_DATA")),
    "VILLS_WEIGHTS": ("/dev/null", lambda: get_folder("VILLS_WEIGHTS")),
    "VILLS_SLURM": ("/no/such/folder", lambda: load_resources(Path(), "lse")),
    "VILLS_REQUEUE": ("2", lambda: read_switch(REQUEUE, default=False)),
    "RANK": ("first", get_share),
    "WORLD_SIZE": ("two", load_ranks),
    "LOCAL_RANK": ("99999999999999999999", load_ranks),
    "MASTER_PORT": ("99999", load_ranks),
    "SLURM_STEP_NUM_TASKS": ("2(x3)", load_ranks),
}


@pytest.mark.parametrize("name", BAD)
def test_a_value_that_is_not_allowed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, read = BAD[name]
    monkeypatch.setenv("RANK", "0")
    if name == "SLURM_STEP_NUM_TASKS":
        monkeypatch.delenv("RANK")
    monkeypatch.setenv(name, value)
    label = "cluster" if name == "VILLS_CLUSTER" else name
    with pytest.raises(ConfigError, match=rf"{label}.*{re.escape(value)}.*Allowed: .*What to do"):
        read()


@pytest.mark.parametrize("value", ["off", "0", "false", "no", "OFF", "False", " no "])
def test_off_has_the_spellings_that_people_use(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_TRACKING", value)
    assert load_tracking_settings(Path()) is None


@pytest.mark.parametrize("value", ["", "on", "1", "true", "yes", "On"])
def test_on_too_and_empty_is_not_set(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_TRACKING", value)
    monkeypatch.setenv("VILLS_WORKERS", "")
    monkeypatch.setenv("VILLS_SLURM", "")
    assert load_tracking_settings(Path()) is not None
    assert read_count("VILLS_WORKERS", default=7) == 7
    assert read_folder("VILLS_SLURM") is None


@pytest.mark.parametrize("name", ["VILLS_NODES", "VILLS_GPUS_PER_NODE", "VILLS_SIGNAL_SECONDS"])
def test_scripts_of_slurm_refuse_what_is_no_number(name: str) -> None:
    script = Path(__file__).parents[2] / "slurm" / "pretrain.sh"
    done = subprocess.run(
        ["bash", script],
        env=os.environ | {name: "two"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        f"{name} = two is not allowed. Allowed: whole numbers from 0 to 99999. What to do"
        in done.stderr
    )
