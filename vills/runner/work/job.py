"""What a job runs: one node, in as many ranks as the job has.

    python -m vills.runner.work.job RUNS KEY

The job knows nothing but these two; a job that SLURM starts again after a dead node begins with
the same words as the first time, and finds its newest checkpoint in the run's folder.
"""

import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from vills.config.tracking import load_tracking_settings
from vills.endings import run_main
from vills.errors import RunError, UserError
from vills.interrupt import REQUEUE_SIGNAL, InterruptedRunError
from vills.io import load_json, save_own_json
from vills.progress import ProgressLine
from vills.runner.store.machine import describe_machine
from vills.runner.store.result import find_recorded
from vills.runner.work.ranks import load_ranks
from vills.runner.work.stage import StageCall, load_stage, run_call
from vills.secrets import render_public

NODES = "_nodes"
"""Folder of what was asked for, below the runs' folder."""
SPEC_KEYS = ("stage", "item", "inputs", "params", "code")
REMEDY = "launch the sweep again with --retry failed, which writes it anew"


@dataclass(frozen=True)
class NodeJob:
    """What submitit pickles: the names of this class and of a folder, and nothing that ages."""

    runs: str

    def __call__(self, key: str) -> int:
        """Run the node in this process."""
        # submitit's handler would requeue from here, or give up; see `vills.trust.render_guarded`.
        signal.signal(REQUEUE_SIGNAL, signal.SIG_IGN)
        return run_node(Path(self.runs), key)


def run_node(runs: Path, key: str) -> int:
    """Run a node that was submitted; the exit status.

    Raises:
        UserError: for the person who reads the job's log, also if a maker is not finished.
    """
    folder = runs / NODES / key
    leads = load_ranks().is_leader
    try:
        spec = load_json(folder / "spec.json", *SPEC_KEYS, remedy=REMEDY)
        name = f"{spec['stage']}@{spec['item']}".rstrip("@")
        inputs = {key: _find_input(runs, entry) for key, entry in spec["inputs"].items()}
        recorded = {key: find_recorded(p) for key, p in inputs.items() if runs in p.parents}
        code = runs / spec["code"]
        with closing(ProgressLine(name, silent=not leads)) as progress:
            call = StageCall(
                stage=load_stage(spec["stage"]),
                item=spec["item"],
                params=runs / spec["params"],
                inputs=inputs,
                runs=runs,
                checkout=code,
                tracking=load_tracking_settings(code),
                recorded=recorded,
                planned=spec.get("planned"),  # none of before
            )
            run = run_call(call, progress=progress)
        if run is not None:
            save_own_json(folder / "run.json", {"fingerprint": run.fingerprint})
    except InterruptedRunError:
        raise
    except BaseException as error:
        if leads:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            trace = render_public("".join(traceback.format_exception(error)))[-8000:]
            said = {"error": render_public(f"{kind}{error}")[:4000], "traceback": trace}
            save_own_json(folder / "error.json", {**said, "machine": describe_machine()})
        raise
    return 0


def _find_input(runs: Path, entry: Mapping[str, str]) -> Path:
    """Find what a node reads where its maker left it: in its run, which nobody changes."""
    if "path" in entry:
        return Path(entry["path"])
    maker = runs / NODES / entry["node"]
    noted = maker / "run.json"
    if not noted.exists():
        raise RunError(
            f"{maker} should have been computed before this job, but was not. What to do: find its "
            "error with `python sweeps/launch.py status`, then --retry failed."
        )
    stage = str(load_json(maker / "spec.json", "stage", remedy=REMEDY)["stage"])
    fingerprint = str(load_json(noted, "fingerprint", remedy=REMEDY)["fingerprint"])
    return runs / stage / fingerprint / "out" / entry["part"]


def main(arguments: Sequence[str]) -> int:
    """Run a node; the exit status."""
    runs, key = arguments
    return run_main("vills", lambda: run_node(Path(runs), key))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
