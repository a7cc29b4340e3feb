"""The journal: every metric of a run, on local disk first, with its time fixed at creation.

One JSON object per line, either a record

    {"time_ms": 1700000000000, "step": 10, "context": "", "metrics": {"loss": 1.5}, "chain": "..."}

or a checkpoint mark `{"checkpoint": 10, ...}`: everything above it belongs to a checkpoint that is
on disk and will never be taken back. A tracker is told no more than that, because MLflow cannot
withdraw a point and doubles a point that comes again with another time. A first line
`{"generation": 1, ...}` says that marked lines were taken back after all (the newest checkpoint was
damaged): what the tracker holds is then thrown away as a whole.

Its lines are chained (`vills.chain`), the first to the name of the run's folder. Every checkpoint
holds the journal up to it (`render_commit`), and a resume restores it from there: file and
checkpoint cannot differ, whatever became of the file or did not reach the disk.
"""

import json
import logging
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from vills.chain import ChainedLines, encode_lines, load_lines
from vills.errors import InputError
from vills.io import save_bytes
from vills.refusals import NO_SPACE, describe_full_disk

NAME = re.compile(r"[\w\-. :/]+", re.ASCII)
"""What MLflow accepts as the name of a metric."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """Metrics of one step."""

    time_ms: int
    """Unix time in ms; strictly increasing within a journal."""
    step: int
    """Step (or epoch) that the metrics belong to."""
    metrics: dict[str, float]
    """Values by full name: `context/name`, or the bare name without a context."""


@dataclass(frozen=True, slots=True)
class JournalContent:
    """What a journal holds."""

    generation: int
    """How often committed lines were taken back."""
    committed: tuple[JournalRecord, ...]
    """Records up to the last checkpoint mark."""
    pending: tuple[JournalRecord, ...]
    """Records after it; a resume may drop them."""


class Journal:
    """Append-only metrics of a run.

    A writer first says where it goes on with `restore`; the first `log` without it starts the
    journal anew, which is right for a stage that starts from nothing. `render_commit(step)` is for
    the checkpoint; call `mark_checkpoint(step)` AFTER the checkpoint is on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._bodies: list[str] = []
        self._chain = ""
        self._last_ms = 0
        self._last_step = 0

    def log(self, step: int, metrics: Mapping[str, float], *, context: str = "") -> None:
        """Append one record; a `kill -9` right afterwards does not lose it.

        Raises:
            ValueError: when a name has characters that MLflow refuses.
            DiskFullError: when the disk is full.
        """
        for name in (*metrics, *([context] if context else [])):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"metric name {name!r} is not allowed. Allowed: letters, digits, _-. :/ "
                    "What to do: rename it."
                )
        self._open()
        self._last_ms = max(time.time_ns() // 1_000_000, self._last_ms + 1)
        self._last_step = step
        values = {name: float(value) for name, value in metrics.items()}
        # JSON has no nan or inf; float() reads these spellings back.
        plain = {name: v if math.isfinite(v) else str(v) for name, v in values.items()}
        line = {"time_ms": self._last_ms, "step": step, "context": context, "metrics": plain}
        self._append(line)

    def render_commit(self, step: int) -> str:
        """Return all that `restore` needs to go on from the checkpoint of `step`."""
        self._open()
        return "\n".join([*self._bodies, _dump({"checkpoint": step})])

    def mark_checkpoint(self, step: int) -> None:
        """Commit everything above to the checkpoint of `step`, and fsync."""
        self._append({"checkpoint": step})
        os.fsync(self._open().fileno())

    def mark_finished(self) -> str:
        """Commit everything: the run has ended well. A journal that was never begun stays so.

        Returns:
            `chain` of the last line, for `load_journal`; empty without a journal.
        """
        if self._file is None and self.path.exists():
            self._reopen(_load_whole(self.path))
        if self._file is not None:
            self.mark_checkpoint(self._last_step)
        return self._chain

    def restore(self, text: str) -> None:
        """Go on from what a checkpoint holds (`render_commit`), or start anew without any."""
        kept = [json.loads(body) for body in text.splitlines()]
        found, num_rows, _, problem = _load(self.path)
        if not problem and len(found) + 1 < len(kept):  # its last mark alone: killed before it
            problem = f"{len(kept) - len(found)} lines are missing"
        if problem:
            how = "restored from the checkpoint" if kept else "begun anew"
            _log.warning("%s: %s; it is %s", self.path, problem, how)
        generation = max(_get_generation(kept), _get_generation(found))
        told = _select_records(_select_committed(found))
        # of what is damaged nobody knows whether a tracker was told of it
        if _select_records(kept)[: len(told)] != told or (problem and num_rows > len(kept) + 1):
            generation += 1
        kept = [line for line in kept if "generation" not in line]
        self._reopen([{"generation": generation}, *kept] if generation else kept)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self, lines: list[dict[str, Any]]) -> None:
        # The file is REPLACED even when nothing was dropped: an orphan of a killed parent that
        # still holds the old file appends to an unlinked inode, where it harms nobody.
        self.close()
        self._bodies = [*map(_dump, lines)]
        rows, self._chain = encode_lines(self._bodies, after=self.path.parent.name)
        save_bytes(self.path, rows)
        self._last_ms = max((line["time_ms"] for line in lines if "time_ms" in line), default=0)
        self._last_step = max(map(_get_step, lines), default=0)
        # Unbuffered, so that one record is one write(2): whole in the file or torn at its end.
        self._file = FileIO(self.path, "a")

    def _open(self) -> FileIO:
        if self._file is None:
            self.restore("")
        assert self._file is not None
        return self._file

    def _append(self, line: dict[str, Any]) -> None:
        file, body = self._open(), _dump(line)
        data, chain = encode_lines([body], after=self._chain)
        try:
            written = file.write(data)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise describe_full_disk(self.path) from error
            raise
        if written != len(data):
            raise describe_full_disk(self.path)
        self._bodies.append(body)
        self._chain = chain


