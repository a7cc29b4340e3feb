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
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vills.config.canonical import compute_canonical
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
