"""The leader's word to the other ranks."""

import os
import threading
import time
from pathlib import Path

import pytest

from vills.runner.work import ranks
from vills.runner.work.ranks import Ranks, open_handoff, wait_for_handoff

LEADER, FOLLOWER = Ranks(0, 2, 0, "17-0-0"), Ranks(1, 2, 1, "17-0-0")
WORD = {"complete": False, "folder": "f", "attempt": 1}
DONE = {"complete": True}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "POLL_SECONDS", 0.01)


def test_followers_wait_for_the_word(tmp_path: Path) -> None:
    heard: list[object] = []
    thread = threading.Thread(target=lambda: heard.append(wait_for_handoff(tmp_path, FOLLOWER)))
    thread.start()
    time.sleep(0.05)
    assert heard == []
    with open_handoff(tmp_path, LEADER, WORD):
        thread.join(5)
        assert heard == [WORD]
    assert list((tmp_path / "_groups").iterdir()) == []


def test_the_word_of_another_start_is_not_heard(tmp_path: Path) -> None:
    with (
        open_handoff(tmp_path, Ranks(0, 2, 0, "17-0-1"), DONE),
        open_handoff(tmp_path, LEADER, WORD),
    ):
        assert wait_for_handoff(tmp_path, FOLLOWER) == WORD


def test_a_finished_run_is_announced_for_those_that_come_late(tmp_path: Path) -> None:
    with open_handoff(tmp_path, LEADER, DONE):
        pass
    assert wait_for_handoff(tmp_path, FOLLOWER) == DONE
    assert wait_for_handoff(tmp_path, FOLLOWER) == DONE


def test_old_words_are_cleared_away(tmp_path: Path) -> None:
    for token, age in (("1-0-0", 2 * ranks.OLD_SECONDS), ("2-0-0", 10.0)):
        with open_handoff(tmp_path, Ranks(0, 2, 0, token), DONE):
            pass
        path = tmp_path / "_groups" / f"{token}.json"
        os.utime(path, (time.time() - age, time.time() - age))
    with open_handoff(tmp_path, LEADER, WORD):
        assert sorted(p.stem for p in (tmp_path / "_groups").iterdir()) == ["17-0-0", "2-0-0"]


def test_alone_nothing_is_written(tmp_path: Path) -> None:
    with open_handoff(tmp_path, Ranks(), WORD):
        assert not list(tmp_path.iterdir())


def test_the_word_goes_away_with_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_handoff(tmp_path, LEADER, WORD):
        raise ZeroDivisionError
    assert list((tmp_path / "_groups").iterdir()) == []


def test_a_token_of_the_environment_is_no_path(tmp_path: Path) -> None:
    runs = tmp_path / "a" / "b" / "runs"
    for token in ("../../../x", "/x", "a/b", "x" * 5000):
        with open_handoff(runs, Ranks(0, 2, 0, token), {**DONE, "complete": True}):
            assert wait_for_handoff(runs, Ranks(1, 2, 1, token))["complete"]
    assert not list(tmp_path.glob("*.json"))
    assert len(list((runs / "_groups").iterdir())) == 4
