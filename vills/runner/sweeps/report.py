"""A sweep's tables from what its runs left: cells, or why they are empty; facts; and files."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from vills.git import describe_commit
from vills.io import load_json
from vills.report.sweep_grid import Cell, Score, describe_absence, select_score
from vills.runner.plan.nodes import Plan, select_steps
from vills.runner.plan.states import OVER, NodeState
from vills.runner.store.receipt import load_receipt
from vills.runner.store.result import RESULT_NAME, load_result
from vills.runner.sweeps.sweep import Point, SweepState

if TYPE_CHECKING:
    from vills.report.sweep_tables import SweepFacts


def build_report(state: SweepState, *, out: Path) -> list[Path]:
    """Write a sweep's tables and plot to `out`; missing cells say why they are."""
    from vills.report.sweep_tables import save_sweep_report  # draws, so that it loads matplotlib

    return save_sweep_report(
        out,
        name=state.sweep.name,
        sweep=state.sweep.config,
        cells=load_cells(state),
        facts=load_report_facts(state),
    )


def load_cells(state: SweepState) -> dict[tuple[str, str], Cell]:
    """Every cell of a sweep, over the seeds that have finished."""
    cells: dict[tuple[str, str], Cell] = {}
    for name in state.sweep.config.points:
        found = {p.seed: find_scores(state, p) for p in state.sweep.points if p.name == name}
        for column, wanted in state.sweep.config.list_columns(name).items():
            entries = {seed: columns[column] for seed, columns in found.items()}
            scores = tuple(
                Score(entry[0], entry[1].name, seed, wanted.is_difference)
                for seed, entry in entries.items()
                if not isinstance(entry, str)
            )
            missing = dict.fromkeys(text for text in entries.values() if isinstance(text, str))
            cells[name, column] = Cell(scores, "; ".join(missing))
    return cells


def find_scores(state: SweepState, point: Point) -> dict[str, tuple[float, Path] | str]:
    """Score of every column of a point (a share) and the run it stands in, or why there is none."""
    load = cache(load_json)
    found: dict[str, tuple[float, Path] | str] = {}
    for key, column in state.sweep.config.list_columns(point.name).items():
        run = find_evaluation(point.plan, state.states, column.evaluate)
        if isinstance(run, str):
            found[key] = run
            continue
        rows = load(run / "out" / "evaluate" / "results.json")["rows"]
        value = select_score(rows, column)
        found[key] = describe_absence(rows, column) if value is None else (value, run)
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


def load_report_facts(state: SweepState) -> "SweepFacts":
    """Return the commits, dates and scale of what the tables hold."""
    from vills.report.sweep_tables import SweepFacts

    nodes = state.sweep.nodes.items()
    keys = [key for key, node in nodes if node.step.stage in ("pretrain", "evaluate")]
    done = {state.states[key].run for key in keys if state.states[key].state == "done"}
    # without a result DVC brought what it would have made
    runs = sorted(run for run in done if run is not None and (run / RESULT_NAME).exists())
    receipts = [load_receipt(run) for run in runs]
    commits = sorted(
        describe_commit({**git, "commit": (git["commit"] or "")[:12]})
        for git in (receipt["git"] for receipt in receipts)
    )
    ended = [load_result(run)["finished_ms"] for run in runs]
    last = datetime.fromtimestamp(max(ended) / 1000, UTC).date().isoformat() if ended else "none"
    command = " ".join(["python sweeps/launch.py", state.sweep.file, *state.sweep.overrides])
    return SweepFacts(
        params=f"{state.sweep.params}, edition {state.sweep.fingerprint[:12]}",
        commit=", ".join(dict.fromkeys(commits)) or "none",
        date=last,
        command=command,
        notes=tuple(_note_scale(state)),
    )


def _note_scale(state: SweepState) -> Iterator[str]:
    """Return what sets these numbers apart from the paper's, whatever their trend."""
    plans = [plan for plan in state.plans.values() if plan]
    if any("miniature" in plan for plan in plans):
        yield (
            "These people are of the embedded, rendered world, not of the paper's data sets: the "
            "table shows that the sweep works; its numbers are not comparable with the paper's."
        )
    sections = [p["pretrain"].step.sections["pretrain"] for p in plans if "pretrain" in p]
    widths = sorted({int(section["model"]["width"]) for section in sections})
    if widths and widths[0] < 384:
        epochs = sorted({section["epochs"] for section in sections})
        yield (
            f"The encoder is {', '.join(map(str, widths))} wide (the paper's ViT-S: 384), "
            f"pre-trained for {', '.join(f'{e:g}' for e in epochs)} epochs of few images."
        )
