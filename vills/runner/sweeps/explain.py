"""`vills explain CELL`: from a number to the runs, commits, data, parameters and jobs behind it.

A receipt names its inputs by content, so a maker is found by what it left, not by where that lay:
the same for a sweep's run, one of `dvc repro`, and one whose outputs were pulled.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE, load_params
from vills.config.params import Params
from vills.io import load_json
from vills.pipeline import STAGES
from vills.report.inputs import load_rows
from vills.runner.plan.context import LaunchContext
from vills.runner.plan.registry import compute_part_digest
from vills.runner.store.lock import get_attempt_path, get_end_path, get_last_attempt
from vills.runner.store.machine import DIFF_NAME
from vills.runner.store.receipt import find_differences
from vills.runner.store.result import RESULT_NAME, load_result
from vills.runner.sweeps.report import find_scores
from vills.runner.sweeps.sweep import list_records
from vills.runner.sweeps.sweeping import look_at_sweep
from vills.runner.work.stage import load_stage

MAX_CHANGES = 12


@dataclass(frozen=True)
class Attempt:
    """One process (or group of ranks) that worked on a run."""

    number: int
    job: str
    """Id of its job; empty outside a cluster."""
    where: str
    """Nodes or host."""
    hours: float
    ranks: int
    gpus: int
    end: str
    """finished, interrupted, failed, killed, or how else it is known to have ended."""

    @property
    def gpu_hours(self) -> float:
        """Hours times GPUs."""
        return self.hours * self.gpus


@dataclass(frozen=True)
class Ancestor:
    """A run among those that made a number."""

    folder: Path
    receipt: Mapping[str, Any]
    attempts: Sequence[Attempt]
    makers: Mapping[str, Path]
    """Input -> folder of the run that made it, as far as it lies here."""

    @property
    def name(self) -> str:
        """`stage@item`."""
        item = self.receipt["item"]
        return f"{self.receipt['stage']}@{item}" if item else str(self.receipt["stage"])


Found = tuple[str, str, Path]
"""A number's title and text, and the run that it stands in."""


def explain_cell(project: Path, cell: str) -> str:
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
    params = load_params(project) if (project / PARAMS_FILE).is_file() else None
    lines: list[str] = []
    for title, value, run in found:
        lines += [f"{cell} = {value}  ({title})", ""]
        ancestors = trace(context.runs, run)
        for ancestor in ancestors:
            lines += [*_describe(params, ancestor), ""]
        attempts = [attempt for ancestor in ancestors for attempt in ancestor.attempts]
        jobs = ", ".join(sorted({attempt.job for attempt in attempts if attempt.job})) or "none"
        hours = sum(attempt.gpu_hours for attempt in attempts)
        lines.append(f"GPU-hours in all: {hours:.2f}; jobs: {jobs}")
    return "\n".join(lines)


