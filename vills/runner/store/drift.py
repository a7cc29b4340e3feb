"""Drift: what changed between the start of a run and its end.

DVC hashes a stage's dependencies AFTER the stage ran. Had they changed in between, dvc.lock would
say that the new code made the old output.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.digest import DigestCache, compute_digest
from vills.runner.store.errors import DriftError, RunError
from vills.runner.store.fingerprint import find_differences
from vills.runner.store.receipt import Receipt


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
