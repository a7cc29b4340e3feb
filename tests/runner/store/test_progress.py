"""A job that gets nowhere stops, and says so."""

from collections.abc import Callable
from pathlib import Path

import pytest

from vills.runner.store.errors import StalledRunError
from vills.runner.store.interrupt import InterruptedRunError
from vills.runner.store.lock import Claim
from vills.runner.store.progress import compute_progress_mark
from vills.runner.store.run import Run, open_run

Opener = Callable[..., Run]


@pytest.fixture
def reopen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Open the run as a job that has been started so often."""
    (tmp_path / "data").write_text("x")

    def open_it(*, job: str = "12", restart: int = 0) -> Run:
        monkeypatch.setenv("SLURM_JOB_ID", job)
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        return open_run(
            tmp_path / "runs",
            stage="demo",
            read_params=dict,
            inputs={"data": tmp_path / "data"},
            module="vills.config.checks",
            progress=lambda text: None,
            claim=Claim(patience=0.0),
        )

    return open_it


def attempt(run: Run, *, leaves: str = "") -> None:
    """Work until the time limit."""
    with pytest.raises(InterruptedRunError), run:
        work(run, leaves)


def work(run: Run, leaves: str) -> None:
    if leaves:
        (run.checkpoints / leaves).write_text("weights")
    raise InterruptedRunError("stopped on request", wants_requeue=True)


def test_two_idle_attempts_of_one_job_are_the_last(reopen: Opener) -> None:
    attempt(reopen())
    attempt(reopen(restart=1))
    with pytest.raises(StalledRunError) as caught, reopen(restart=2):
        pass
    said = str(caught.value)
    assert "makes no progress: 2 attempts of job 12 in a row left nothing new" in said
    assert "attempt 2 interrupted stopped on request; attempt 1 interrupted" in said
    assert "timeout_min" in said
    assert "checkpoint_minutes" in said


def test_a_job_that_is_submitted_anew_starts_clean(reopen: Opener) -> None:
    attempt(reopen())
    attempt(reopen(restart=1))
    run = reopen(job="13")
    with run:
        assert run.attempt == 3


@pytest.mark.parametrize("when", [0, 1])
def test_something_new_is_progress(reopen: Opener, when: int) -> None:
    for restart in range(2):
        attempt(reopen(restart=restart), leaves="step-00000001.pt" if restart == when else "")
    run = reopen(restart=2)
    with run:
        assert run.attempt == 3


def test_after_progress_idle_attempts_count_from_there(reopen: Opener) -> None:
    attempt(reopen())
    attempt(reopen(restart=1), leaves="step-00000001.pt")
    attempt(reopen(restart=2))
    attempt(reopen(restart=3))
    with pytest.raises(StalledRunError, match=r"attempt 4 interrupted.*attempt 3 interrupted"):
        attempt(reopen(restart=4))


def test_an_attempt_that_was_killed_counts_too(reopen: Opener) -> None:
    for restart in range(2):
        run = reopen(restart=restart)
        run.__enter__()
        run._lock._stop.set()  # the node dies: no word, no heartbeat
    with pytest.raises(StalledRunError, match="ended without a word"), reopen(restart=2):
        pass


def test_outside_of_a_scheduler_nobody_is_stopped(reopen: Opener) -> None:
    for _ in range(4):
        attempt(reopen(job=""))
    with reopen(job="") as run:
        assert run.attempt == 5


def test_marks_know_names_under_work_and_out(tmp_path: Path) -> None:
    marks = [compute_progress_mark(tmp_path)]
    for name in ("work/a", "out/deep/b"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("")
        marks.append(compute_progress_mark(tmp_path))
    assert len(set(marks)) == 3
    for name in ("work/.hidden", "work/x.tmp", "journal.jsonl"):
        (tmp_path / name).write_text("")
    assert compute_progress_mark(tmp_path) == marks[-1]