def _find_in_sweep(context: LaunchContext, name: str, point: str, column: str) -> list[Found]:
    """Return the cell's score of every seed that has one."""
    state = look_at_sweep(context, name)
    config = state.sweep.config
    if point not in config.points or column not in config.list_columns(point):
        columns = ", ".join(config.list_columns(point)) if point in config.points else "its own"
        raise ConfigError(
            f"cell {name}/{point}/{column} is not of the sweep. Allowed: points "
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
    rows = load_rows(context.project / "artifacts", item)
    fitting = [r for r in rows if r["protocol"] == protocol and r["row"] == model and metric in r]
    if not fitting:
        there = sorted({f"{row['protocol']}/{row['row']}" for row in rows})
        raise ConfigError(
            f"cell {item}/{protocol}/{model}/{metric} is not in the scores of {item}. Allowed: "
            f"{', '.join(there)}. What to do: `vills scores` lists them."
        )
    row = fitting[-1]  # means stand behind what they average
    folders = sorted((context.runs / "evaluate").glob(f"{row['run']}*"))
    if not folders:
        raise ConfigError(
            f"run {row['run']} of {item} is not in {context.runs}: its scores were pulled. What to "
            "do: ask where it ran; its fingerprint is the same there."
        )
    value = row[metric]
    text = f"{100 * value:.2f} %" if isinstance(value, float) else str(value)
    return [(str(row.get("title") or protocol), text, folders[0])]


def _describe(params: Params | None, run: Ancestor) -> Iterator[str]:
    receipt = run.receipt
    yield f"{run.name}  run {receipt['fingerprint'][:12]}  {run.folder}"
    git = receipt["git"]
    dirty = ""
    if git["dirty"]:
        diff = run.folder / DIFF_NAME
        named = diff if diff.exists() else "files that git does not track"
        dirty = f", with uncommitted changes: {named}"
    yield f"  commit  {git['commit'] or 'not in git'}{dirty}"
    yield f"  code    {receipt['code']['digest'][:12]} ({len(receipt['code']['files'])} files)"
    for name, entry in receipt["inputs"].items():
        folder = run.makers.get(name)
        maker = f"  <- {folder.parent.name} {folder.name[:12]}" if folder else ""
        yield f"  input   {name} sha256 {entry['digest'][:12]}{maker}"
    changes = _compare(params, receipt)
    shown = f"unlike params.yaml: {'; '.join(changes[:MAX_CHANGES])}"
    yield f"  params  {shown if changes else 'those of params.yaml'}"
    if changes[MAX_CHANGES:]:
        yield f"          and {len(changes) - MAX_CHANGES} more; all of them in receipt.json"
    for attempt in run.attempts:
        job = f"job {attempt.job} on " if attempt.job else ""
        yield (
            f"  attempt {attempt.number}: {job}{attempt.where}, {attempt.ranks} process(es), "
            f"{attempt.gpus} GPU(s), {60 * attempt.hours:.1f} min, {attempt.end}"
        )
    yield f"  GPU-hours {sum(attempt.gpu_hours for attempt in run.attempts):.2f}"


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


def trace(runs: Path, folder: Path) -> list[Ancestor]:
    """Return a run and all that it comes from, itself first, each once."""
    index = build_index(runs)
    found: dict[Path, Ancestor] = {}
    todo = [folder.resolve()]
    while todo:
        current = todo.pop(0)
        if current not in found:
            receipt = load_json(current / "receipt.json")
            digests = {name: entry["digest"] for name, entry in receipt["inputs"].items()}
            makers = {name: index[digest] for name, digest in digests.items() if digest in index}
            found[current] = Ancestor(current, receipt, list(load_attempts(current)), makers)
            todo += makers.values()
    return sorted(found.values(), key=lambda run: -STAGES.index(run.receipt["stage"]))


def build_index(runs: Path) -> dict[str, Path]:
    """Digest of every part of every complete run's output -> the run's folder."""
    index: dict[str, Path] = {}
    for stage in STAGES:
        for path in sorted((runs / stage).glob(f"*/{RESULT_NAME}")):
            outputs = load_result(path.parent)["outputs"]
            for part in sorted({name.partition("/")[0] for name in outputs}):
                index.setdefault(compute_part_digest(outputs, part), path.parent.resolve())
    return index


def load_attempts(folder: Path) -> Iterator[Attempt]:
    """Who worked on a run, in order."""
    attempts = folder / "attempts"
    for number in range(1, get_last_attempt(attempts) + 1):
        path, end = get_attempt_path(attempts, number), get_end_path(attempts, number)
        if not path.exists():
            continue
        note = load_json(path)
        ended = load_json(end) if end.exists() and end.stat().st_size else {}
        last = float(ended.get("time") or path.stat().st_mtime)  # else its last sign of life
        yield Attempt(
            number=number,
            job=str(note.get("job") or note.get("slurm_job") or ""),
            where=str(note.get("nodes") or note.get("host", "")),
            hours=max(0.0, last - float(note["time"])) / 3600.0,
            ranks=int(note.get("ranks", 1)),
            gpus=int(note.get("gpus", 0)),
            end=str(ended.get("status", "ended without a word, or goes on")),
        )
