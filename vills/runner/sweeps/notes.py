"""What is remembered between two syncs of a sweep with the tracker.

    _sweeps/.NAME-origin.json    commit and time of the launch of this edition
    _sweeps/.NAME-tracked.json   what the tracker holds, so that a sync with no news costs nothing
    _sweeps/.NAME-tracked.lock   held by whoever brings the tracker up to date
    _sweeps/.execution.json      identity of this runs' folder: two clones have two parents

All of it can be thrown away: the tracker is then asked what it holds.
"""

import hashlib
import os
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vills.io import load_json, save_json
from vills.runner.mlflow.settings import TrackingSettings
from vills.runner.store.lock import open_file_lock
from vills.runner.store.machine import describe_git
from vills.runner.sweeps.sweep import FOLDER

LOCK_SECONDS = 60.0


class SweepNotes:
    """Notes about one edition of a sweep."""

    def __init__(self, runs: Path, name: str, fingerprint: str) -> None:
        self._folder = runs / FOLDER
        self._name = name
        self._fingerprint = fingerprint

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep others from telling the tracker about the same sweep.

        Raises:
            TimeoutError: if another process does for too long.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with open_file_lock(self._get_path("tracked.lock"), patience=LOCK_SECONDS):
            yield

    def load_origin(self, project: Path | None = None) -> dict[str, Any]:
        """Return what the edition was launched from; noted when it is first asked for.

        Args:
            project: The checkout; None inside a job, which does not know it.
        """
        path = self._get_path("origin.json")
        origin = load_json(path) if path.exists() else {}
        if origin.get("fingerprint") != self._fingerprint:
            git = describe_git(project) if project is not None else {"commit": "", "dirty": None}
            origin = {
                "fingerprint": self._fingerprint,
                "commit": git["commit"] or "",
                "dirty": "" if git["dirty"] is None else str(git["dirty"]).lower(),
                "created_ms": time.time_ns() // 1_000_000,
            }
            save_json(path, origin)
        return {**origin, "execution": load_execution(self._folder)}

    def load_tracked(self, settings: TrackingSettings) -> dict[str, Any]:
        """Return what the tracker holds of this edition, as far as anybody noted it.

        `parent` is its run's id, `marks` what its runs were last made from, `tried` the time of
        the last sync, `reason` why that failed, `report` the digest of its tables.
        """
        fresh = {
            # not the URI itself, which may hold a password
            "store": compute_digest(settings.uri.encode(), settings.experiment.encode()),
            "edition": self._fingerprint,
            **{"parent": "", "marks": {}, "tried": 0.0, "reason": "", "report": ""},
        }
        path = self._get_path("tracked.json")
        tracked = load_json(path) if path.exists() else fresh
        same = all(tracked[key] == fresh[key] for key in ("store", "edition"))
        return tracked if same else fresh

    def save_tracked(self, tracked: Mapping[str, Any]) -> None:
        """Note what the tracker holds."""
        save_json(self._get_path("tracked.json"), tracked)

    def _get_path(self, end: str) -> Path:
        return self._folder / f".{self._name}-{end}"


def load_execution(folder: Path) -> str:
    """Identity of a runs' folder, kept in its folder of sweeps; made once."""
    path = folder / ".execution.json"
    if not path.exists():
        beside = folder / f".{uuid.uuid4().hex}.json"
        save_json(beside, {"execution": uuid.uuid4().hex})
        with suppress(FileExistsError):  # another process was quicker
            os.link(beside, path)
        beside.unlink()
    return str(load_json(path)["execution"])


def compute_digest(*parts: bytes) -> str:
    """Digest of parts, whose borders count."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
