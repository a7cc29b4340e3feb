"""A run's folder as the runs floor writes it, but by hand: the files are the interface."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from vills.config.tracking import TrackingSettings

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(name: str = "aa", clone: str = "", **changes: Any) -> Path:
        folder = tmp_path / clone / "runs" / "pretrain" / (name * 32)
        (folder / "attempts").mkdir(parents=True)
        (folder / "out").mkdir()
        receipt = {
            "stage": "pretrain",
            "item": "",
            "fingerprint": name * 32,
            "execution": f"execution-{name}",
            "params": {"pretrain": {"lr": 0.5, "areas": ["head"], "deep": {"on": True}}},
            "inputs": {"curated": {"path": "artifacts/curated", "digest": "c" * 64}},
            "code": {"module": "m", "digest": "d" * 64, "files": {}},
            "git": {"commit": "e" * 40, "dirty": True, "diff_digest": "f" * 64},
            "packages": {},
            "machine": {"host": "somewhere", "slurm_job": ""},
            "created": "2026-01-02T03:04:05.678+00:00",
            **changes,
        }
        (folder / "receipt.json").write_text(json.dumps(receipt))
        (folder / "attempts" / "000001.json").write_text("{}")
        return folder

    return make


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with tables but without runs: making one takes a second."""
    folder = tmp_path_factory.mktemp("store")
    MlflowClient(f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
    return folder / "mlflow.db"


@pytest.fixture
def settings(tmp_path: Path, empty_store: Path) -> TrackingSettings:
    database = tmp_path / "mlflow.db"
    database.write_bytes(empty_store.read_bytes())
    return TrackingSettings(f"sqlite:///{database}")
