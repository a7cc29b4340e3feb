"""From a run back to everything that it was made from: runs, commits, data, jobs, GPU-hours.

A receipt names its inputs by content, so a maker is found by what it left, not by where that lay:
the same for a sweep's run, one of `dvc repro`, and one whose outputs were pulled.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.pipeline import STAGES
from vills.runner.plan.registry import compute_part_digest
from vills.runner.store.lock import get_attempt_path, get_end_path, get_last_attempt
from vills.runner.store.machine import DIFF_NAME
from vills.runner.store.result import RESULT_NAME, load_result


@dataclass(frozen=True)
class Attempt:
    """One process (or group of ranks) that worked on a run."""

    number: int
    job: str
    """Id of its job; empty outside a cluster."""
    where: str
    """Nodes or host."""
    hours: float
    ranks: int
    gpus: int
    end: str
    """finished, interrupted, failed, killed, or how else it is known to have ended."""

    @property
    def gpu_hours(self) -> float:
        """Hours times GPUs."""
        return self.hours * self.gpus


@dataclass(frozen=True)
class Ancestor:
    """A run among those that made a number."""

    folder: Path
    receipt: Mapping[str, Any]
    attempts: tuple[Attempt, ...]
    makers: Mapping[str, Path]
    """Input -> folder of the run that made it, as far as it lies here."""

    @property
    def name(self) -> str:
        """`stage@item`."""
        item = self.receipt["item"]
        return f"{self.receipt['stage']}@{item}" if item else str(self.receipt["stage"])

    @property
    def gpu_hours(self) -> float:
        """Over all attempts."""
        return sum(attempt.gpu_hours for attempt in self.attempts)

    @property
    def diff(self) -> Path | None:
        """What was not committed when it ran."""
        path = self.folder / DIFF_NAME
        return path if path.exists() else None


def trace(runs: Path, folder: Path) -> list[Ancestor]:
    """A run and all that it comes from, itself first, each once."""
    index = build_index(runs)
    found: dict[Path, Ancestor] = {}
    todo = [folder.resolve()]
    while todo:
        current = todo.pop(0)
        if current in found:
            continue
        receipt = load_json(current / "receipt.json")
        makers = {
            name: index[entry["digest"]]
            for name, entry in receipt["inputs"].items()
            if entry["digest"] in index
        }
        found[current] = Ancestor(current, receipt, tuple(load_attempts(current)), makers)
        todo += makers.values()
    order = {stage: number for number, stage in enumerate(STAGES)}
    return sorted(found.values(), key=lambda run: -order[run.receipt["stage"]])


def build_index(runs: Path) -> dict[str, Path]:
    """Digest of every part of every complete run's output -> the run's folder."""
    index: dict[str, Path] = {}
    for stage in STAGES:
        for path in sorted((runs / stage).glob(f"*/{RESULT_NAME}")):
            outputs = load_result(path.parent)["outputs"]
            for part in sorted({name.partition("/")[0] for name in outputs}):
                index.setdefault(compute_part_digest(outputs, part), path.parent.resolve())
    return index


def load_attempts(folder: Path) -> Iterator[Attempt]:
    """Who worked on a run, in order."""
    attempts = folder / "attempts"
    for number in range(1, get_last_attempt(attempts) + 1):
        path, end = get_attempt_path(attempts, number), get_end_path(attempts, number)
        if not path.exists():
            continue
        note = load_json(path)
        ended = load_json(end) if end.exists() and end.stat().st_size else {}
        last = float(ended.get("time") or path.stat().st_mtime)  # else its last sign of life
        yield Attempt(
            number=number,
            job=str(note.get("job") or note.get("slurm_job") or ""),
            where=str(note.get("nodes") or note.get("host", "")),
            hours=max(0.0, last - float(note["time"])) / 3600.0,
            ranks=int(note.get("ranks", 1)),
            gpus=int(note.get("gpus", 0)),
            end=str(ended.get("status", "ended without a word, or goes on")),
        )
