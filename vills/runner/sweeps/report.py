"""A sweep's tables from what its runs left: cells, where they come from, and files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from vills.config.sweep import SweepConfig
from vills.io import load_json
from vills.report.sweep_grid import Cell, Score, explain_absence, pick_score
from vills.report.sweep_tables import SweepFacts, save_sweep_report
from vills.runner.plan.nodes import Plan, select_steps
from vills.runner.plan.states import OVER, NodeState
from vills.runner.store.result import RESULT_NAME
from vills.runner.sweeps.sweep import SweepState


def build_report(record: Mapping[str, Any], state: SweepState, *, out: Path) -> list[Path]:
    """Write a sweep's tables and plot to `out`; missing cells say why they are."""
    config = load_config(record)
    cells = collect_cells(config, record, state)
    facts = collect_facts(record, state)
    return save_sweep_report(out, name=record["name"], sweep=config, cells=cells, facts=facts)


def load_config(record: Mapping[str, Any]) -> SweepConfig:
    """Build the sweep of a record; nested dataclasses too."""
    merged = OmegaConf.merge(OmegaConf.structured(SweepConfig), record["config"])
    config = OmegaConf.to_object(merged)
    assert isinstance(config, SweepConfig)
    return config


def collect_cells(
    config: SweepConfig, record: Mapping[str, Any], state: SweepState
) -> dict[tuple[str, str], Cell]:
    """Every cell of a sweep, over the seeds that have finished."""
    cells: dict[tuple[str, str], Cell] = {}
    for point in config.points:
        labels = [label for label, entry in record["points"].items() if entry["name"] == point]
        for column, wanted in config.list_columns(point).items():
            scores: list[Score] = []
            missing: list[str] = []
            for label in labels:
                plan = state.plans[label]
                found = find_evaluation(plan, state.states, wanted.evaluate)
                if isinstance(found, str):
                    missing.append(found)
                    continue
                rows = load_rows(found)
                value = pick_score(rows, wanted)
                if value is None:
                    missing.append(explain_absence(rows, wanted))
                else:
                    seed = record["points"][label]["seed"]
                    scores.append(Score(value, found.name, seed, wanted.is_difference))
            reasons = "; ".join(dict.fromkeys(missing))
            cells[point, column] = Cell(tuple(scores), reasons)
    return cells


def find_evaluation(plan: Plan, states: Mapping[str, NodeState], item: str) -> Path | str:
    """Folder of the finished run that scores a data set, or why there is none."""
    node = plan.get(f"evaluate@{item}")
    if node is None:
        return f"params.yaml has no evaluate.{item}"
    state = states[node.key]
    if state.state == "done":
        assert state.run is not None
        return state.run
    steps = select_steps([entry.step for entry in plan.values()], [node.name])
    for step in steps:
        upstream = states[plan[step.name].key]
        if upstream.state in OVER:
            return f"{step.name} {upstream.state}"
    return {"waits": "not computed yet", "to do": "not computed yet"}.get(state.state, state.state)


def load_rows(run: Path) -> list[dict[str, Any]]:
    """Score rows of a finished evaluation."""
    content = json.loads((run / "out" / "evaluate" / "results.json").read_text())
    rows: list[dict[str, Any]] = content["rows"]
    return rows


def collect_facts(record: Mapping[str, Any], state: SweepState) -> SweepFacts:
    """Return the commits, dates and scale of what the tables hold."""
    runs = sorted(
        {
            found.run
            for plan in state.plans.values()
            for node in plan.values()
            if node.step.stage in ("pretrain", "evaluate")
            and (found := state.states[node.key]).state == "done"
            and found.run is not None
        }
    )
    receipts = [load_json(run / "receipt.json") for run in runs]
    commits = sorted({_say_commit(receipt["git"]) for receipt in receipts})
    ended = [load_json(run / RESULT_NAME)["finished_ms"] for run in runs]
    last = datetime.fromtimestamp(max(ended) / 1000, UTC).date().isoformat() if ended else "none"
    command = " ".join(["python sweeps/launch.py", record["file"], *record["overrides"]])
    return SweepFacts(
        params=f"{record['params']}, edition {record['fingerprint'][:12]}",
        commit=", ".join(commits) or "none",
        date=last,
        command=command,
        notes=tuple(_note_scale(state)),
    )


def _say_commit(git: Mapping[str, Any]) -> str:
    commit = str(git["commit"] or "no git")[:12]
    return f"{commit} with uncommitted changes" if git["dirty"] else commit


def _note_scale(state: SweepState) -> Iterator[str]:
    """Return what sets these numbers apart from the paper's, whatever their trend."""
    plans: Sequence[Plan] = [plan for plan in state.plans.values() if plan]
    if any("miniature" in plan for plan in plans):
        yield (
            "These are people of the embedded, rendered world, not the paper's data sets: the "
            "table shows that the sweep works, not that its numbers compare."
        )
    sections = [p["pretrain"].step.sections["pretrain"] for p in plans if "pretrain" in p]
    widths = sorted({int(section["model"]["width"]) for section in sections})
    if widths and widths[0] < 384:
        epochs = sorted({section["epochs"] for section in sections})
        yield (
            f"The encoder is {', '.join(map(str, widths))} wide (the paper's ViT-S: 384), "
            f"pre-trained for {', '.join(f'{e:g}' for e in epochs)} epochs of few images."
        )
