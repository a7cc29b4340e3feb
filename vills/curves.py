"""Curves as CSV, for DVC's plots and the report: metrics by step; no time stands in it."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from vills.io import save_bytes


def save_curves(path: Path, records: Iterable[tuple[int, Mapping[str, float]]]) -> None:
    """Write a row per step and a column per metric; empty where a metric was not measured."""
    steps: dict[int, dict[str, float]] = {}
    for number, metrics in records:
        steps.setdefault(number, {}).update(metrics)
    columns = sorted({name for metrics in steps.values() for name in metrics})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["step", *columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"step": step, **values} for step, values in sorted(steps.items()))
    save_bytes(path, text.getvalue().encode())


def load_curves(path: Path) -> dict[str, tuple[list[float], list[float]]]:
    """Read `save_curves`: metric -> (steps, values)."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            step = float(row.pop("step"))
            for name, value in row.items():
                if value:
                    steps, values = curves.setdefault(name, ([], []))
                    steps.append(step)
                    values.append(float(value))
    return curves
