"""Cells of a sweep from what its runs left, and why others are empty."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from vills.report.sweep_cells import Cell, Score, explain_absence, pick_score
from vills.runner.plan.nodes import Plan, select_steps
from vills.runner.plan.states import OVER, NodeState
from vills.runner.sweeps.sweep import Point, SweepState


def collect_cells(state: SweepState) -> dict[tuple[str, str], Cell]:
    """Every cell of a sweep, over the seeds that have finished."""
    cells: dict[tuple[str, str], Cell] = {}
    for name in state.sweep.config.points:
        found = {p.seed: find_scores(state, p) for p in state.sweep.points if p.name == name}
        for column, wanted in state.sweep.config.list_columns(name).items():
            scores: list[Score] = []
            missing: list[str] = []
            for seed, columns in found.items():
                entry = columns[column]
                if isinstance(entry, str):
                    missing.append(entry)
                else:
                    scores.append(Score(entry[0], entry[1].name, seed, wanted.is_difference))
            cells[name, column] = Cell(tuple(scores), "; ".join(dict.fromkeys(missing)))
    return cells


def find_scores(state: SweepState, point: Point) -> dict[str, tuple[float, Path] | str]:
    """Score of every column of a point (a share) and the run it stands in, or why there is none."""
    load = cache(_load_rows)
    found: dict[str, tuple[float, Path] | str] = {}
    for key, column in state.sweep.config.list_columns(point.name).items():
        run = find_evaluation(point.plan, state.states, column.evaluate)
        if isinstance(run, str):
            found[key] = run
            continue
        value = pick_score(load(run), column)
        found[key] = explain_absence(load(run), column) if value is None else (value, run)
    return found


def find_evaluation(plan: Plan, states: Mapping[str, NodeState], item: str) -> Path | str:
    """Folder of the finished run that scores a data set, or why there is none."""
    node = plan.get(f"evaluate@{item}")
    if node is None:
        return f"params.yaml has no evaluate.{item}"
    state = states[node.key]
    if state.state == "done":
        assert state.run is not None
        return state.run
    for step in select_steps([entry.step for entry in plan.values()], [node.name]):
        upstream = states[plan[step.name].key].state
        if upstream in OVER:
            return f"{step.name} {upstream}"
    return "not computed yet" if state.state in ("waits", "to do") else state.state


def _load_rows(run: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        (run / "out" / "evaluate" / "results.json").read_text()
    )["rows"]
    return rows
