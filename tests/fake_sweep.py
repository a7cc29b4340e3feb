"""A sweep whose runs are made up, but written by the writers of real ones."""

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from vills.config.sweep import ColumnConfig, PointConfig, SweepConfig, TableConfig
from vills.config.tracking import TrackingSettings
from vills.io import save_json
from vills.runner.mlflow.replay import SyncResult, sync_tracked_runs
from vills.runner.mlflow.tracked_run import TrackedRun
from vills.runner.plan.nodes import Node, NodeInput, Plan, Step
from vills.runner.plan.registry import Registry, Submission
from vills.runner.store.run import Run
from vills.runner.sweeps.sweep import Point, Sweep, save_record

WEIGHTS = ("feature_weight", "masking_weight", "koleo_weight", "alignment_weight")
COLUMNS = {
    "market_map": ColumnConfig("Market1501", "market1501", "market1501", "mAP"),
    "market_r1": ColumnConfig("Market1501", "market1501", "market1501", "R-1"),
}


@dataclass(frozen=True)
class FakeSweep:
    """A launched sweep of a pre-training and an evaluation per point."""

    runs: Path
    sweep: Sweep

    def get_node(self, point: str, stage: str) -> Node:
        """A node of a point by its stage."""
        [plan] = [p.plan for p in self.sweep.points if p.label == point]
        [node] = [node for node in plan.values() if node.step.stage == stage]
        return node

    def open_run(self, node: Node) -> Run:
        """The run of a node; `with` begins an attempt at it."""
        run = Run(
            self.runs,
            stage=node.step.stage,
            item=node.step.item,
            read_params=lambda: {**node.step.sections, "key": node.key},
            inputs={},
            module="vills.areas",
            progress=print,
        )
        self.note_run(node, run.fingerprint)
        return run

    def note_run(self, node: Node, fingerprint: str) -> None:
        """What a job notes when it has ended."""
        folder = Registry(self.runs).get_folder(node.key)
        save_json(folder / "run.json", {"fingerprint": fingerprint})
        save_json(folder / "spec.json", {"stage": node.step.stage, "code": "_code/none"})

    def submit(self, node: Node, job: str, *, cluster: str = "slurm") -> None:
        """Note a job, asked for a long time ago."""
        entry = Submission(cluster, job, f"batch-{job}", 1.0, "_logs/none")
        Registry(self.runs).save_submissions(node.key, [entry])

    def pretrain(self, point: str, steps: range = range(1, 4)) -> Path:
        """Finish a point's pre-training."""
        with self.open_run(self.get_node(point, "pretrain")) as run:
            for step in steps:
                run.journal.log(step, {"loss": 1.0 / step, "loss/masking": 2.0 / step})
            run.complete(metrics={"final_loss": 1.0 / steps[-1]})
        return run.folder

    def evaluate(self, point: str, score: float = 0.5) -> Path:
        """Finish a point's evaluation."""
        with self.open_run(self.get_node(point, "evaluate")) as run:
            row = {"protocol": "market1501", "row": "finetuned", "rerank": "off"}
            (run.out / "evaluate").mkdir(parents=True)
            content = {"rows": [{**row, "mAP": score, "R-1": min(1.0, score + 0.1)}]}
            (run.out / "evaluate" / "results.json").write_text(json.dumps(content))
            run.complete(metrics={"mAP": score})
        return run.folder

    def finish(self, points: Sequence[str] = ()) -> None:
        """Finish points, by default all, with scores that differ."""
        for number, point in enumerate(self.sweep.points):
            if not points or point.label in points:
                self.pretrain(point.label)
                self.evaluate(point.label, 0.5 + number / 1000)


def build_fake_sweep(
    runs: Path, *, num_points: int = 2, name: str = "grid", launched: bool = True
) -> FakeSweep:
    """A sweep over the masking weight; `launched`: its record is written, too."""
    labels = [f"masking_{number}" for number in range(num_points)]
    overrides = {label: f"pretrain.masking_weight={i / 2}" for i, label in enumerate(labels)}
    config = SweepConfig(
        title="Losses and balancing parameters",
        command=f"python sweeps/launch.py {name}",
        cost="nothing",
        tables={"table": TableConfig("Table 3. Balancing", COLUMNS)},
        points={
            label: PointConfig(f"w/ L^m, λ2 = {i / 2}", x=float(i), overrides=[overrides[label]])
            for i, label in enumerate(labels)
        },
    )
    points = tuple(
        Point(label, None, ("profile=tiny", overrides[label]), build_fake_plan(number))
        for number, label in enumerate(labels)
    )
    sweep = Sweep(name, name, config, points, ("profile=tiny",), "profile tiny", "slurm")
    if launched:
        save_record(runs, sweep)
    return FakeSweep(runs, sweep)


def build_fake_plan(number: int) -> Plan:
    """Pre-training and evaluation of the point that has this number in every sweep."""
    pretrain: dict[str, Any] = {
        **dict(zip(WEIGHTS, (1, number / 2, 3, 2), strict=True)),
        **{"areas": ["upper_body", "head"], "modalities": "image+video", "epochs": 100, "seed": 0},
        "model": {"width": 32, "resampler": True},
    }
    made = NodeInput("pretrain", "pretrain")
    steps = (
        Step("pretrain", "", {"pretrain": pretrain}, {}),
        Step("evaluate", "market1501", {"evaluate": {}}, {"pretrain": made}),
    )
    keys = [f"{number:02d}{stage}" * 8 for stage in ("aaaaaa", "bbbbbb")]
    makers: Sequence[Mapping[str, str]] = ({}, {"pretrain": keys[0]})
    return {
        step.name: Node(step, key, dict(needs), {}, "c" * 64)
        for step, key, needs in zip(steps, keys, makers, strict=True)
    }


def write_quickly() -> ExitStack:
    """Receipts without the list of packages: a third of a second each."""
    stack = ExitStack()
    stack.enter_context(patch("vills.runner.store.receipt.list_packages", dict))
    return stack


def sync_here(
    tracked_runs: Sequence[TrackedRun], settings: TrackingSettings, *, patience: float | None
) -> SyncResult:
    """`sync_in_process` without the process, which takes seconds to import MLflow."""
    told = json.loads(json.dumps([asdict(run) for run in tracked_runs]))
    return sync_tracked_runs([TrackedRun(**entry) for entry in told], settings)
