"""The receipt: what a run was made from, written before it starts; and what changed since (drift).

DVC hashes a stage's dependencies AFTER the stage ran. Had they changed in between, dvc.lock would
say that the new code made the old output.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vills.io import load_json, save_json
from vills.runner.store.code_digest import CodeState, compute_code_state
from vills.runner.store.digest import DigestCache, compute_digest
from vills.runner.store.errors import DriftError, RunError
from vills.runner.store.fingerprint import compute_canonical, compute_fingerprint, find_differences
from vills.runner.store.machine import collect_git, collect_machine, collect_packages


@dataclass(frozen=True)
class Receipt:
    """Everything that a number can be traced back to."""

    stage: str
    """DVC stage."""
    item: str
    """Data set of a stage that runs once per data set, else empty."""
    fingerprint: str
    """Identity: sha256 over stage, item, params, inputs, code."""
    params: dict[str, Any]
    """Resolved parameters."""
    inputs: dict[str, dict[str, str]]
    """`path` and content `digest` of each input, by its logical name."""
    code: dict[str, Any]
    """`module`, `digest`, and `files`: the digest of each file of the import closure."""
    git: dict[str, Any]
    """`commit`, `dirty`, `diff_digest` of the checkout; dvc.lock does not make it dirty."""
    packages: dict[str, str]
    """Version of every installed distribution."""
    machine: dict[str, Any]
    """Host, Python, processors and threads of the first attempt."""
    created: str
    """UTC, ISO 8601."""
    execution: str
    """Random; tells apart two clones that compute the same fingerprint. No part of it."""
    operation: dict[str, Any] = field(default_factory=dict)
    """How the first attempt worked on it (section operation of params.yaml). No part of it."""

    @property
    def name(self) -> str:
        """`stage` or `stage@item`, as DVC writes it."""
        return f"{self.stage}@{self.item}" if self.item else self.stage


def build_receipt(
    stage: str,
    *,
    item: str,
    params: dict[str, Any],
    inputs: dict[str, tuple[Path, str]],
    module: str,
    code: CodeState,
    operation: Mapping[str, Any],
) -> Receipt:
    """Take the receipt of a run that is about to start."""
    return Receipt(
        stage=stage,
        item=item,
        fingerprint=compute_fingerprint(
            stage,
            item=item,
            params=params,
            inputs={name: digest for name, (_, digest) in inputs.items()},
            code=code.digest,
        ),
        params=compute_canonical(params),
        inputs={name: {"path": str(path), "digest": d} for name, (path, d) in inputs.items()},
        code={"module": module, "digest": code.digest, "files": code.files},
        git={},
        packages={},
        machine={},
        created="",
        execution="",
        operation=compute_canonical(operation),
    )


def save_receipt(path: Path, receipt: Receipt, *, checkout: Path) -> Receipt:
    """Add git, versions and machine to `receipt`, and write it."""
    full = Receipt(
        **{
            **asdict(receipt),
            "git": collect_git(checkout),
            "packages": collect_packages(),
            "machine": collect_machine(),
            "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "execution": uuid.uuid4().hex,
        }
    )
    save_json(path, asdict(full))
    return full


def load_receipt(path: Path) -> Receipt:
    """Read a receipt.

    Raises:
        ValueError: naming the file, when it is none.
    """
    try:
        return Receipt(**load_json(path))
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no receipt ({error}). What to do: remove it.") from error


def find_param_drift(receipt: Receipt, params: Mapping[str, Any]) -> list[str]:
    """List parameters that are not the receipt's."""
    lines = find_differences(receipt.params, params)
    return [f"params.yaml changed while the stage ran: {line}" for line in lines]


def find_code_drift(receipt: Receipt) -> list[str]:
    """List files whose code (not comments) is not the receipt's."""
    now = compute_code_state(receipt.code["module"])
    if now.digest == receipt.code["digest"]:
        return []
    before: dict[str, str] = receipt.code["files"]
    names = sorted(
        name for name in {*before, *now.files} if before.get(name) != now.files.get(name)
    )
    return [f"code changed while the stage ran: {name}" for name in names]


def find_input_drift(receipt: Receipt, inputs: Mapping[str, Path], cache: DigestCache) -> list[str]:
    """List inputs whose content is not the receipt's."""
    lines = []
    for name, path in inputs.items():
        try:
            digest = compute_digest(path, cache)
        except RunError:
            lines.append(f"input {name} vanished while the stage ran: {path}")
            continue
        if digest != receipt.inputs[name]["digest"]:
            lines.append(f"input {name} changed while the stage ran: {path}")
    return lines


def refuse_drift(
    label: str,
    receipt: Receipt,
    *,
    inputs: Mapping[str, Path],
    cache: DigestCache,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Refuse a run whose inputs, code or (if given) parameters are not the receipt's any more.

    Raises:
        DriftError: naming what changed.
    """
    changed = [
        *(find_param_drift(receipt, params) if params is not None else []),
        *find_input_drift(receipt, inputs, cache),
        *find_code_drift(receipt),
    ]
    if changed:
        raise DriftError(_say(label, changed))


def _say(label: str, changed: list[str]) -> str:
    lines = "\n  ".join(changed)
    return (
        f"{label} cannot be handed to DVC, which would record the new state as the one that made "
        f"the output:\n  {lines}\nWhat to do: give the same command again (for the new state), or "
        "undo the change first (this run is kept and is then used as it is)."
    )
