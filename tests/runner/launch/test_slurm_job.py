"""How a process leaves a SLURM job, and what it notes of it."""

import os
from pathlib import Path

import pytest

from vills.interrupt import InterruptedRunError
from vills.runner.store.lock import STALE_SECONDS
from vills.runner.work import slurm_job
from vills.runner.work.ranks import Ranks
from vills.runner.work.slurm_job import (
    PATIENCE_SECONDS,
    build_notes,
    count_gpus,
    get_job_id,
    get_patience,
    wait_for_slurm,
)

LEADER, FOLLOWER = Ranks(0, 2, 0, "t"), Ranks(1, 2, 1, "t")
REQUEUE = InterruptedRunError("stopped", wants_requeue=True)
CANCEL = InterruptedRunError("stopped")


class Scontrol:
    """Records its calls; what the process slept afterwards is counted, not slept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slept = 0
        self.said: list[str] = []

    def plant(self, script: str = "exit 0") -> None:
        path = self.folder / "scontrol"
        path.write_text(f'#!/bin/bash\necho "$@" >> {self.folder}/calls\n{script}\n')
        path.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def leave(self, error: InterruptedRunError, ranks: Ranks = LEADER) -> None:
        wait_for_slurm(error, ranks, say=self.said.append)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scontrol:
    """Inside job 17 that may be requeued."""
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("VILLS_REQUEUE", "1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_job, "LEAVE_SECONDS", 0.05)
    found = Scontrol(tmp_path)

    def sleep(seconds: float) -> None:
        found.slept += seconds == 1.0  # others are subprocess's own

    monkeypatch.setattr("vills.runner.work.slurm_job.time.sleep", sleep)
    found.plant()
    return found


def test_usr2_requeues_and_waits_for_the_end(scontrol: Scontrol) -> None:
    scontrol.leave(REQUEUE)
    assert scontrol.calls == ["requeue 17"]
    assert scontrol.slept
    assert "is requeued" in scontrol.said[0]


def test_only_the_leader_requeues_and_all_wait(scontrol: Scontrol) -> None:
    scontrol.leave(REQUEUE, FOLLOWER)
    assert scontrol.calls == []
    assert scontrol.slept


def test_a_cancelled_job_is_not_brought_back(scontrol: Scontrol) -> None:
    scontrol.leave(CANCEL)
    assert scontrol.calls == []
    assert scontrol.slept, "a process that ended by itself would count as failed"


def test_an_element_of_an_array_is_named_as_such(
    scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert get_job_id() == "12_3"
    scontrol.leave(REQUEUE)
    assert scontrol.calls == ["requeue 12_3"]


@pytest.mark.parametrize("script", ["echo 'Requested operation disabled' >&2; exit 1", None])
def test_a_requeue_that_is_refused_is_told_and_the_process_ends(
    scontrol: Scontrol, script: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if script is None:
        monkeypatch.setenv("PATH", "/nowhere")
    else:
        scontrol.plant(script)
    scontrol.leave(REQUEUE)
    assert not scontrol.slept
    (said,) = scontrol.said
    assert "job 17 could not be requeued (" in said
    assert ("Requested operation disabled" if script else "no scontrol on the PATH") in said
    assert "What to do: give the same command again" in said


@pytest.mark.parametrize(("name", "value"), [("SLURM_JOB_ID", ""), ("VILLS_REQUEUE", "0")])
def test_outside_and_where_it_is_not_wanted_nothing_happens(
    scontrol: Scontrol, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    scontrol.leave(REQUEUE)
    scontrol.leave(CANCEL)
    assert (scontrol.calls, scontrol.slept, scontrol.said) == ([], 0, [])


def test_only_inside_an_allocation_patience_ends(
    scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get_patience() == PATIENCE_SECONDS > STALE_SECONDS
    monkeypatch.delenv("SLURM_JOB_ID")
    assert get_patience() is None


def test_notes_say_where(scontrol: Scontrol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "2")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    notes = build_notes(LEADER)
    assert (notes["job"], notes["nodes"], notes["ranks"], notes["gpus"]) == ("17", "n[1-2]", 2, 8)


@pytest.mark.parametrize(
    ("visible", "installed", "expected"),
    [
        (None, 0, 0),
        (None, 2, 2),
        ("0,1", 4, 2),
        ("", 4, 0),
        ("-1", 4, 0),
        ("NoDevFiles", 0, 0),
        ("GPU-1a", 4, 1),
    ],
)
def test_gpus_are_counted_without_torch(
    visible: str | None,
    installed: int,
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "gpus"
    for number in range(installed):
        (folder / str(number)).mkdir(parents=True)
    monkeypatch.setattr(slurm_job, "GPUS", folder)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert count_gpus() == expected
