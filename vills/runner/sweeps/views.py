"""A sweep's record and its nodes' states -> what the tracker is to show of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.report.sweep_grid import pick_score
from vills.runner.mlflow.entry import (
    EXECUTION,
    FINGERPRINT,
    POINT,
    SWEEP,
    Entry,
    clean_name,
    shorten_param,
)
from vills.runner.mlflow.replay import SweepView
from vills.runner.plan.nodes import Plan
from vills.runner.plan.registry import Registry
from vills.runner.plan.states import NodeState
from vills.runner.store.result import load_result
from vills.runner.sweeps.notes import compute_digest
from vills.runner.sweeps.params import (
    build_point_params,
    build_sweep_params,
    list_columns,
    name_cells,
)

IDLE = "SCHEDULED"
LOGGED_TABLES = "mlflow.loggedArtifacts"
"""Tag by which MLflow's UI knows that a file is a table."""
TABLE_NAME, TABLES_FOLDER = "tables.json", "tables"
MAX_TAG = 5000
States = Mapping[str, NodeState]
"""By key of the node."""


class SweepViewer:
    """Builds views of one sweep at one moment."""

    def __init__(
        self,
        runs: Path,
        record: Mapping[str, Any],
        *,
        plans: Mapping[str, Plan],
        states: States,
        origin: Mapping[str, Any],
        idle: str = IDLE,
    ) -> None:
        """Keep what is looked at.

        Args:
            runs: The runs' folder.
            record: The sweep as launched.
            plans: By label of the point.
            states: Of all their nodes.
            origin: `execution` of the runs' folder; `commit`, `dirty`, `created_ms` of the launch.
            idle: MLflow's word for a point that nobody is at.
        """
        self._registry = Registry(runs)
        self._record = record
        self._plans = plans
        self._states = states
        self._origin = origin
        self._idle = idle

    def build_view(self, labels: Collection[str]) -> SweepView:
        """Return the parent, and these points."""
        statuses = [self.get_status(label) for label in self._plans]
        parent = self.build_parent(status=judge(statuses, idle=self._idle))
        tags = {**parent.tags, "vills.points": _say_counts(statuses)}
        chosen = [label for label in self._plans if label in labels]
        points = {label: self.build_point(label) for label in chosen}
        return SweepView(replace(parent, tags=tags), points)

    def build_parent(self, *, status: str, files: Sequence[Path] = (), table: str = "") -> Entry:
        """Return the parent alone; an empty status is left as it is.

        Args:
            status: MLflow's word for it.
            files: Rendered tables, which become its artifacts.
            table: One more, in MLflow's own form of a table.
        """
        config = self._record["config"]
        name = f"sweep {self._record['name']} {self._record['fingerprint'][:8]}"
        identity = {
            SWEEP: self._record["name"],
            FINGERPRINT: self._record["fingerprint"],
            EXECUTION: self._origin["execution"],
        }
        tags = {
            "vills.title": config["title"],
            "vills.cost": config["cost"],
            "vills.command": config["command"],
            "vills.cluster": self._record.get("cluster", ""),
            "vills.git_commit": self._origin["commit"],
            "vills.git_dirty": self._origin["dirty"],
            "mlflow.note.content": _describe(self._record),
            LOGGED_TABLES: f'[{{"path": "{TABLE_NAME}", "type": "table"}}]' if table else "",
        }
        artifacts = [(str(path.resolve()), TABLES_FOLDER) for path in files]
        artifacts += [(table, "")] if table else []
        contents = [part for path, _ in artifacts for part in _read_parts(Path(path))]
        return Entry(
            name=name,
            identity=identity,
            tags=self._clean_tags({**identity, **tags}, name),
            params=_clean_params(build_sweep_params(self._record)),
            created_ms=self._origin["created_ms"],
            completed=compute_digest(*contents) if artifacts else "",
            artifacts=artifacts,
            status=status,
        )

    def build_point(self, label: str) -> Entry:
        """Return one point, with all that its runs have left."""
        point, plan = self._record["points"][label], self._plans[label]
        cells, scored_ms = self._collect_scores(label)
        scores = {clean_name(name): value for name, value in cells.items()}
        run = self._find_pretrain(label)
        status = self.get_status(label)
        identity = {POINT: label, FINGERPRINT: point["fingerprint"]}
        return Entry(
            name=label,
            identity=identity,
            tags=self._clean_tags({**identity, **self._build_tags(label)}, label),
            params=_clean_params(build_point_params(point, plan)),
            scores=scores,
            scored_ms=scored_ms,
            completed=compute_digest(repr(sorted(scores.items())).encode()) if scores else "",
            run=str(run.resolve()) if run is not None and (run / "receipt.json").exists() else "",
            status=status,
            # The tracker lists the newest first: so points stand there as in the tables.
            created_ms=self._origin["created_ms"] - list(self._plans).index(label),
            ended_ms=scored_ms if status == "FINISHED" and scored_ms else None,
        )

    def get_status(self, label: str) -> str:
        """MLflow's word for how far a point is."""
        nodes = self._plans[label].values()
        return judge([_STATUS[self._states[node.key].state] for node in nodes], idle=self._idle)

    def compute_mark(self, label: str) -> str:
        """Another one as soon as anything that the point's child shows may be another.

        Nothing is read for it but the dates of files: a hundred points are looked at in no time.
        """
        parts: list[Any] = [
            self._origin["created_ms"],
            self._record["points"][label]["fingerprint"],
        ]
        for node in self._plans[label].values():
            state = self._states[node.key]
            parts.append([node.key, state.state, state.detail, state.job, state.attempts])
            if state.run is not None and node.step.stage in ("pretrain", "evaluate"):
                name = "journal.jsonl" if node.step.stage == "pretrain" else "result.json"
                parts.append([str(state.run.name), _read_date(state.run / name)])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def compute_parent_mark(self) -> str:
        """Return the same of the parent, without its report."""
        statuses = [self.get_status(label) for label in self._plans]
        parts = [statuses, self._record["overrides"], self._origin]
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _clean_tags(self, tags: Mapping[str, str], name: str) -> dict[str, str]:
        source = f"sweeps/launch.py {self._record['name']}"
        own = {"mlflow.source.type": "LOCAL", "mlflow.source.name": source, "mlflow.runName": name}
        return {clean_name(key): value[:MAX_TAG] for key, value in {**tags, **own}.items() if value}

    def _find_pretrain(self, label: str) -> Path | None:
        node = self._plans[label].get("pretrain")
        return self._states[node.key].run if node is not None else None

    def _build_tags(self, label: str) -> dict[str, str]:
        plan = self._plans[label]
        states = {name: self._states[node.key] for name, node in plan.items()}
        jobs = {
            name: [entry.job for entry in self._registry.load_submissions(node.key) if entry.job]
            for name, node in plan.items()
        }
        attempts = {name: state.attempts for name, state in states.items() if state.attempts}
        return {
            "vills.sweep": self._record["name"],
            "vills.execution": self._origin["execution"],
            "vills.label": self._record["config"]["points"][self._name(label)]["label"],
            "vills.state": _say_state(states),
            "vills.jobs": json.dumps({name: ids for name, ids in jobs.items() if ids}),
            "vills.attempts": json.dumps(attempts),
            "vills.lacking": ", ".join(self._record["points"][label]["lacking"]),
            **{
                f"vills.run.{name}": state.run.name
                for name, state in states.items()
                if state.run is not None
            },
        }

    def _name(self, label: str) -> str:
        return str(self._record["points"][label]["name"])

    def _collect_scores(self, label: str) -> tuple[dict[str, float], int]:
        """Return the point's cells by metric, and when the last of them was measured."""
        columns = list_columns(self._record["config"], self._name(label))
        names = name_cells(columns)
        scores: dict[str, float] = {}
        scored_ms = 0
        for item in dict.fromkeys(column.evaluate for column in columns.values()):
            node = self._plans[label].get(f"evaluate@{item}")
            state = self._states[node.key] if node is not None else None
            if state is None or state.state != "done" or state.run is None:
                continue
            rows = load_json(state.run / "out" / "evaluate" / "results.json")["rows"]
            scored_ms = max(scored_ms, int(load_result(state.run)["finished_ms"]))
            for key, column in columns.items():
                value = pick_score(rows, column) if column.evaluate == item else None
                if value is not None:
                    scores[names[key]] = value
        return scores, scored_ms


