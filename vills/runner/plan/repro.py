"""`vills repro`: `dvc repro` with its heavy stages on a cluster, waited for or left alone."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vills.config.load import load_params
from vills.runner.plan.board import OVER
from vills.runner.plan.context import VARIABLE, Desk, choose_cluster
from vills.runner.plan.elsewhere import DETACH, look_at, submit_dag

SUBMITTED = 75
"""EX_TEMPFAIL: nothing failed, not everything is done."""


def reproduce(
    project: Path, *, targets: Sequence[str], cluster: str, detach: bool, retry: bool
) -> int:
    """Run `dvc repro`; the exit status.

    With `detach` everything that is not done is asked for first, DVC collects what is done
    (`--keep-going`), and the status is 75 while jobs are left. DVC turns every stage's own status
    into 1, so what that means is read off the jobs.
    """
    chosen = choose_cluster(cluster)
    environment = {**os.environ, VARIABLE: chosen}
    command = [sys.executable, "-m", "dvc", "repro", *targets]
    if not detach:
        return subprocess.run(command, cwd=project, env=environment, check=False).returncode
    params = load_params(project)
    plan = submit_dag(project, params=params, cluster=chosen, targets=targets, retry=retry)
    # Looked at before DVC walks: a job that ends meanwhile is done, and still not collected.
    states = look_at(Desk(project), plan)
    left = [name for name, node in plan.items() if states[node.key].state != "done"]
    status = subprocess.run(
        [*command, "--keep-going"], cwd=project, env={**environment, DETACH: "1"}, check=False
    ).returncode
    if status == 0:
        return 0
    states = look_at(Desk(project), plan)
    over = {n: states[node.key] for n, node in plan.items() if states[node.key].state in OVER}
    for name, state in over.items():
        print(f"{name}: {state.state}, {state.detail}", file=sys.stderr)
    if over:
        print("mend it, then: vills repro --detach --retry failed", file=sys.stderr)
        return 1
    if left:
        print(f"submitted, not collected yet: {', '.join(left)}", file=sys.stderr)
        print("give the same command again later; it collects what is done", file=sys.stderr)
        return SUBMITTED
    return status
