"""Outputs that lie in the project though no run here made them: what `dvc pull` brought.

A laboratory computes masks of four million images once and shares them by a DVC remote. A sweep in
another clone must not compute them again: what dvc.lock records for the present parameters, code
and data, and what lies there unchanged, is taken as it is.
"""

import json
import sys
from functools import cached_property
from pathlib import Path

import yaml

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.runner.clusters.scheduler import ask
from vills.runner.plan.nodes import Node, Planner, build_steps
from vills.runner.work.stage import load_stage

ADOPTED = ("miniature", "curate", "lse", "pretrain")
"""Stages that others build on; what a sweep asks for itself has a run."""
LOCK = "dvc.lock"


class Adoption:
    """Knows which nodes' outputs lie in the project as DVC recorded them."""

    def __init__(self, project: Path, planner: Planner) -> None:
        self._project = project
        self._planner = planner

    def find(self, node: Node) -> dict[str, Path]:
        """Outputs of a node by part, if the project holds them; else nothing."""
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
        text = ask([sys.executable, "-m", "dvc", "status", "--json", *names], cwd=self._project)
        if text is None:
            return set()
        changed = json.loads(text.strip().splitlines()[-1])
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
