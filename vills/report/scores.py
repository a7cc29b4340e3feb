"""Scores of all evaluated data sets, each row with the fingerprint of its run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.evaluation.tables import build_text_table

Row = dict[str, Any]


def load_scores(project: Path, *, items: Sequence[str] = ()) -> list[Row]:
    """Rows of artifacts/metrics/evaluate_*.json, in the order of data sets.

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
    for item, path in zip(found, paths, strict=True):
        if items and item not in items:
            continue
        rows += build_rows(item, json.loads(path.read_text()))
    return rows


def build_rows(item: str, metrics: dict[str, Any]) -> list[Row]:
    """Table rows of one data set's metrics file, {protocol: {model: {score: value}}}."""
    rows = []
    for protocol, models in metrics["scores"].items():
        for model, scores in models.items():
            row = {"data set": item, "protocol": protocol, "row": model, **scores}
            rows.append({**row, "run": metrics["fingerprint"][:12]})
    return rows


def format_scores(rows: Sequence[Row]) -> str:
    """The rows as a table of text; shares in percent."""
    return build_text_table(rows)
