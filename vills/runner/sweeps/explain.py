"""`vills explain CELL`: from a number to the runs, commits, data, parameters and jobs behind it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE, load_params
from vills.config.params import Params
from vills.config.sweep import SweepConfig
from vills.report.scores import load_rows as load_published_rows
from vills.report.sweep_cells import explain_absence, pick_score
from vills.runner.plan.context import Desk
from vills.runner.store.fingerprint import find_differences
from vills.runner.sweeps.lineage import Ancestor, trace
from vills.runner.sweeps.report import build_config, find_evaluation, load_rows
from vills.runner.sweeps.sweep import list_records
from vills.runner.sweeps.sweeping import look_at_sweep
from vills.runner.work.stage import load_stage, to_plain

MAX_CHANGES = 12


@dataclass(frozen=True)
class Found:
    """A number and the run that it stands in."""

    title: str
    value: str
    run: Path


def explain_cell(project: Path, cell: str) -> str:
    """Everything behind one number.

    Args:
        project: The project's folder.
        cell: SWEEP/POINT/COLUMN of a sweep's table, or DATASET/PROTOCOL/MODEL/METRIC of
            `vills scores`.

    Raises:
        ConfigError: if there is no such cell, or nothing is in it yet; it says what there is.
    """
    desk = Desk(project)
    parts = cell.split("/")
    if len(parts) == 3:
        found = _find_in_sweep(desk, *parts)
    elif len(parts) == 4:
        found = [_find_in_scores(desk, *parts)]
    else:
        raise ConfigError(
            f"cell = {cell!r} is not allowed. Allowed: SWEEP/POINT/COLUMN (sweeps here: "
            f"{', '.join(list_records(desk.runs)) or 'none'}) or DATASET/PROTOCOL/MODEL/METRIC, as "
            "in market1501/market1501/finetuned/mAP. What to do: copy one from a table."
        )
    params = load_params(project) if (project / PARAMS_FILE).is_file() else None
    lines: list[str] = []
    for entry in found:
        lines += [f"{cell} = {entry.value}  ({entry.title})", ""]
        ancestors = trace(desk.runs, entry.run)
        for ancestor in ancestors:
            lines += [*_describe(params, ancestor), ""]
        hours = sum(ancestor.gpu_hours for ancestor in ancestors)
        jobs = sorted({a.job for run in ancestors for a in run.attempts if a.job})
        lines.append(f"GPU-hours in all: {hours:.2f}; jobs: {', '.join(jobs) or 'none'}")
    return "\n".join(lines)


def _find_in_sweep(desk: Desk, name: str, point: str, column: str) -> list[Found]:
    """The cell's score of every seed that has one."""
    record, state = look_at_sweep(desk, name)
    config: SweepConfig = build_config(SweepConfig, record["config"])
    if point not in config.points or column not in config.list_columns(point):
        allowed = ", ".join(config.points)
        columns = ", ".join(config.list_columns(point)) if point in config.points else "its own"
        raise ConfigError(
            f"cell {name}/{point}/{column} is not of the sweep. Allowed: points {allowed}; columns "
            f"{columns}. What to do: copy a cell's address from tables.csv."
        )
    wanted = config.columns[column]
    published = config.points[point].published.get(column)
    beside = f"; published: {published:g}" if published is not None else ""
    found, reasons = [], []
    for label, entry in record["points"].items():
        if entry["name"] != point:
            continue
        run = find_evaluation(state.plans[label], state.states, wanted.evaluate)
        if isinstance(run, str):
            reasons.append(f"{label}: {run}")
            continue
        rows = load_rows(run)
        value = pick_score(rows, wanted)
        if value is None:
            reasons.append(f"{label}: {explain_absence(rows, wanted)}")
            continue
        title = f"{label}: {wanted.head}, {wanted.metric}, protocol {wanted.protocol}{beside}"
        found.append(Found(title, f"{100 * value:.2f} %", run))
    if not found:
        raise ConfigError(
            f"cell {name}/{point}/{column} has no score: {'; '.join(reasons)}. What to do: "
            f"python sweeps/launch.py status {name}"
        )
    return found


def _find_in_scores(desk: Desk, item: str, protocol: str, model: str, metric: str) -> Found:
    rows = load_published_rows(desk.project / "artifacts", item)
    fitting = [r for r in rows if r["protocol"] == protocol and r["row"] == model and metric in r]
    if not fitting:
        there = sorted({f"{row['protocol']}/{row['row']}" for row in rows})
        raise ConfigError(
            f"cell {item}/{protocol}/{model}/{metric} is not in the scores of {item}. Allowed: "
            f"{', '.join(there)}. What to do: `vills scores` lists them."
        )
    row = fitting[-1]  # means stand behind what they average
    folders = sorted((desk.runs / "evaluate").glob(f"{row['run']}*"))
    if not folders:
        raise ConfigError(
            f"run {row['run']} of {item} is not in {desk.runs}: its scores were pulled. What to "
            "do: ask where it ran; its fingerprint is the same there."
        )
    value = row[metric]
    text = f"{100 * value:.2f} %" if isinstance(value, float) else str(value)
    return Found(str(row.get("title") or protocol), text, folders[0])


def _describe(params: Params | None, run: Ancestor) -> Iterator[str]:
    receipt = run.receipt
    yield f"{run.name}  run {receipt['fingerprint'][:12]}  {run.folder}"
    git = receipt["git"]
    dirty = ""
    if git["dirty"]:
        dirty = f", with uncommitted changes: {run.diff or 'files that git does not track'}"
    yield f"  commit  {git['commit'] or 'not in git'}{dirty}"
    yield f"  code    {receipt['code']['digest'][:12]} ({len(receipt['code']['files'])} files)"
    for name, entry in receipt["inputs"].items():
        folder = run.makers.get(name)
        maker = f"  <- {folder.parent.name} {folder.name[:12]}" if folder else ""
        yield f"  input   {name} sha256 {entry['digest'][:12]}{maker}"
    changes = _compare(params, receipt)
    if changes:
        yield f"  params  unlike params.yaml: {'; '.join(changes[:MAX_CHANGES])}"
        if changes[MAX_CHANGES:]:
            yield f"          and {len(changes) - MAX_CHANGES} more; all of them in receipt.json"
    else:
        yield "  params  those of params.yaml"
    for attempt in run.attempts:
        job = f"job {attempt.job} on " if attempt.job else ""
        yield (
            f"  attempt {attempt.number}: {job}{attempt.where}, {attempt.ranks} process(es), "
            f"{attempt.gpus} GPU(s), {60 * attempt.hours:.1f} min, {attempt.end}"
        )
    yield f"  GPU-hours {run.gpu_hours:.2f}"


def _compare(params: Params | None, receipt: Mapping[str, Any]) -> Sequence[str]:
    """What differs from the params.yaml of now, as `key: 1 here, 2 there`."""
    if params is None:
        return ["there is no params.yaml here"]
    stage = load_stage(receipt["stage"])
    if receipt["item"] not in stage.items(params):
        return [f"params.yaml has no {receipt['stage']}.{receipt['item']}"]
    sections = stage.resolve_sections(params, receipt["item"])
    here = {name: to_plain(value) for name, value in sections.items()}
    lines = find_differences(here, receipt["params"])
    return [
        re.sub(" -> (.*)", r" here, \1 there", line)
        .replace(": added, ", ": not here, there ")
        .replace(": removed, was ", ": not there, here ")
        for line in lines
    ]
