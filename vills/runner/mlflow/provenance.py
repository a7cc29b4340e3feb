"""Provenance: what a tracker's run says about where its numbers come from."""

import hashlib
import json
import re
from typing import Any

from vills.runner.mlflow.run_record import RunRecord

FINGERPRINT = "vills.fingerprint"
EXECUTION = "vills.execution"
GENERATION = "vills.generation"
MAX_PARAM = 6000
"""Characters that MLflow keeps of a parameter's value."""


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
    """The run's parameters by dotted names, as text."""
    flat = _flatten(record.receipt["params"], "")
    return {clean_name(name): shorten_param(value) for name, value in flat.items()}


def _flatten(value: Any, prefix: str) -> dict[str, str]:
    if isinstance(value, dict) and value:
        joined: dict[str, str] = {}
        for key, entry in value.items():
            joined |= _flatten(entry, f"{prefix}.{key}" if prefix else key)
        return joined
    return {prefix: value if isinstance(value, str) else json.dumps(value)} if prefix else {}


def shorten_param(text: str) -> str:
    """A parameter's value within MLflow's limit; what is cut off stays in a digest."""
    if len(text) <= MAX_PARAM:
        return text
    mark = f"... sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return text[: MAX_PARAM - len(mark)] + mark


def _say_bool(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
