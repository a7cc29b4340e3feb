"""A run's folder as a tracker reads it: plain files, whoever wrote them, on whatever host."""

from dataclasses import dataclass
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
