"""A run's folder as the runs floor writes it, but by hand: the files are the interface."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(name: str = "aa", **changes: Any) -> Path:
        folder = tmp_path / "runs" / "pretrain" / (name * 32)
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
