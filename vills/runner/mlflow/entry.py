"""What a tracker is to show as one run: made from a stage's run, a sweep or a sweep's point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vills.runner.mlflow.provenance import (
    EXECUTION,
    FINGERPRINT,
    build_params,
    build_tags,
    clean_name,
)
from vills.runner.mlflow.run_record import RunRecord
from vills.runner.store.journal import JournalContent

NO_JOURNAL = JournalContent(0, (), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run of the tracker."""

    name: str
    """For people."""
    identity: Mapping[str, str]
    """Tags by which it is found again; its name never is."""
    edition: str = ""
    """Which curves it shows: two editions are never mixed, the later replaces the earlier.
    Empty: none yet."""
    tags: Mapping[str, str]
    """All tags; those of the identity are among them."""
    params: Mapping[str, str]
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`path` and `digest` of what it reads."""
    context: str = ""
    """What it reads that for."""
    created_ms: int
    """Unix time in ms."""
    journal: JournalContent = NO_JOURNAL
    """Its curves."""
    is_final: bool = False
    """Whether no resume can take back the journal's last records."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores, of step 0."""
    scored_ms: int = 0
    """When they were measured."""
    completed: str = ""
    """Mark of scores and artifacts: sent when the tracker holds another. Empty: there are none."""
    artifacts: tuple[tuple[Path, str], ...] = ()
    """Files, and the folder among the artifacts where each goes; empty: their root."""
    status: str
    """MLflow's SCHEDULED, RUNNING, FINISHED, FAILED or KILLED; empty: left as it is."""
    ended_ms: int | None = None
    """When it ended, where that is known."""


def build_run_entry(record: RunRecord) -> Entry:
    """A stage's run."""
    tags = build_tags(record)
    result: Mapping[str, Any] = record.result or {}
    artifacts: list[tuple[Path, str]] = []
    if result:
        own = ("receipt.json", "result.json")
        artifacts += [(record.folder / name, "run") for name in own]
        for name in result["artifacts"]:
            folder = Path(name).parent.as_posix()
            artifacts.append((record.folder / "out" / name, "" if folder == "." else folder))
    return Entry(
        name=record.name,
        identity={FINGERPRINT: tags[FINGERPRINT], EXECUTION: tags[EXECUTION]},
        edition=str(record.journal.generation),
        tags=tags,
        params=build_params(record),
        datasets=record.receipt["inputs"],
        context=record.receipt["stage"],
        created_ms=record.created_ms,
        journal=record.journal,
        is_final=bool(result),
        scores={clean_name(k): float(v) for k, v in result.get("metrics", {}).items()},
        scored_ms=int(result.get("finished_ms", 0)),
        completed=str(result["finished_ms"]) if result else "",
        artifacts=tuple(artifacts),
        status=record.status,
        ended_ms=int(result["finished_ms"]) if result else None,
    )
