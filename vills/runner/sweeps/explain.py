"""`vills explain CELL`: from a number to the runs, commits, data, parameters and jobs behind it.

A receipt names its inputs by content, so a maker is found by what it left, not by where that lay:
the same for a sweep's run, one of `dvc repro`, and one whose outputs were pulled.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vills.config.canonical import find_differences
from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE, load_params
from vills.config.params import Params
from vills.digests import compute_part_digest
from vills.git import DIFF_NAME, describe_commit
from vills.io import find_json
from vills.pipeline import STAGES
from vills.refusals import list_paths
from vills.report.inputs import load_scores
from vills.runner.plan.context import LaunchContext
from vills.runner.store.lock import get_attempt_path, get_end_path, get_last_attempt
from vills.runner.store.receipt import load_receipt
from vills.runner.store.result import RESULT_NAME, find_result
from vills.runner.sweeps.report import find_scores
from vills.runner.sweeps.sweep import list_records
from vills.runner.sweeps.sweeping import load_sweep_state
from vills.runner.work.stage import load_stage

MAX_CHANGES = 12


Found = tuple[str, str, Path]
"""A number's title and text, and the run that it stands in."""


def describe_cell(project: Path, cell: str) -> str:
    """Everything behind one number of a project.

    A cell is SWEEP/POINT/COLUMN of a sweep's table, or DATASET/PROTOCOL/MODEL/METRIC of `vills
    scores`.

    Raises:
        ConfigError: if there is no such cell, or nothing is in it yet; it says what there is.
    """
    context = LaunchContext(project)
    parts = cell.split("/")
    if len(parts) == 3:
        found = _find_in_sweep(context, *parts)
    elif len(parts) == 4:
        found = _find_in_scores(context, *parts)
    else:
        raise ConfigError(
            f"cell = {cell!r} is not allowed. Allowed: SWEEP/POINT/COLUMN (sweeps here: "
            f"{', '.join(list_records(context.runs)) or 'none'}) or DATASET/PROTOCOL/MODEL/METRIC, "
            "as in market1501/market1501/finetuned/mAP. What to do: copy one from a table."
        )
    params = load_params(project) if (project / PARAMS_FILE).exists() else None
    index = build_index(context.runs)
    lines: list[str] = []
    for title, value, run in found:
        lines += [f"{cell} = {value}  ({title})", ""]
        attempts = []
        for folder, receipt in list_ancestors(index, run).items():
            own = list(load_attempts(folder))
            lines += [*_describe(folder, receipt, own, params=params, index=index), ""]
            attempts += own
        jobs = ", ".join(sorted({attempt["job"] for attempt in attempts} - {""})) or "none"
        hours = sum(attempt["gpu_hours"] for attempt in attempts)
        lines.append(f"GPU-hours in all: {hours:.2f}; jobs: {jobs}")
    return "\n".join(lines)


def _find_in_sweep(context: LaunchContext, name: str, point: str, column: str) -> list[Found]:
    """Return the cell's score of every seed that has one."""
    state = load_sweep_state(context, name)
    config = state.sweep.config
    if point not in config.points or column not in config.list_columns(point):
        columns = ", ".join(config.list_columns(point)) if point in config.points else "its own"
        raise ConfigError(
            f"cell {name}/{point}/{column} is not in the sweep. Allowed: points "
            f"{', '.join(config.points)}; columns "
            f"{columns}. What to do: copy a cell's address from tables.csv."
        )
    wanted = config.columns[column]
    published = config.points[point].published.get(column)
    beside = f"; published: {published:g}" if published is not None else ""
    found: list[Found] = []
    reasons = []
    for entry in [entry for entry in state.sweep.points if entry.name == point]:
        cell = find_scores(state, entry)[column]
        if isinstance(cell, str):
            reasons.append(f"{entry.label}: {cell}")
            continue
        title = f"{entry.label}: {wanted.head}, {wanted.metric}, protocol {wanted.protocol}{beside}"
        found.append((title, f"{100 * cell[0]:.2f} %", cell[1]))
    if not found:
        raise ConfigError(
            f"cell {name}/{point}/{column} has no score: {'; '.join(reasons)}. What to do: "
            f"python sweeps/launch.py status {name}"
        )
    return found


def _find_in_scores(
    context: LaunchContext, item: str, protocol: str, model: str, metric: str
) -> list[Found]:
    rows = load_scores(context.project, items=[item])
    fitting = [r for r in rows if r["protocol"] == protocol and r["row"] == model and metric in r]
    if not fitting:
        there = sorted({f"{row['protocol']}/{row['row']}" for row in rows})
        raise ConfigError(
            f"cell {item}/{protocol}/{model}/{metric} is not in the scores of {item}. Allowed: "
            f"{', '.join(there)}. What to do: `vills scores` lists them."
        )
    row = fitting[-1]  # means stand behind what they average
    folders = list_paths(context.runs / "evaluate", f"{row['run']}*")
    if not folders:
        raise ConfigError(
            f"run {row['run']} of {item} is not in {context.runs}: its scores came by `dvc pull`. "
            "What to do: use the machine where it ran; the run's name is the same there."
        )
    value = row[metric]
    text = f"{100 * value:.2f} %" if isinstance(value, float) else str(value)
    return [(str(row.get("title") or protocol), text, folders[0])]


