"""What a tracker shows as one run: made from a stage's run, a sweep or a sweep's point.

A stage's run is read from its folder: plain files, whoever wrote them, on whatever host. Tags say
where its numbers come from.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.runner.store.journal import JournalContent, load_journal

STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    # it goes on when its job is started again, and MLflow has a word for that
    "interrupted": "SCHEDULED",
}
RECONCILED_NAME = "reconciled.json"
"""What `reconcile` found out about an attempt that ended without a word: `attempt`, `status` (of
MLflow), `reason`. It holds until the next attempt."""
SWEEP, POINT = "vills.sweep", "vills.point"
"""Tags: a parent's name; a child's label."""
FINGERPRINT = "vills.fingerprint"
EXECUTION = "vills.execution"
GENERATION = "vills.generation"
MAX_PARAM = 6000
"""Characters that MLflow keeps of a parameter's value."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is known about a run at one moment."""

    folder: Path
    """The run's folder."""
    receipt: dict[str, Any]
    """What it is made from."""
    result: dict[str, Any] | None
    """Outputs and scores; None while it is not complete."""
    journal: JournalContent
    """Its metrics."""
    attempts: int
    """How many processes have worked on it."""
    status: str
    """MLflow's RUNNING, SCHEDULED, FINISHED, FAILED or KILLED. After `kill -9` it stays RUNNING:
    nobody is left to say otherwise but `reconcile`, and the next attempt goes on with it."""

    @property
    def created_ms(self) -> int:
        """Unix time of the receipt in ms."""
        return round(datetime.fromisoformat(self.receipt["created"]).timestamp() * 1000)

    @property
    def name(self) -> str:
        """`stage` or `stage@item`, and the fingerprint's head."""
        item = f"@{self.receipt['item']}" if self.receipt["item"] else ""
        return f"{self.receipt['stage']}{item} {self.receipt['fingerprint'][:8]}"


def load_run_record(folder: Path) -> RunRecord | None:
    """Read a run's folder; None before it has a receipt."""
    if not (folder / "receipt.json").exists():
        return None
    # The result first: once it is there, the journal does not grow any more.
    result = load_json(folder / "result.json") if (folder / "result.json").exists() else None
    attempts = sorted(
        path for path in (folder / "attempts").glob("*.json") if not path.name.endswith("end.json")
    )
    return RunRecord(
        folder=folder,
        receipt=load_json(folder / "receipt.json"),
        result=result,
        journal=load_journal(folder / "journal.jsonl"),
        attempts=len(attempts),
        status="FINISHED" if result else _read_status(folder, attempts),
    )


def _read_status(folder: Path, attempts: list[Path]) -> str:
    noted = folder / RECONCILED_NAME
    if attempts and noted.exists():
        content = load_json(noted)
        if content["attempt"] == int(attempts[-1].stem):
            return str(content["status"])
    end = attempts[-1].with_suffix(".end.json") if attempts else None
    if end is None or not end.exists():
        return "RUNNING"
    return STATUS.get(load_json(end).get("status", ""), "FAILED")


def clean_name(name: str) -> str:
    """Spell a name with the characters that MLflow accepts: `image->video` has none."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def build_identity_tags(record: RunRecord) -> dict[str, str]:
    """Tags by which a run is found again; a name never is.

    Two clones that compute the same fingerprint are two executions, each with its own times.
    """
    return {
        FINGERPRINT: record.receipt["fingerprint"],
        EXECUTION: record.receipt["execution"],
        GENERATION: str(record.journal.generation),
    }


def build_tags(record: RunRecord) -> dict[str, str]:
    """Tags with everything that made the run."""
    receipt = record.receipt
    git = receipt["git"]
    tags = {
        **build_identity_tags(record),
        "vills.stage": receipt["stage"],
        "vills.item": receipt["item"],
        "vills.code": receipt["code"]["digest"],
        "vills.attempts": str(record.attempts),
        "vills.git_commit": git["commit"],
        "vills.git_dirty": _say_bool(git["dirty"]),
        "vills.git_diff": git["diff_digest"],
        "vills.host": receipt["machine"].get("host"),
        "vills.slurm_job": receipt["machine"].get("slurm_job"),
        "mlflow.runName": record.name,
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": f"vills run {record.name.split()[0]}",
        "mlflow.source.git.commit": git["commit"],
    }
    tags |= {f"vills.input.{name}": entry["digest"] for name, entry in receipt["inputs"].items()}
    return {clean_name(name): str(value) for name, value in tags.items() if value not in (None, "")}


def build_params(record: RunRecord) -> dict[str, str]:
    """Return the run's parameters by dotted names, as text; `operation` as it was begun with."""
    kept = {name: record.receipt[name] for name in ("operation",) if record.receipt.get(name)}
    flat = _flatten(record.receipt["params"] | kept, "")
    return {clean_name(name): shorten_param(value) for name, value in flat.items()}


def _flatten(value: Any, prefix: str) -> dict[str, str]:
    if isinstance(value, dict) and value:
        joined: dict[str, str] = {}
        for key, entry in value.items():
            joined |= _flatten(entry, f"{prefix}.{key}" if prefix else key)
        return joined
    return {prefix: value if isinstance(value, str) else json.dumps(value)} if prefix else {}


def shorten_param(text: str) -> str:
    """Return a parameter's value within MLflow's limit; what is cut off stays in a digest."""
    if len(text) <= MAX_PARAM:
        return text
    mark = f"... sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return text[: MAX_PARAM - len(mark)] + mark


def _say_bool(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


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
    run: str = ""
    """Folder of another run whose curves it shows; they are read when it is sent."""
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
    artifacts: Sequence[tuple[str, str]] = ()
    """Files, and the folder among the artifacts where each goes; empty: their root."""
    status: str
    """MLflow's SCHEDULED, RUNNING, FINISHED, FAILED or KILLED; empty: left as it is."""
    ended_ms: int | None = None
    """When it ended, where that is known."""


def build_run_entry(record: RunRecord) -> Entry:
    """Return a stage's run."""
    tags = build_tags(record)
    result: Mapping[str, Any] = record.result or {}
    artifacts: list[tuple[str, str]] = []
    if result:
        own = ("receipt.json", "result.json")
        artifacts += [(str(record.folder / name), "run") for name in own]
        for name in result["artifacts"]:
            folder = Path(name).parent.as_posix()
            artifacts.append((str(record.folder / "out" / name), "" if folder == "." else folder))
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
        artifacts=artifacts,
        status=record.status,
        ended_ms=int(result["finished_ms"]) if result else None,
    )
