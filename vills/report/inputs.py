"""What the DAG has published: where the report finds it, and how it is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.io import load_json
from vills.refusals import list_paths

Row = dict[str, Any]
_REMEDY = "run the evaluate stage again"
"""A row of scores."""


@dataclass(frozen=True)
class ReportInputs:
    """Where the published outs lie, and what was evaluated with which models."""

    artifacts: Path
    items: Mapping[str, str]
    """Data set of evaluate -> that of finetune whose models were scored."""
    sources: Mapping[str, str]
    """Data set of evaluate -> curated one that was searched."""
    models: Mapping[str, FinetuneConfig]
    """Data sets of finetune."""


def load_metrics(inputs: ReportInputs) -> dict[str, dict[str, Any]]:
    """Load metrics files in the order of the DAG, without data sets no longer evaluated."""
    names = ["miniature", "curate", "lse", "pretrain"]
    names += [f"finetune_{model}" for model in inputs.models]
    names += [f"evaluate_{item}" for item in inputs.items]
    folder = inputs.artifacts / "metrics"
    paths = {name: folder / f"{name}.json" for name in names}
    return {name: load_json(p) for name, p in paths.items() if p.is_file()}


def load_scores(
    project: Path, *, items: Sequence[str] = (), order: Sequence[str] = ()
) -> list[Row]:
    """Load the rows of artifacts/evaluate/*/results.json, data set by data set.

    Of `items`, or of all that were evaluated: those of `order` first, the others by name.

    Raises:
        ConfigError: if nothing, or not what was asked for, has been evaluated.
    """
    folder = project / "artifacts" / "metrics"
    names = sorted(
        path.stem.removeprefix("evaluate_") for path in list_paths(folder, "evaluate_*.json")
    )
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
    """Load the table rows of one data set: whose models they are, and the run behind them."""
    path = artifacts / "metrics" / f"evaluate_{item}.json"
    metrics = load_json(path, "model", "fingerprint", remedy=_REMEDY)
    results = load_json(artifacts / "evaluate" / item / "results.json", "rows", remedy=_REMEDY)
    source = {"trained_on": metrics["model"], "run": metrics["fingerprint"][:12]}
    return [{"data set": item, **row, **source} for row in results["rows"]]


def load_notes(artifacts: Path, item: str) -> list[str]:
    """Load sentences on one data set: what is left out or there twice, how a foreign model fits.

    The first says how many rows and why; the others how its pixels were given to a model.
    """
    results = load_json(artifacts / "evaluate" / item / "results.json", "rows", remedy=_REMEDY)
    left_out = "; ".join(results.get("left_out", []))
    notes = [f"Left out, or there twice: {left_out}"] if left_out else []
    return [f"{note}." for note in (*notes, *results.get("notes", []))]
