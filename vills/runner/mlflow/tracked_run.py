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

from vills.io import find_json, save_own_json
from vills.runner.store.journal import JournalRecord, load_journal
from vills.runner.store.lock import get_end_path, get_last_attempt
from vills.runner.store.receipt import load_receipt
from vills.runner.store.result import load_result

STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
    # it goes on when its job is started again, and MLflow has a word for that
    "interrupted": "SCHEDULED",
}
STAGE, SWEEP, POINT = "vills.stage", "vills.sweep", "vills.point"
"""Tags: a run's stage; a parent's name; a child's label."""
FINGERPRINT, EXECUTION = "vills.fingerprint", "vills.execution"
GENERATION, PARENT = "vills.generation", "mlflow.parentRunId"
MAX_PARAM, MAX_TAG = 6000, 5000
"""Characters that MLflow keeps of a value."""
Artifacts = Sequence[tuple[str, str]]
"""Files, and the folder among a run's artifacts where each goes; empty: their root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedRun:
    """A run of the tracker; plain values, so that another process can be told."""

    name: str
    """For people."""
    identity: Sequence[str]
    """Tags by which it is found again; its name never is."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    created_ms: int
    """Unix time in ms."""
    status: str
    """MLflow's SCHEDULED, RUNNING, FINISHED, FAILED or KILLED; empty: left as it is."""
    edition: str = ""
    """Which curves it shows: two editions are never mixed, the later replaces the earlier.
    Empty: none yet."""
    records: Sequence[JournalRecord] = ()
    """Its curves, as far as a checkpoint holds them: no resume takes them back."""
    folder: str = ""
    """Folder of another run whose curves it shows; they are read when it is sent."""
    datasets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """`path` and `digest` of what it reads."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores, of step 0."""
    artifacts: Artifacts = ()
    completed: str = ""
    """Mark of scores and artifacts: sent when the tracker holds another. Empty: there are none."""
    finished_ms: int = 0
    """When its scores were measured, which is when a finished run ended; 0: not known."""

    def get_identity(self) -> dict[str, str]:
        """Return the tags by which it is found, with their values."""
        return {name: self.tags[name] for name in self.identity}


def load_tracked_run(folder: Path) -> TrackedRun | None:
    """Read a stage's run from its folder; None before it has a receipt.

    Two clones that compute the same fingerprint are two executions, each with its own times.
    """
    if not (folder / "receipt.json").exists():
        return None
    receipt = load_receipt(folder)
    # In this order: a finished run has a result, and with one the journal does not grow any more.
    status = load_status(folder)
    result = load_result(folder)
    journal = load_journal(folder / "journal.jsonl", end=result.get("journal", ""))
    call = receipt["stage"] + (f"@{receipt['item']}" if receipt["item"] else "")
    name = f"{call} {receipt['fingerprint'][:8]}"
    git, machine = receipt["git"], receipt["machine"]
    tags = {
        FINGERPRINT: receipt["fingerprint"],
        EXECUTION: receipt["execution"],
        GENERATION: journal.generation,
        STAGE: receipt["stage"],
        "vills.item": receipt["item"],
        "vills.code": receipt["code"]["digest"],
        "vills.attempts": get_last_attempt(folder / "attempts"),
        "vills.git_commit": git["commit"],
        "vills.git_dirty": git["dirty"],
        "vills.git_diff": git["diff_digest"],
        "vills.git_problem": git.get("problem"),
        "vills.host": machine.get("host"),
        "vills.slurm_job": machine.get("slurm_job"),
        "mlflow.source.git.commit": git["commit"],
        **{f"vills.input.{key}": entry["digest"] for key, entry in receipt["inputs"].items()},
    }
    begun_with = {key: receipt[key] for key in ("operation",) if receipt.get(key)}
    return TrackedRun(
        name=name,
        identity=(FINGERPRINT, EXECUTION),
        tags=build_tags(tags, name=name, source=f"vills run {call}"),
        params=convert_params(list_leaves(receipt["params"] | begun_with)),
        created_ms=round(datetime.fromisoformat(receipt["created"]).timestamp() * 1000),
        status=status,
        edition=str(journal.generation),
        records=journal.committed,
        datasets=receipt["inputs"],
        scores={convert_name(k): float(v) for k, v in result.get("metrics", {}).items()},
        artifacts=_list_artifacts(folder, result),
        completed=str(result.get("finished_ms", "")),
        finished_ms=int(result.get("finished_ms", 0)),
    )


def load_status(folder: Path) -> str:
    """Return MLflow's word for a run.

    After `kill -9` it stays RUNNING: nobody is left to say otherwise but `reconcile`.
    """
    if (folder / "result.json").exists():
        return "FINISHED"
    attempt = get_last_attempt(folder / "attempts")
    noted = folder / "reconciled.json"
    if attempt and (note := find_json(noted)).get("attempt") == attempt:
        return str(note["status"])
    end = get_end_path(folder / "attempts", attempt)
    return STATUS.get(find_json(end).get("status", ""), "FAILED") if end.exists() else "RUNNING"


def save_status(folder: Path, status: str, *, reason: str) -> None:
    """Note what was found out about an attempt that ended without a word; the next forgets it."""
    attempt = get_last_attempt(folder / "attempts")
    note = {"attempt": attempt, "status": status, "reason": reason}
    save_own_json(folder / "reconciled.json", note)


def _list_artifacts(folder: Path, result: Mapping[str, Any]) -> Artifacts:
    places = {folder / "out" / name: str(Path(name).parent) for name in result.get("artifacts", ())}
    if result:
        places |= {folder / name: "run" for name in ("receipt.json", "result.json")}
    return [(str(path), "" if place == "." else place) for path, place in places.items()]


def build_tags(tags: Mapping[str, Any], *, name: str, source: str) -> dict[str, str]:
    """Return tags as MLflow takes them, without the empty ones, and its own of name and source."""
    own = {"mlflow.source.type": "LOCAL", "mlflow.source.name": source, "mlflow.runName": name}
    return {
        convert_name(key): (str(value).lower() if isinstance(value, bool) else str(value))[:MAX_TAG]
        for key, value in {**tags, **own}.items()
        if value not in (None, "")
    }


def convert_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Return parameters as MLflow takes them; what is cut off a long value stays in a digest."""
    cleaned = {}
    for name, value in params.items():
        text = value if isinstance(value, str) else json.dumps(value)
        if len(text) > MAX_PARAM:
            mark = f"... sha256:{hashlib.sha256(text.encode()).hexdigest()}"
            text = text[: MAX_PARAM - len(mark)] + mark
        cleaned[convert_name(name)] = text
    return cleaned


def convert_name(name: str) -> str:
    """Spell a name with the characters that MLflow accepts: `image->video` has none."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)


def list_leaves(tree: Mapping[str, Any], *, separator: str = ".") -> dict[str, Any]:
    """Return a tree's leaves by their paths."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            inner = list_leaves(value, separator=separator)
            leaves |= {f"{key}{separator}{name}": leaf for name, leaf in inner.items()}
        else:
            leaves[key] = value
    return leaves