def load_journal(path: Path, *, end: str = "") -> JournalContent:
    """Read a journal, also one that is being written; a torn last line is left out.

    Args:
        path: The file; without one the journal is empty.
        end: `chain` of its last line, if the run has ended.

    Raises:
        InputError: naming file and line, when a line before the last is damaged.
    """
    lines = _load_whole(path, end=end)
    committed = _select_committed(lines)
    told, pending = (
        tuple(_build_record(line) for line in _select_records(part))
        for part in (committed, lines[len(committed) :])
    )
    return JournalContent(_get_generation(lines), told, pending)


def _load_whole(path: Path, *, end: str = "") -> list[dict[str, Any]]:
    held = _load(path)
    is_other = not held.problem and end not in ("", held.chain)
    if problem := "it has another end than the run's" if is_other else held.problem:
        raise InputError(
            f"{path}: {problem}. What to do: give the command of the run again, which restores it "
            "from work/checkpoints; if the run is finished, remove its result.json first. Without "
            "checkpoints there its curves are lost, but no output."
        )
    return held.lines


def _load(path: Path) -> ChainedLines:
    return load_lines(path, word=path.parent.name, kinds=("metrics", "checkpoint", "generation"))


def _select_committed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    marks = [number for number, line in enumerate(lines, start=1) if "checkpoint" in line]
    return lines[: max(marks, default=0)]


def _select_records(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if "metrics" in line]


def _get_generation(lines: list[dict[str, Any]]) -> int:
    return int(lines[0].get("generation", 0)) if lines else 0


def _get_step(line: dict[str, Any]) -> int:
    return int(line.get("step", line.get("checkpoint", 0)))


def _build_record(line: dict[str, Any]) -> JournalRecord:
    prefix = f"{line['context']}/" if line.get("context") else ""
    metrics = {f"{prefix}{name}": float(value) for name, value in line["metrics"].items()}
    return JournalRecord(int(line["time_ms"]), int(line["step"]), metrics)


def _dump(line: dict[str, Any]) -> str:
    return json.dumps(line, separators=(",", ":"))
