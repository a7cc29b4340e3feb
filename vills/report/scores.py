"""Scores of all evaluated data sets, each row with the fingerprint of its run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.evaluation.tables import (
    build_markdown,
    build_score_tables,
    build_text,
    format_cell,
    is_mean,
)

Row = dict[str, Any]

SPLIT_NOTE = "Where splits are averaged, `vills scores --splits` has the rows of each."


def load_scores(
    project: Path, *, items: Sequence[str] = (), order: Sequence[str] = ()
) -> list[Row]:
    """Rows of artifacts/evaluate/*/results.json, data set by data set.

    Args:
        project: folder that holds artifacts/.
        items: data sets; empty: all evaluated ones.
        order: which of these come first, in their order; the others follow by name.

    Raises:
        ConfigError: if nothing, or not what was asked for, has been evaluated.
    """
    folder = project / "artifacts" / "metrics"
    names = sorted(path.stem.removeprefix("evaluate_") for path in folder.glob("evaluate_*.json"))
    found = [name for name in order if name in names]
    found += [name for name in names if name not in order]
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
    """Table rows of one data set: whose models they are, and the run behind them."""
    metrics = json.loads((artifacts / "metrics" / f"evaluate_{item}.json").read_text())
    results = json.loads((artifacts / "evaluate" / item / "results.json").read_text())
    source = {"trained_on": metrics["model"], "run": metrics["fingerprint"][:12]}
    return [{"data set": item, **row, **source} for row in results["rows"]]


def load_left_out(artifacts: Path, item: str) -> list[str]:
    """Rows of one data set that are in no query and no gallery: how many, and why."""
    results = json.loads((artifacts / "evaluate" / item / "results.json").read_text())
    return [str(note) for note in results["left_out"]]


def format_scores(rows: Sequence[Row], *, splits: bool = False) -> str:
    """The rows as tables of text; shares in percent."""
    tables = build_score_tables(rows, splits=splits)
    if splits and not tables:
        raise ConfigError(
            "--splits: nothing here is averaged over splits. Allowed: data sets with several "
            "evaluate.*.split_ids. What to do: leave --splits out."
        )
    text = build_text(tables)
    return f"{text}\n{SPLIT_NOTE}" if any(map(is_mean, rows)) and not splits else text


def build_overview(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A row per data set and protocol, a column per model: mAP / R-1, for a first look.

    Where a protocol has several rows of a model (splits, galleries, re-ranking), the mean that was
    computed stands here, without re-ranking.
    """
    models = list(dict.fromkeys(str(row["row"]) for row in rows))
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.get("rerank", "off") != "off":
            continue
        line = lines.setdefault((str(row["data set"]), str(row.get("title", ""))), {})
        name = str(row["row"])
        if name not in line or is_mean(row) or str(row.get("gallery_group")).startswith("mean"):
            line[name] = row
    return [
        {
            "data set": data_set,
            "protocol": title,
            **{model: _format_pair(line.get(model)) for model in models},
        }
        for (data_set, title), line in lines.items()
    ]


def build_scores_page(rows: Sequence[Row]) -> str:
    """All scores as Markdown, those of single splits last."""
    parts = ["# Scores", "", build_markdown(build_score_tables(rows)), ""]
    splits = build_score_tables(rows, splits=True)
    if splits:
        parts += ["# Scores of each split", "", build_markdown(splits), ""]
    return "\n".join(parts)


def _format_pair(row: Row | None) -> str:
    if row is None:
        return "-"
    names = ("mAP", "R-1") if "mAP" in row else ("R-1",)
    return " / ".join(format_cell(name, row.get(name)) for name in names)
