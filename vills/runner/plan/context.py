"""What a command about nodes needs: a project's runs, registry, clusters and resources."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

from vills.config.checks import check_choice
from vills.runner.clusters import run_command
from vills.runner.clusters.jobs import (
    Cluster,
    ClusterError,
    Resources,
    check_overrides,
    load_resources,
)
from vills.runner.clusters.queue import ForegroundQueue, LocalQueue
from vills.runner.clusters.slurm import SlurmCluster
from vills.runner.plan.nodes import Plan, Planner
from vills.runner.plan.registry import Adopted, Registry, load_adopted
from vills.runner.plan.states import NodeState, compute_states
from vills.runner.plan.submit import Submitter
from vills.runner.store.digest import CACHE_NAME, DigestCache
from vills.runner.store.file_lock import hold_file_lock
from vills.runner.work.stage import get_runs_root

CLUSTERS = ("slurm", "local", "debug")
VARIABLE = "VILLS_CLUSTER"
LOCK_NAME, LOCK_SECONDS = ".launch.lock", 120.0


class LaunchContext:
    """A project's runs, and the clusters that make more."""

    def __init__(self, project: Path, *, slurm: Sequence[str] = ()) -> None:
        """Open it; `slurm` are overrides of slurm/*.yaml.

        Raises:
            ConfigError: if one names no stage.
        """
        check_overrides(slurm)
        self.project = project
        self.runs = get_runs_root(project)
        self._slurm = slurm

    @cached_property
    def planner(self) -> Planner:
        """Names nodes."""
        return Planner(self.project, DigestCache(self.runs / CACHE_NAME))

    @cached_property
    def _adopted(self) -> Adopted:
        return load_adopted(self.project, self.planner)

    @cached_property
    def clusters(self) -> dict[str, Cluster]:
        """Clusters by name: one of them knows any job that was asked for."""
        return {"slurm": SlurmCluster(), "local": LocalQueue(self.runs)}

    @contextmanager
    def hold_lock(self) -> Iterator[None]:
        """Keep other launchers of the same runs out while jobs are asked for."""
        self.runs.mkdir(parents=True, exist_ok=True)
        try:
            with hold_file_lock(self.runs / LOCK_NAME, patience=LOCK_SECONDS):
                yield
        except TimeoutError as error:
            raise ClusterError(
                f"another launcher is asking for jobs ({error}). What to do: wait for it."
            ) from error

    def open_registry(self) -> Registry:
        """Open the registry anew: it sees every file once."""
        return Registry(self.runs, adopted=lambda: self._adopted)

    def compute_states(
        self, plans: Sequence[Plan], *, registry: Registry | None = None
    ) -> dict[str, NodeState]:
        """Return the state of every node of these plans, by key, as it is now."""
        return compute_states(registry or self.open_registry(), self.clusters, plans)

    def get_resources(self, stage: str) -> Resources:
        """Return what a stage's jobs ask for."""
        return load_resources(self.project, stage, self._slurm)

    def open_submitter(
        self,
        registry: Registry,
        cluster: str,
        *,
        max_parallel: int = 0,
        say: Callable[[str], None] = print,
    ) -> Submitter:
        """Somebody who asks `cluster` for nodes."""
        chosen = ForegroundQueue(self.runs) if cluster == "debug" else self.clusters[cluster]
        return Submitter(
            self.project, registry, chosen, self.get_resources, self.clusters, max_parallel, say
        )


def choose_cluster(name: str = "") -> str:
    """`name`, else VILLS_CLUSTER, else slurm where sbatch is, else the local queue.

    Raises:
        ConfigError: if there is no such cluster.
    """
    chosen = name or os.environ.get(VARIABLE, "")
    if not chosen:
        return "slurm" if run_command(["sbatch", "--version"]).ok else "local"
    check_choice("cluster", chosen, CLUSTERS, f"mend --cluster or {VARIABLE}")
    return chosen
