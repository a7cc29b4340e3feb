"""Which run of the tracker shows a run of ours: found by its tags, and created once.

Hosts that send two copies of a folder have no common lock, and a request whose answer is lost is
sent again: so whoever has created a run looks again, and all choose the same one. The others are
deleted; whoever writes to one of them is refused, looks again, and goes over to the one that stays.
A run that a person has deleted in the tracker stays deleted.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vills.runner.mlflow.settings import Store
from vills.runner.mlflow.tracked_run import GENERATION, PARENT, TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Run as Run

MAX_FOUND = 50_000
"""Runs that MLflow returns at once."""
BEGUN = "vills.begun"
"""Tag: when the run was created in the tracker; the first of several is the one that stays."""
SUPERSEDED, KEPT = "vills.superseded", "kept"
"""Tag of a run that another has replaced; its value where only an admin may delete it."""
CROSSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE", "BAD_REQUEST")
"""What MLflow says if a run was deleted while it was written to, or two wrote the same tag."""


def find_runs(
    store: Store, tags: Mapping[str, str], *, status: str = "", deleted: bool = False
) -> list["Run"]:
    """All runs that MLflow finds, in an order that every caller sees alike."""
    from mlflow.entities import ViewType

    words = [f"tags.`{name}` = '{value}'" for name, value in tags.items()]
    wanted = " and ".join(words + [f"attributes.status = '{status}'"] * bool(status))
    view = ViewType.ALL if deleted else ViewType.ACTIVE_ONLY
    found = store[0].search_runs([store[1]], wanted, view, max_results=MAX_FOUND)
    return sorted(found, key=lambda run: (run.data.tags.get(BEGUN, ""), run.info.run_id))


def get_run(store: Store, tracked: TrackedRun, found: Sequence["Run"] | None) -> "Run":
    """Return the run that shows it, which may be one that a person has deleted.

    It is made if there is none. `found` are runs with its identity, if known: those of earlier
    editions are deleted, and so are all but the first of several that were made at once.
    """
    if found is None:
        found = find_runs(store, tracked.get_identity(), deleted=True)
    current = _select_run(found, tracked.edition)
    if current is None:
        created = store[0].create_run(
            store[1],
            start_time=tracked.created_ms,
            tags={**tracked.tags, BEGUN: str(time.time_ns() // 1_000_000)},
            run_name=tracked.name,
        )
        found = find_runs(store, tracked.get_identity(), deleted=True)
        current = _select_run(found, tracked.edition) or created
    for run in found:
        is_shown = is_active(run) and run.data.tags.get(SUPERSEDED) != KEPT
        if is_shown and run.info.run_id != current.info.run_id:
            _remove(store, run)
    return current


def is_active(run: "Run") -> bool:
    """Whether nobody has deleted it."""
    return bool(run.info.lifecycle_stage == "active")


def is_later(run: "Run", edition: str) -> bool:
    """Whether the tracker was told by a newer copy of the run's folder than the one here."""
    return edition.isdigit() and _get_number(run) > int(edition)


def _get_number(run: "Run") -> int:
    held = run.data.tags.get(GENERATION, "")
    return int(held) if held.isdigit() else -1


def _select_run(found: Sequence["Run"], edition: str) -> "Run | None":
    """Select the newest edition, and of several the first; one that a person deleted comes last."""
    fitting = [
        run
        for run in found
        if SUPERSEDED not in run.data.tags
        and (
            run.data.tags.get(GENERATION, "") in ("", edition)
            or not edition
            or is_later(run, edition)
        )
    ]
    return min(fitting, key=lambda run: (not is_active(run), -_get_number(run)), default=None)


def _remove(store: Store, run: "Run") -> None:
    """Delete a run that another has replaced, and its children; the tag says it was no person."""
    from mlflow.exceptions import MlflowException

    run_id = run.info.run_id
    for child in find_runs(store, {PARENT: run_id}):
        _remove(store, child)
    try:
        store[0].set_tag(run_id, SUPERSEDED, "true")
        store[0].delete_run(run_id)
    except MlflowException as error:
        if error.error_code == "PERMISSION_DENIED":  # those who may write may not delete
            store[0].update_run(run_id, status="KILLED", name=f"{run.info.run_name} (superseded)")
            store[0].set_tag(run_id, SUPERSEDED, KEPT)
        elif error.error_code not in CROSSED:  # else another host was quicker
            raise
