import itertools
import math
import time
from pathlib import Path

import pytest

from vills.runner.store.journal import Journal, load_journal


def log_steps(journal: Journal, steps: range, scale: float = 1.0) -> None:
    for step in steps:
        journal.log(step, {"loss": scale * step})


def read_steps(path: Path, *, pending: bool = False) -> list[int]:
    content = load_journal(path)
    return [record.step for record in (content.pending if pending else content.committed)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def test_what_is_logged_is_read_back(path: Path) -> None:
    journal = Journal(path)
    journal.log(3, {"loss": 0.1, "bad": math.nan, "worse": -math.inf}, context="train")
    journal.log(3, {"mAP": 1})
    journal.mark_checkpoint(3)
    first, second = load_journal(path).committed
    assert (first.step, first.metrics["train/loss"], second.metrics) == (3, 0.1, {"mAP": 1.0})
    assert math.isnan(first.metrics["train/bad"])
    assert first.metrics["train/worse"] == -math.inf


def test_times_are_kept_and_strictly_increase(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000_000)
    journal = Journal(path)
    log_steps(journal, range(3))
    journal.mark_checkpoint(2)
    assert [record.time_ms for record in load_journal(path).committed] == [5000, 5001, 5002]
    resumed = Journal(path)
    resumed.rewind(2)
    log_steps(resumed, range(3, 4))
    assert load_journal(path).pending[0].time_ms == 5003


def test_records_behind_the_last_mark_are_pending(path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 3))
    journal.mark_checkpoint(2)
    log_steps(journal, range(3, 5))
    assert read_steps(path) == [1, 2]
    assert read_steps(path, pending=True) == [3, 4]


def test_a_torn_last_line_is_left_out_and_the_next_writer_goes_on(path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 3))
    journal.mark_checkpoint(2)
    whole = path.read_bytes()
    for cut in range(1, len(b'{"checkpoint":2}\n') + 1):
        path.write_bytes(whole[:-cut])
        assert read_steps(path, pending=True) == [1, 2]
        resumed = Journal(path)
        resumed.rewind(2)
        log_steps(resumed, range(3, 4))
        assert read_steps(path, pending=True) == [1, 2, 3]


def test_a_damaged_line_is_named(path: Path) -> None:
    log_steps(Journal(path), range(3))
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"st'))
    with pytest.raises(ValueError, match=r"journal.jsonl, line 2 is damaged"):
        load_journal(path)


def test_resume_drops_what_no_checkpoint_holds(path: Path) -> None:
    journal = Journal(path)
    for step in (2, 4):
        log_steps(journal, range(step - 1, step + 1))
        journal.mark_checkpoint(step)
    log_steps(journal, range(5, 8))
    resumed = Journal(path)
    resumed.rewind(4)
    log_steps(resumed, range(5, 7), scale=10)
    resumed.mark_checkpoint(6)
    content = load_journal(path)
    assert [record.step for record in content.committed] == [1, 2, 3, 4, 5, 6]
    assert content.committed[-1].metrics == {"loss": 60.0}
    assert content.generation == 0


def test_killed_between_checkpoint_and_mark(path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 5))
    resumed = Journal(path)
    resumed.rewind(4)
    resumed.mark_checkpoint(4)
    assert read_steps(path) == [1, 2, 3, 4]


def test_taking_back_committed_records_makes_a_generation(path: Path) -> None:
    journal = Journal(path)
    for step in (2, 4):
        log_steps(journal, range(step - 1, step + 1))
        journal.mark_checkpoint(step)
    for generation in (1, 2):  # the checkpoint of step 4 turned out damaged
        resumed = Journal(path)
        resumed.rewind(2)
        assert load_journal(path).generation == generation
        log_steps(resumed, range(3, 5))
        resumed.mark_checkpoint(4)
        assert read_steps(path) == [1, 2, 3, 4]


def test_logging_without_rewind_starts_anew(path: Path) -> None:
    log_steps(Journal(path), range(5))
    log_steps(Journal(path), range(2))
    assert read_steps(path, pending=True) == [0, 1]
    assert load_journal(path).generation == 0
    Journal(path).mark_finished()
    assert read_steps(path) == [0, 1]
    log_steps(Journal(path), range(2))
    assert load_journal(path).generation == 1


def test_an_orphan_writes_into_nothing(path: Path) -> None:
    orphan = Journal(path)
    log_steps(orphan, range(1, 3))
    orphan.mark_checkpoint(2)
    resumed = Journal(path)
    resumed.rewind(2)
    log_steps(orphan, range(3, 9), scale=100)
    orphan.mark_checkpoint(8)
    log_steps(resumed, range(3, 4))
    resumed.mark_checkpoint(3)
    assert read_steps(path) == [1, 2, 3]


def test_finishing_commits_everything_once_and_needs_no_metrics(path: Path) -> None:
    Journal(path).mark_finished()
    assert not path.exists()
    journal = Journal(path)
    log_steps(journal, range(1, 4))
    journal.mark_finished()
    assert read_steps(path) == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "context"), list(itertools.product(["mAP@10", "", "a%"], [""])) + [("ok", "b[0]")]
)
def test_names_that_mlflow_refuses_are_refused_at_once(path: Path, name: str, context: str) -> None:
    with pytest.raises(ValueError, match="is not allowed. Allowed: letters"):
        Journal(path).log(0, {name: 1.0}, context=context)
