"""Scores of all evaluated data sets, each row with the fingerprint of its run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.evaluation.tables import build_text_table

Row = dict[str, Any]


def load_scores(project: Path, *, items: Sequence[str] = ()) -> list[Row]:
    """Rows of artifacts/evaluate/*/results.json, in the order of data sets.

    Raises:
        ConfigError: if nothing, or not what was asked for, has been evaluated.
    """
    folder = project / "artifacts" / "metrics"
    paths = sorted(folder.glob("evaluate_*.json"))
    found = [path.stem.removeprefix("evaluate_") for path in paths]
    missing = [item for item in items if item not in found]
    if missing or not found:
        raise ConfigError(
            f"no scores of {', '.join(missing) or 'any data set'} in {folder}. Found: "
            f"{', '.join(found) or 'none'}. What to do: run `dvc repro`."
        )
    rows: list[Row] = []
    for item in items or found:
        rows += load_rows(project / "artifacts", item)
    return rows


def load_rows(artifacts: Path, item: str) -> list[Row]:
    """Table rows of one data set, by protocol, with the fingerprint of the run behind them."""
    metrics = json.loads((artifacts / "metrics" / f"evaluate_{item}.json").read_text())
    results = json.loads((artifacts / "evaluate" / item / "results.json").read_text())
    rows = sorted(results["rows"], key=lambda row: str(row["protocol"]))
    run = {"run": metrics["fingerprint"][:12]}
    return [
        {"data set": item, "protocol": row["protocol"], "row": row["row"], **row, **run}
        for row in rows
    ]


def format_scores(rows: Sequence[Row]) -> str:
    """The rows as a table of text; shares in percent."""
    return build_text_table(rows)
