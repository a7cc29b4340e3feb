"""The journal: every metric of a run, on local disk first, with its time fixed at creation.

One JSON object per line, either a record

    {"time_ms": 1700000000000, "step": 10, "context": "", "metrics": {"loss": 1.5}}

or a checkpoint mark `{"checkpoint": 10}`: everything above it belongs to a checkpoint that is on
disk and will never be taken back. A tracker is told no more than that, because MLflow cannot
withdraw a point and doubles a point that comes again with another time. A first line
`{"generation": 1}` says that marked lines were taken back after all (the newest checkpoint was
damaged): what the tracker holds is then thrown away as a whole.

`save_curves` writes them as CSV for DVC's plots and the report: no time stands in it.
"""

import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from vills.errors import InputError
from vills.io import NO_SPACE, describe_full_disk, save_bytes

NAME = re.compile(r"[\w\-. :/]+", re.ASCII)
"""What MLflow accepts as the name of a metric."""


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

    A writer first says where it goes on with `rewind(step)`; the first `log` without it starts the
    journal anew, which is right for a stage that starts from nothing. Call `mark_checkpoint(step)`
    AFTER the checkpoint is on disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
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

    def mark_checkpoint(self, step: int) -> None:
        """Commit everything above to the checkpoint of `step`, and fsync."""
        self._append({"checkpoint": step})
        os.fsync(self._open().fileno())

    def mark_finished(self) -> None:
        """Commit everything: the run has ended well. A journal that was never begun stays so."""
        if self._file is None and self.path.exists():
            self._reopen(_read_lines(self.path))
        if self._file is not None:
            self.mark_checkpoint(self._last_step)

    def rewind(self, step: int) -> None:
        """Go on from the checkpoint of `step`; 0 without such a mark starts anew, -1 in any case.

        Records behind that mark are dropped. Without a mark (killed between checkpoint and mark)
        records of later steps are dropped.
        """
        lines = _read_lines(self.path)
        marks = [i for i, line in enumerate(lines) if "checkpoint" in line]
        own = [i for i in marks if lines[i]["checkpoint"] == step]
        if own:
            kept = lines[: own[-1] + 1]
        elif step <= 0:
            kept = [line for line in lines if "generation" in line]
        else:
            kept = [line for line in lines if _get_step(line) <= step]
        if marks and marks[-1] >= len(kept) and len(kept) < len(lines):
            rest = [line for line in kept if "generation" not in line]
            kept = [{"generation": _get_generation(kept) + 1}, *rest]
        self._reopen(kept)

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _reopen(self, lines: list[dict[str, Any]]) -> None:
        # The file is REPLACED even when nothing was dropped: an orphan of a killed parent that
        # still holds the old file appends to an unlinked inode, where it harms nobody.
        self.close()
        save_bytes(self.path, b"".join(_dump(line) for line in lines))
        self._last_ms = max((line["time_ms"] for line in lines if "time_ms" in line), default=0)
        self._last_step = max((_get_step(line) for line in lines), default=0)
        # Unbuffered, so that one record is one write(2): whole in the file or torn at its end.
        self._file = FileIO(self.path, "a")

    def _open(self) -> FileIO:
        if self._file is None:
            self.rewind(-1)
        assert self._file is not None
        return self._file

    def _append(self, line: dict[str, Any]) -> None:
        data = _dump(line)
        try:
            written = self._open().write(data)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise describe_full_disk(self.path) from error
            raise
        if written != len(data):
            raise describe_full_disk(self.path)


def load_journal(path: Path) -> JournalContent:
    """Read a journal, also one that is being written; a torn last line is left out.

    Raises:
        InputError: naming file and line, when a line before the last is damaged.
    """
    lines = _read_lines(path)
    border = max((i for i, line in enumerate(lines) if "checkpoint" in line), default=0)
    committed, pending = (
        tuple(_build_record(line) for line in part if "metrics" in line)
        for part in (lines[:border], lines[border:])
    )
    return JournalContent(_get_generation(lines), committed, pending)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    rows = path.read_bytes().split(b"\n")
    for number, row in enumerate(rows[:-1], start=1):  # the last piece has no line end: torn
        try:
            lines.append(json.loads(row))
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is damaged ({error}). What to do: remove the file; then "
                "the curves of this run are lost, but not the run itself."
            ) from error
    return lines


def _get_generation(lines: list[dict[str, Any]]) -> int:
    return int(lines[0].get("generation", 0)) if lines else 0


def _get_step(line: dict[str, Any]) -> int:
    return int(line.get("step", line.get("checkpoint", 0)))


def _build_record(line: dict[str, Any]) -> JournalRecord:
    prefix = f"{line['context']}/" if line.get("context") else ""
    metrics = {f"{prefix}{name}": float(value) for name, value in line["metrics"].items()}
    return JournalRecord(int(line["time_ms"]), int(line["step"]), metrics)


def _dump(line: dict[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def save_curves(path: Path, journal: Journal) -> None:
    """Write a row per step and a column per metric; empty where a metric was not measured."""
    content = load_journal(journal.path)
    steps: dict[int, dict[str, float]] = {}
    for record in (*content.committed, *content.pending):
        steps.setdefault(record.step, {}).update(record.metrics)
    columns = sorted({name for metrics in steps.values() for name in metrics})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **metrics} for step, metrics in sorted(steps.items()))
    save_bytes(path, text.getvalue().encode())


def load_curves(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Read `save_curves`: metric -> (steps, values)."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = float(row.pop("step"))
            for name, value in row.items():
                if value:
                    steps, values = curves.setdefault(name, ([], []))
                    steps.append(step)
                    values.append(float(value))
    return curves
