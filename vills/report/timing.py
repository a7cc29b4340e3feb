"""How long each run took, and where its receipt lies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def build_run_rows(metrics: Mapping[str, Mapping[str, Any]], runs: Path) -> list[dict[str, Any]]:
    """A row per stage.

    Args:
        metrics: stage or stage_item -> its metrics file.
        runs: the folder of all runs; one that was made elsewhere has no time here.
    """
    rows = []
    for name, values in metrics.items():
        fingerprint = values["fingerprint"]
        stage = name.split("_")[0]
        path = runs / stage / fingerprint / "result.json"
        result = json.loads(path.read_text()) if path.is_file() else {}
        seconds = result.get("seconds")
        rows.append(
            {
                "stage": name.replace("_", "@", 1),
                "seconds": f"{seconds:.0f}" if seconds is not None else "made elsewhere",
                "attempts": str(result.get("attempt", "-")),
                "run": fingerprint,
            }
        )
    return rows
