"""Names in the tracker: a sweep's and a point's parameters, and the metric of every cell."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vills.config.sweep import ColumnConfig
from vills.runner.plan.nodes import Plan

SHOWN = (
    *("feature_weight", "masking_weight", "koleo_weight", "alignment_weight"),
    *("areas", "modalities", "model.resampler", "model.width", "epochs", "seed"),
)
"""Parameters of the pre-training that every child has, so that children can be compared."""


def build_sweep_params(record: Mapping[str, Any]) -> dict[str, str]:
    """Return a parent's parameters."""
    config = record["config"]
    return {
        "title": config["title"],
        "tables": ", ".join(table["title"] for table in config["tables"].values()),
        "overrides": " ".join(record["overrides"]),
        "seeds": ", ".join(map(str, config["seeds"])) or "of params.yaml",
        "num_points": str(len(record["points"])),
    }


def build_point_params(point: Mapping[str, Any], plan: Plan) -> dict[str, str]:
    """Return a child's parameters: what was overridden, and what children are compared by."""
    pretrain = plan["pretrain"].step.sections["pretrain"] if "pretrain" in plan else {}
    params = {}
    for override in point["overrides"]:
        key, _, value = override.lstrip("+~").partition("=")
        params[key] = value
    for name in (*(key.removeprefix("pretrain.") for key in params), *SHOWN):
        value = _find(pretrain, name)
        if value is not None:
            # As resolved: 1 and 1.0 are one value.
            params[f"pretrain.{name}"] = value if isinstance(value, str) else json.dumps(value)
    return params


def list_columns(config: Mapping[str, Any], point: str) -> dict[str, ColumnConfig]:
    """Columns in which a point has a cell, by key."""
    chosen = config["points"][point]["tables"] or list(config["tables"])
    return {
        key: ColumnConfig(**column)
        for table in chosen
        for key, column in config["tables"][table]["columns"].items()
    }


def name_cells(columns: Mapping[str, ColumnConfig]) -> dict[str, str]:
    """Return a metric's name for every column: `market1501/mAP`, longer where two would be one."""
    candidates = {
        key: (
            f"{column.evaluate}/{column.metric}",
            f"{column.evaluate}/{column.protocol}/{column.metric}",
            f"{column.evaluate}/{column.protocol}/{column.row}/{column.metric}",
            f"{column.evaluate}/{key}",
        )
        for key, column in columns.items()
    }
    counts = Counter(name for names in candidates.values() for name in names)
    # a name may be given twice by one column, whose row says nothing new
    return {
        key: next((name for name in names if counts[name] == 1), names[-1])
        for key, names in candidates.items()
    }


def _find(section: Any, name: str) -> Any:
    for part in name.split("."):
        section = section.get(part) if isinstance(section, Mapping) else None
    return section
