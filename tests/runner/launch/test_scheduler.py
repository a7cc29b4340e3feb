"""What SLURM's tools print, and what is made of it; outputs as recorded from SLURM 22.05."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vills.runner.clusters.jobs import UNKNOWN, ClusterError, JobState
from vills.runner.clusters.scheduler import (
    MAX_IDS,
    expand_array,
    load_config,
    load_job_states,
    run_command,
)

SQUEUE = """\
12_[3-4%2]|PENDING|JobArrayTaskLimit
12_0|RUNNING|None
12_1|COMPLETED|None
13|PENDING|(ReqNodeNotAvail, UnavailableNodes:n[1-2])
14|COMPLETING|None
15|REQUEUED|BeginTime
99|RUNNING|None
"""
SACCT = """\
12_0|PENDING|0:0
12_2|FAILED|1:0
12_[3-4%2]|PENDING|0:0
16|CANCELLED by 0|0:0
17|NODE_FAIL|1:0
18|TIMEOUT|0:0
19|OUT_OF_MEMORY|0:125
20|PREEMPTED|0:0
21|REQUEUED|0:0
"""

Plant = Callable[[str, str], None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Put a tool into PATH, in place of the real one; no other SLURM tool is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    return write


def say(text: str) -> str:
    return f"cat <<'END'\n{text}END"


@pytest.mark.parametrize(
    ("job", "elements"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[0-2,7%4]", ["12_0", "12_1", "12_2", "12_7"]),
        ("12_[0-6:3]", ["12_0", "12_3", "12_6"]),
        ("12_[5]", ["12_5"]),
        ("12_[5%1]", ["12_5"]),
        ("12+1", ["12+1"]),
    ],
)
def test_arrays_are_expanded(job: str, elements: list[str]) -> None:
    assert expand_array(job) == elements


def test_squeue_comes_first_and_sacct_knows_what_it_has_forgotten(plant: Plant) -> None:
    plant("squeue", say(SQUEUE))
    plant("sacct", say(SACCT))
    jobs = [f"12_{i}" for i in range(5)] + [str(i) for i in range(13, 23)]
    assert load_job_states(jobs) == {
        "12_0": JobState("running", "RUNNING"),
        "12_1": JobState("ended", "COMPLETED"),
        "12_2": JobState("ended", "FAILED", "exit 1:0"),
        "12_3": JobState("pending", "PENDING", "JobArrayTaskLimit"),
        "12_4": JobState("pending", "PENDING", "JobArrayTaskLimit"),
        "13": JobState("pending", "PENDING", "(ReqNodeNotAvail, UnavailableNodes:n[1-2])"),
        "14": JobState("running", "COMPLETING"),
        "15": JobState("pending", "REQUEUED", "BeginTime"),
        "16": JobState("ended", "CANCELLED"),
        "17": JobState("ended", "NODE_FAIL", "exit 1:0"),
        "18": JobState("ended", "TIMEOUT"),
        "19": JobState("ended", "OUT_OF_MEMORY", "exit 0:125"),
        "20": JobState("ended", "PREEMPTED"),
        "21": JobState("pending", "REQUEUED"),
        "22": UNKNOWN,
    }


@pytest.mark.parametrize("script", ["echo 'Slurm accounting storage is disabled' >&2; exit 1", ""])
def test_without_accounting_squeue_is_all(plant: Plant, script: str) -> None:
    plant("squeue", say(SQUEUE))
    if script:
        plant("sacct", script)
    assert load_job_states(["12_0", "12_2"]) == {
        "12_0": JobState("running", "RUNNING"),
        "12_2": UNKNOWN,
    }


def test_a_controller_that_is_down_loses_no_job(plant: Plant) -> None:
    plant("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    silent = JobState("pending", "UNKNOWN", "squeue does not answer")
    assert load_job_states(["12"]) == {"12": silent}
    plant("sacct", say(SACCT))
    assert load_job_states(["12_2", "30"]) == {
        "12_2": JobState("ended", "FAILED", "exit 1:0"),
        "30": silent,
    }


def test_where_there_is_no_slurm_jobs_are_unknown(plant: Plant) -> None:
    assert load_job_states(["12"]) == {"12": UNKNOWN}
    assert load_config() == {}
    assert not run_command(["squeue"]).ok


def test_many_jobs_are_asked_for_in_parts(plant: Plant, tmp_path: Path) -> None:
    plant("squeue", "true")
    plant("sacct", f'echo "$@" >> {tmp_path}/asked')
    load_job_states([str(number) for number in range(1000, 1000 + MAX_IDS + 5)])
    asked = (tmp_path / "asked").read_text().splitlines()
    counts = [line.split("--format")[0].count(",") + 1 for line in asked]
    assert counts == [MAX_IDS, 5]


def test_an_array_is_one_question(plant: Plant, tmp_path: Path) -> None:
    plant("squeue", "true")
    plant("sacct", f'echo "$@" >> {tmp_path}/asked')
    load_job_states([f"12_{number}" for number in range(100)])
    assert "--jobs 12 " in (tmp_path / "asked").read_text()


def test_what_a_command_says_is_passed_on(plant: Plant) -> None:
    plant("scancel", "echo 'Invalid job id' >&2; exit 1")
    with pytest.raises(ClusterError, match=r"`scancel 12` failed: Invalid job id.*What to do"):
        run_command(["scancel", "12"], check=True)
    with pytest.raises(ClusterError, match="nothing-here"):
        run_command(["nothing-here"], check=True)


def test_the_configuration_is_read(plant: Plant) -> None:
    plant("scontrol", say("Configuration data\nMaxArraySize            = 4\nAuth = a=b\n\n"))
    assert load_config() == {"MaxArraySize": "4", "Auth": "a=b"}


def test_an_array_cancelled_before_it_began_is_listed_as_one_job(plant: Plant) -> None:
    plant("squeue", say("2|CANCELLED|Resources\n3|PENDING|Resources\n"))
    states = load_job_states(["2_0", "2_1", "3_0"])
    assert states["2_0"] == states["2_1"] == JobState("ended", "CANCELLED", "Resources")
    assert states["3_0"] == UNKNOWN
