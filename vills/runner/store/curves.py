"""A run's curves as CSV: what DVC plots and the report draw. No time stands in it."""

import csv
import io
from pathlib import Path

from vills.io import save_bytes
from vills.runner.store.journal import Journal, load_journal


def save_curves(path: Path, journal: Journal) -> None:
    """Write a row per step and a column per metric; empty where a metric was not measured."""
    content = load_journal(journal.path)
    steps: dict[int, dict[str, float]] = {}
    for record in (*content.committed, *content.pending):
        steps.setdefault(record.step, {}).update(record.metrics)
    columns = sorted({name for metrics in steps.values() for name in metrics})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *columns])
    for step, metrics in sorted(steps.items()):
        writer.writerow([step, *(metrics.get(name, "") for name in columns)])
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
