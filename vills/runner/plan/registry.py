"""What has been computed and what was asked of a cluster: plain JSON files below the runs' folder.

    _nodes/KEY/spec.json    what a job runs: stage, item, parameters, inputs, code
    _nodes/KEY/jobs.json    every submission of it, newest last
    _nodes/KEY/run.json     the run's fingerprint, once a job knows it
    _nodes/KEY/error.json   why a job ended before its run could say so
    _params/DIGEST/         a params.yaml; _code/DIGEST/ a snapshot of the package

The launcher writes the first two, jobs the other two; nobody writes another's.

Outputs may also lie in the project though no run here made them: what `dvc pull` brought. A
laboratory computes masks of four million images once and shares them by a DVC remote. A sweep in
another clone must not compute them again: what dvc.lock records for the present parameters, code
and data, and what lies there unchanged, is taken as it is (`Adoption`).
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.io import load_json, save_json
from vills.runner.clusters.scheduler import run_command
from vills.runner.plan.nodes import MISSING, Node, NodeInput, Plan, Planner, build_steps
from vills.runner.store.digest import CACHE_NAME, DigestCache, compute_digest
from vills.runner.store.receipt import compute_fingerprint
from vills.runner.store.result import RESULT_NAME, load_result
from vills.runner.work.job import NODES
from vills.runner.work.stage import load_stage

PARAMS, CODE, LOGS = "_params", "_code", "_logs"
ADOPTED = ("miniature", "curate", "lse", "pretrain")
"""Stages that others build on; what a sweep asks for itself has a run."""
LOCK = "dvc.lock"


@dataclass(frozen=True)
class Submission:
    """One job that was asked for."""

    cluster: str
    """slurm or local."""
    job: str
    """Its id there; empty while the launcher does not know it (or was killed before it did)."""
    batch: str
    """Name that all jobs of one call of sbatch have."""
    submitted: float
    """Unix time."""
    log: str
    """Folder of its output."""


class Adoption:
    """Knows which nodes' outputs lie in the project as DVC recorded them."""

    def __init__(self, project: Path, planner: Planner) -> None:
        self._project = project
        self._planner = planner

    def find(self, node: Node) -> dict[str, Path]:
        """Return the outputs of a node by part, if the project holds them; else nothing."""
        if node.step.stage not in ADOPTED or node.key not in self._unchanged:
            return {}
        outs = load_stage(node.step.stage).outs(node.step.item)
        return {part: self._project / path for part, path in outs.items()}

    @cached_property
    def _unchanged(self) -> set[str]:
        """Keys of nodes of params.yaml whose outputs are all there and as dvc.lock says."""
        candidates = self._list_candidates()
        if not candidates:
            return set()
        names = sorted(candidates)
        command = [sys.executable, "-m", "dvc", "status", "--json", *names]
        answer = run_command(command, cwd=self._project)
        if not answer.ok:
            return set()
        changed = json.loads(answer.text.strip().splitlines()[-1])
        return {candidates[name] for name in names if name not in changed}

    def _list_candidates(self) -> dict[str, str]:
        lock = self._project / LOCK
        if not lock.is_file():
            return {}
        recorded = (yaml.safe_load(lock.read_text()) or {}).get("stages", {})
        try:
            plan = self._planner.build_plan(build_steps(load_params(self._project)))
        except ConfigError:
            return {}
        return {
            name: node.key
            for name, node in plan.items()
            if name in recorded
            and node.step.stage in ADOPTED
            and all(
                (self._project / path).exists()
                for path in load_stage(node.step.stage).outs(node.step.item).values()
            )
        }


