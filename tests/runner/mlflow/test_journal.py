import itertools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vills.errors import InputError
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
    held = journal.render_commit(2)
    journal.mark_checkpoint(2)
    assert [record.time_ms for record in load_journal(path).committed] == [5000, 5001, 5002]
    resumed = Journal(path)
    resumed.restore(held)
    log_steps(resumed, range(3, 4))
    assert load_journal(path).pending[0].time_ms == 5003


def test_records_behind_the_last_mark_are_pending(path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 3))
    journal.mark_checkpoint(2)
    log_steps(journal, range(3, 5))
    assert read_steps(path) == [1, 2]
    assert read_steps(path, pending=True) == [3, 4]


def test_a_torn_last_line_is_left_out(path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 3))
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1]) + 1):
        path.write_bytes(whole[:-cut])
        assert read_steps(path, pending=True) == [1]


def test_resume_drops_what_no_checkpoint_holds(path: Path) -> None:
    journal = Journal(path)
    for step in (2, 4):
        log_steps(journal, range(step - 1, step + 1))
        held = journal.render_commit(step)
        journal.mark_checkpoint(step)
    log_steps(journal, range(5, 8))
    resumed = Journal(path)
    resumed.restore(held)
    log_steps(resumed, range(5, 7), scale=10)
    resumed.mark_checkpoint(6)
    content = load_journal(path)
    assert [record.step for record in content.committed] == [1, 2, 3, 4, 5, 6]
    assert content.committed[-1].metrics == {"loss": 60.0}
    assert content.generation == 0


def test_killed_between_checkpoint_and_mark(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 5))
    held = journal.render_commit(4)
    Journal(path).restore(held)
    assert read_steps(path) == [1, 2, 3, 4]
    assert not caplog.messages


def flip(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "emptied": (lambda data: b"", "6 lines are missing"),
    "ends before its checkpoint": (lambda data: data[:230], "lines are missing"),
    "another digit": (lambda data: flip(data, b'"loss":2.0', b'"loss":3.0'), "line 2 is damaged"),
    "another step": (lambda data: flip(data, b'"step":2', b'"step":7'), "line 2 is damaged"),
    "a line less": (lambda data: b"".join(data.splitlines(True)[::2]), "line 2 is damaged"),
    "a line twice": (lambda data: data.splitlines(True)[0] + data, "line 2 is damaged"),
    "garbage between": (lambda data: data.replace(b"\n", b"\n\xff\x00{\n", 1), "line 2 is damaged"),
    "garbage": (lambda data: b"\xff\xfe" * 400 + b"\n", "line 1 is damaged"),
    "zeros after a crash": (lambda data: data[:200] + bytes(4096) + b"\n", "line 2 is damaged"),
    "a digest less": (lambda data: flip(data, data.split(b'"chain":"')[1][:32], b""), "line 1 is"),
    "a flipped key": (lambda data: data.replace(b"chain", b"chbin", 1), "line 1 is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_whatever_became_of_the_file_a_resume_has_every_line(
    path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage, says = DAMAGES[name]
    journal = Journal(path)
    for step in (2, 4):
        log_steps(journal, range(step - 1, step + 1))
        held = journal.render_commit(step)
        journal.mark_checkpoint(step)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    if "missing" not in says:
        with pytest.raises(InputError, match=rf"journal.jsonl: {says}.*What to do"):
            load_journal(path)
    Journal(path).restore(held)
    assert path.read_bytes() == whole
    assert says in caplog.text
    assert "restored from the checkpoint" in caplog.text


def test_the_journal_of_another_run_is_none(path: Path, tmp_path: Path) -> None:
    journal = Journal(path)
    log_steps(journal, range(1, 3))
    other = tmp_path / "other" / "journal.jsonl"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="line 1 is damaged"):
        load_journal(other)
    end = journal.mark_finished()
    assert read_steps(path) == [record.step for record in load_journal(path, end=end).committed]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(InputError, match="another end than the run's"):
        load_journal(path, end=end)


def test_a_journal_of_an_earlier_version_is_read(path: Path) -> None:
    path.parent.mkdir()
    line = '{"time_ms":1,"step":%d,"context":"","metrics":{"loss":1.5}}\n'
    path.write_text(line % 1 + '{"checkpoint":1}\n' + line % 2)
    assert read_steps(path) == [1]
    assert read_steps(path, pending=True) == [2]
    path.write_text(line % 1 + "{}\n" + line % 2)
    with pytest.raises(InputError, match="line 2 is damaged"):
        load_journal(path)


def test_a_pipe_is_no_journal(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(InputError, match="no regular file"):
        load_journal(path)


def test_taking_back_committed_records_makes_a_generation(path: Path) -> None:
    journal = Journal(path)
    held = {}
    for step in (2, 4):
        log_steps(journal, range(step - 1, step + 1))
        held[step] = journal.render_commit(step)
        journal.mark_checkpoint(step)
    for generation in (1, 2):  # the checkpoint of step 4 turned out damaged
        resumed = Journal(path)
        resumed.restore(held[2])
        assert load_journal(path).generation == generation
        resumed = Journal(path)  # killed before anything is committed anew
        resumed.restore(held[2])
        assert load_journal(path).generation == generation
        log_steps(resumed, range(3, 5))
        resumed.mark_checkpoint(4)
        assert read_steps(path) == [1, 2, 3, 4]
    path.write_bytes(path.read_bytes().replace(b"4.0", b"5.0"))  # and the journal's end as well
    Journal(path).restore(held[2])
    assert (load_journal(path).generation, read_steps(path)) == (3, [1, 2])


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
    held = orphan.render_commit(2)
    orphan.mark_checkpoint(2)
    resumed = Journal(path)
    resumed.restore(held)
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