def judge(statuses: Sequence[str], *, idle: str) -> str:
    """MLflow's word for all of something, from its words for the parts; empty: nobody is at it."""
    for word in ("RUNNING", "SCHEDULED", "FAILED", "KILLED"):
        if word in statuses:
            return word
    return idle if "" in statuses else "FINISHED"


_STATUS = {
    "done": "FINISHED",
    "running": "RUNNING",
    "queued": "SCHEDULED",
    "failed": "FAILED",
    "cancelled": "KILLED",
    "lost": "KILLED",
    # Nobody is at it and nobody was asked to be: what else there is decides.
    **dict.fromkeys(("to do", "waits", "stopped"), ""),
}


def _say_state(states: Mapping[str, NodeState]) -> str:
    """Return the first node that is not done, in a line."""
    for name, state in states.items():
        if state.state != "done":
            return f"{name} {state.state}" + (f": {state.detail}" if state.detail else "")
    return "done" if states else "params.yaml lacks its evaluations"


def _say_counts(statuses: Collection[str]) -> str:
    counts = sorted(Counter(statuses).items())
    return ", ".join(f"{num} {word.lower()}" for word, num in counts)


def _describe(record: Mapping[str, Any]) -> str:
    """Return the parent's description in MLflow, Markdown."""
    config = record["config"]
    lines = [f"**{config['title']}**", ""]
    lines += [f"- {table['title']}" for table in config["tables"].values()]
    lines += ["", f"`{config['command']}`", "", f"At the paper's scale: {config['cost']}."]
    return "\n".join(lines)


def _clean_params(params: Mapping[str, str]) -> dict[str, str]:
    return {clean_name(name): shorten_param(value) for name, value in params.items()}


def _read_parts(path: Path) -> tuple[bytes, bytes]:
    return path.name.encode(), path.read_bytes()


def _read_date(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]