def _describe(
    folder: Path,
    receipt: Mapping[str, Any],
    attempts: Sequence[Mapping[str, Any]],
    *,
    params: Params | None,
    index: Mapping[str, Path],
) -> Iterator[str]:
    name = f"{receipt['stage']}@{receipt['item']}".rstrip("@")
    yield f"{name}  run {receipt['fingerprint'][:12]}  {folder}"
    git, diff = receipt["git"], folder / DIFF_NAME
    changed = diff if diff.exists() else "files that git does not track"
    dirty = f": {changed}" if git["dirty"] else ""
    yield f"  commit  {describe_commit(git)}{dirty}"
    yield f"  code    {receipt['code']['digest'][:12]} ({len(receipt['code']['files'])} files)"
    for key, entry in receipt["inputs"].items():
        maker = index.get(entry["digest"])
        made = f"  <- {maker.parent.name} {maker.name[:12]}" if maker else ""
        yield f"  input   {key} sha256 {entry['digest'][:12]}{made}"
    changes = _compare(params, receipt)
    shown = f"different from params.yaml: {'; '.join(changes[:MAX_CHANGES])}"
    yield f"  params  {shown if changes else 'those of params.yaml'}"
    if changes[MAX_CHANGES:]:
        yield f"          and {len(changes) - MAX_CHANGES} more; all of them in receipt.json"
    for attempt in attempts:
        job = f"job {attempt['job']} on " if attempt["job"] else ""
        yield (
            f"  attempt {attempt['number']}: {job}{attempt['where']}, {attempt['ranks']} "
            f"process(es), {attempt['gpus']} GPU(s), {60 * attempt['hours']:.1f} min, "
            f"{attempt['end']}"
        )
    yield f"  GPU-hours {sum(attempt['gpu_hours'] for attempt in attempts):.2f}"


def _compare(params: Params | None, receipt: Mapping[str, Any]) -> Sequence[str]:
    """Return what differs from the params.yaml of now, as `key: 1 here, 2 there`."""
    if params is None:
        return ["there is no params.yaml here"]
    stage = load_stage(receipt["stage"])
    if receipt["item"] not in stage.items(params):
        return [f"params.yaml has no {receipt['stage']}.{receipt['item']}"]
    sections = stage.resolve_sections(params, receipt["item"])
    return [
        re.sub(" -> (.*)", r" here, \1 there", line)
        .replace(": added, ", ": not here, there ")
        .replace(": removed, was ", ": not there, here ")
        for line in find_differences(sections, receipt["params"])
    ]


def list_ancestors(index: Mapping[str, Path], run: Path) -> dict[Path, dict[str, Any]]:
    """Return the receipts of a run and of all that it comes from, itself first, by folder."""
    found: dict[Path, dict[str, Any]] = {}
    todo = [run.resolve()]
    for folder in todo:  # grows meanwhile
        if folder not in found:
            found[folder] = load_receipt(folder)
            digests = [entry["digest"] for entry in found[folder]["inputs"].values()]
            todo += [index[digest] for digest in digests if digest in index]
    return dict(sorted(found.items(), key=lambda entry: -STAGES.index(entry[1]["stage"])))


def build_index(runs: Path) -> dict[str, Path]:
    """Digest of every part of every complete run's output -> the run's folder."""
    index: dict[str, Path] = {}
    for stage in STAGES:
        for path in list_paths(runs / stage, f"*/{RESULT_NAME}"):
            outputs = find_result(path.parent).get("outputs", {})
            for part in sorted({name.partition("/")[0] for name in outputs}):
                index.setdefault(compute_part_digest(outputs, part), path.parent.resolve())
    return index


def load_attempts(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield what worked on a run, in order; its `job` is empty outside a cluster."""
    attempts = folder / "attempts"
    for number in range(1, get_last_attempt(attempts) + 1):
        path, end = get_attempt_path(attempts, number), get_end_path(attempts, number)
        note, ended = find_json(path, "time"), find_json(end)
        if not note:
            continue
        last = float(ended.get("time") or path.stat().st_mtime)  # else its last sign of life
        hours, gpus = max(0.0, last - float(note["time"])) / 3600.0, int(note.get("gpus", 0))
        yield {
            "number": number,
            "job": str(note.get("job") or note.get("slurm_job") or ""),
            "where": str(note.get("nodes") or note.get("host", "")),
            "ranks": int(note.get("ranks", 1)),
            "gpus": gpus,
            "hours": hours,
            "gpu_hours": hours * gpus,
            "end": str(ended.get("status", "ended without a message, or still runs")),
        }