class Registry:
    """Looks up nodes; one object sees every file once."""

    def __init__(self, runs: Path, *, adoption: Adoption | None = None) -> None:
        self.runs = runs
        self._adoption = adoption
        self._fingerprints: dict[str, str] = {}

    def get_folder(self, key: str) -> Path:
        """Folder of a node's own files."""
        return self.runs / NODES / key

    def find_fingerprint(self, node: Node, plan: Plan) -> str:
        """Fingerprint of a node's run; empty while something that it reads is not made yet."""
        if node.key not in self._fingerprints:
            found = self._load_noted(node) or self._compute(node, plan)
            if not found:
                return ""
            self._fingerprints[node.key] = found
        return self._fingerprints[node.key]

    def find_run(self, node: Node, plan: Plan) -> Path | None:
        """Folder of a node's run, which may not exist yet; None while it cannot be named."""
        fingerprint = self.find_fingerprint(node, plan)
        return self.runs / node.step.stage / fingerprint if fingerprint else None

    def is_done(self, node: Node, plan: Plan) -> bool:
        """Whether the run is complete, or what it would leave was brought by DVC."""
        return self.find_complete(node, plan) is not None or bool(self.find_adopted(node, plan))

    def find_complete(self, node: Node, plan: Plan) -> Path | None:
        """Folder of a node's complete run."""
        folder = self.find_run(node, plan)
        return folder if folder is not None and (folder / RESULT_NAME).exists() else None

    def find_adopted(self, node: Node, plan: Plan) -> dict[str, Path]:
        """Return what lies in the project in place of a run, by part; nothing if there is a run."""
        if self._adoption is None or self.find_complete(node, plan) is not None:
            return {}
        return self._adoption.find(node)

    def load_submissions(self, key: str) -> list[Submission]:
        """Jobs that were asked for, newest last."""
        path = self.get_folder(key) / "jobs.json"
        if not path.exists():
            return []
        return [Submission(**entry) for entry in load_json(path)["jobs"]]

    def save_submissions(self, key: str, submissions: list[Submission]) -> None:
        """Replace the list of jobs."""
        save_json(
            self.get_folder(key) / "jobs.json", {"jobs": [asdict(entry) for entry in submissions]}
        )

    def load_error(self, key: str) -> str:
        """Why a job ended before its run could say so, or empty."""
        path = self.get_folder(key) / "error.json"
        return str(load_json(path)["error"]) if path.exists() else ""

    def _load_noted(self, node: Node) -> str:
        path = self.get_folder(node.key) / "run.json"
        noted = str(load_json(path)["fingerprint"]) if path.exists() else ""
        # a run that was thrown away since is no run
        return noted if (self.runs / node.step.stage / noted / "receipt.json").exists() else ""

    def _compute(self, node: Node, plan: Plan) -> str:
        inputs: dict[str, str] = {}
        for name, entry in node.step.inputs.items():
            if not entry.maker:
                if node.outside[name].startswith(MISSING):
                    return ""
                inputs[name] = node.outside[name]
                continue
            maker = plan[entry.maker]
            if not self.is_done(maker, plan):
                return ""
            folder = self.find_complete(maker, plan)
            if folder is not None:
                inputs[name] = compute_part_digest(load_result(folder)["outputs"], entry.part)
            else:
                adopted = self.find_adopted(maker, plan)[entry.part]
                inputs[name] = compute_digest(adopted, DigestCache(self.runs / CACHE_NAME))
        return compute_fingerprint(
            node.step.stage,
            item=node.step.item,
            params=node.step.sections,
            inputs=inputs,
            code=node.code,
        )


def compute_part_digest(outputs: Mapping[str, str], part: str) -> str:
    """Digest of a part of a run's outputs, as `compute_digest` of its file or folder gives it."""
    if part in outputs:
        return outputs[part]
    inside = {
        name.removeprefix(f"{part}/"): digest
        for name, digest in outputs.items()
        if name.startswith(f"{part}/")
    }
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(inside.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def build_spec(
    node: Node,
    *,
    params: str,
    code: str,
    project: Path,
    environment: Mapping[str, str],
    adopted: Mapping[str, Mapping[str, Path]],
) -> dict[str, Any]:
    """Return what a job needs to know; paths below the runs' folder are relative to it.

    `adopted` has, by the name of a maker, what lies in the project in place of its run.
    """

    def locate(name: str, entry: NodeInput) -> dict[str, str]:
        if entry.maker in adopted:
            return {"path": str(adopted[entry.maker][entry.part].resolve())}
        if entry.maker:
            return {"node": node.makers[name], "part": entry.part}
        return {"path": str(project / entry.path)}

    return {
        "stage": node.step.stage,
        "item": node.step.item,
        "inputs": {name: locate(name, entry) for name, entry in node.step.inputs.items()},
        "params": params,
        "code": code,
        "environment": dict(environment),
    }
