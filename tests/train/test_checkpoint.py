"""A checkpoint is whole, or the one before it is used."""

import logging
from pathlib import Path

import pytest
import torch

from vills.train.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint


def _save(folder: Path, step: int) -> None:
    state = {"step": step, "student": {"w": torch.full((3,), float(step))}, "name": "x"}
    save_checkpoint(folder, state, step=step, guard=lambda: None)


def test_none_without_checkpoints(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None


def test_newest_comes_back_and_two_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        _save(tmp_path, step)
    state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 10
    assert torch.equal(state["student"]["w"], torch.full((3,), 10.0))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [
        "step-00000002.pt",
        "step-00000002.pt.seal",
        "step-00000010.pt",
        "step-00000010.pt.seal",
    ]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no digest"])
def test_torn_checkpoint_falls_back_to_the_older_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    newest = list_checkpoints(tmp_path)[0]
    content = newest.read_bytes()
    if damage == "truncated":
        newest.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        newest.with_name(newest.name + ".seal").unlink()
    with caplog.at_level(logging.WARNING):
        state = load_checkpoint(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert "step-00000002.pt is damaged" in caplog.text


def test_killed_at_any_moment_no_file_lacks_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[str] = []
    replace = Path.replace

    def note(self: Path, target: Path) -> Path:
        named.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", note)
    _save(tmp_path, 1)
    assert named == ["step-00000001.pt.seal", "step-00000001.pt"]
    (tmp_path / "step-00000001.pt").unlink()
    assert load_checkpoint(tmp_path) is None


def test_all_damaged_begin_anew_are_kept_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _save(tmp_path, 1)
    _save(tmp_path, 2)
    for path in list_checkpoints(tmp_path):
        path.write_bytes(b"")
    for said in (1, 0):
        caplog.clear()
        assert load_checkpoint(tmp_path) is None
        assert caplog.text.count("this training begins anew") == said
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["step-00000001.pt.damaged", "step-00000002.pt.damaged"]


def test_an_attempt_that_lost_the_run_commits_nothing(tmp_path: Path) -> None:
    def guard() -> None:
        raise RuntimeError("another attempt owns this run")

    with pytest.raises(RuntimeError, match="another attempt"):
        save_checkpoint(tmp_path, {"step": 1}, step=1, guard=guard)
    assert list(tmp_path.iterdir()) == []
