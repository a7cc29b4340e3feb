"""The receipt: what a run was made from, and the fingerprint that names it by that.

receipt.json is written before the run starts:

    stage, item     as DVC writes them; the item is the data set of a stage that runs once for each
    fingerprint     one sha256 over stage, item, params, inputs and code, and nothing else
    params          resolved parameters
    inputs          `path` and content `digest` of each input, by its logical name
    code            `module`, `digest`, and `files`: the digest of each file of the import closure
    operation       how the first attempt worked on it (section operation of params.yaml)
    git             `commit`, `dirty` (not by dvc.lock), `diff_digest` of the checkout;
                    `problem`: why git did not say all of it
    packages        version of every installed distribution
    machine         host, Python, processors, threads, rounding, of the first attempt
    created         UTC, ISO 8601
    execution       random; tells apart two clones that compute the same fingerprint
"""

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vills.errors import InputError
from vills.io import load_json
from vills.runner.store.code_digest import CodeState
from vills.runner.store.machine import describe_machine, list_packages

RECEIPT_NAME = "receipt.json"
_KEYS = ("stage", "item", "params", "inputs", "code", "git", "machine", "created", "execution")


def load_receipt(folder: Path) -> dict[str, Any]:
    """Load the receipt of the run in a folder.

    Raises:
        InputError: see `load_run_file`.
    """
    return load_run_file(folder / RECEIPT_NAME, *_KEYS)


def load_run_file(path: Path, *keys: str) -> dict[str, Any]:
    """Load a file of the run in whose folder it lies.

    Raises:
        InputError: if it is damaged, lacks one of the keys, or is of another run.
    """
    remedy = "give the command of this run again: it makes anew what is damaged"
    content = load_json(path, "fingerprint", *keys, remedy=remedy)
    if content["fingerprint"] != path.parent.name:
        raise InputError(f"{path} is of another run. What to do: {remedy}.")
    return content


def build_receipt(
    stage: str,
    *,
    item: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, tuple[Path, str]],
    module: str,
    code: CodeState,
    operation: Mapping[str, Any],
) -> dict[str, Any]:
    """Take the receipt of a run that is about to start, as far as the machine has no part in it."""
    digests = {name: digest for name, (_, digest) in inputs.items()}
    return {
        "stage": stage,
        "item": item,
        "fingerprint": compute_fingerprint(
            stage, item=item, params=params, inputs=digests, code=code.digest
        ),
        "params": compute_canonical(params),
        "inputs": {name: {"path": str(path), "digest": d} for name, (path, d) in inputs.items()},
        "code": {"module": module, **asdict(code)},
        "operation": compute_canonical(operation),
    }


def build_start(git: Mapping[str, Any]) -> dict[str, Any]:
    """Take the rest: where and when the run starts."""
    return {
        "git": git,
        "packages": list_packages(),
        "machine": describe_machine(),
        "created": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "execution": uuid.uuid4().hex,
    }


def compute_fingerprint(
    stage: str,
    *,
    item: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, str | Mapping[str, str]],
    code: str,
) -> str:
    """Compute the identity of a run as 64 hex digits.

    Machine, time and place are no part of it. The stage and its item are: an output names the
    data set that it was made for.

    Args:
        stage: DVC stage.
        item: Data set of a stage that runs once per data set, else empty.
        params: The stage's resolved parameters, or dataclasses of them.
        inputs: Content digest of each input by its logical name; or, for one that is yet to be
            made, `stage`, `item` and (planned) `fingerprint` of the run that will make it.
        code: Digest of the code (`vills.runner.store.code_digest`).
    """
    named = {n: {"digest": of} if isinstance(of, str) else of for n, of in inputs.items()}
    identity = compute_canonical(
        {"stage": stage, "item": item, "params": params, "inputs": named, "code": code}
    )
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def compute_canonical(value: object) -> Any:
    """Reduce `value` to JSON's types, so that equal settings give equal text: 1 for 1.0.

    Raises:
        TypeError: for a value that has no place in parameters.
        ValueError: for nan and infinities.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not allowed in parameters. What to do: use a number.")
        return int(value) if value.is_integer() else value
    if is_dataclass(value) and not isinstance(value, type):
        return compute_canonical(asdict(value))
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"parameter keys must be str, found {sorted(map(repr, value))}")
        return {key: compute_canonical(entry) for key, entry in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [compute_canonical(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} has no place in parameters: {value!r}")


def find_differences(old: object, new: object, *, prefix: str = "") -> list[str]:
    """List what differs between two sets of parameters, as `a.b: 1 -> 2` lines."""
    before, after = compute_canonical(old), compute_canonical(new)
    if isinstance(before, dict) and isinstance(after, dict):
        lines: list[str] = []
        for key in sorted({*before, *after}):
            name = f"{prefix}.{key}" if prefix else key
            if key not in before:
                lines.append(f"{name}: added, {after[key]!r}")
            elif key not in after:
                lines.append(f"{name}: removed, was {before[key]!r}")
            else:
                lines += find_differences(before[key], after[key], prefix=name)
        return lines
    return [] if before == after else [f"{prefix}: {before!r} -> {after!r}"]
