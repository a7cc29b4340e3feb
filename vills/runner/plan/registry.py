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
and data, and what lies there unchanged, is taken as it is (`load_adopted`).

_params and _code are what a job starts from, frozen when it was asked for: a pending job would
import whatever lies in the checkout when it starts. They are named by their content, so that a
hundred jobs share one, and are never written to again.
"""

import hashlib
import json
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from vills.config.checks import ConfigError
from vills.config.load import PARAMS_FILE, load_params, render_params
from vills.config.params import Params
from vills.config.yaml_reader import Reader
from vills.config.yaml_text import Source
from vills.digests import CACHE_NAME, DigestCache, compute_digest, compute_part_digest
from vills.git import DIFF_NAME, GIT_NAME, describe_git, load_git_diff
from vills.io import find_json, load_json, save_bytes, save_own_json
from vills.programs import run_command
from vills.runner.plan.nodes import MISSING, Node, Plan, Planner, build_steps
from vills.runner.store.code_digest import DEFAULT_ROOT
from vills.runner.store.receipt import compute_fingerprint
from vills.runner.store.result import find_result
from vills.runner.work.job import NODES
from vills.runner.work.stage import load_stage
from vills.trust import check_trusted

PARAMS, CODE = "_params", "_code"
ADOPTED = ("miniature", "curate", "lse", "pretrain")
"""Stages that others build on; what a sweep asks for itself has a run."""
LOCK = "dvc.lock"
COMPILED = (".pyc", ".pyo")


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


Adopted = Mapping[str, Mapping[str, Path]]
"""Key of a node -> its outputs by part, as they lie in the project."""


@cache
def load_adopted(project: Path, planner: Planner) -> Adopted:
    """Read which nodes of params.yaml have all outputs in the project as dvc.lock says; once."""
    lock = project / LOCK
    if not lock.is_file():
        return {}
    recorded = Reader(Source(LOCK)).load(lock, dict[str, Any]).get("stages") or {}
    try:
        plan = planner.build_plan(build_steps(load_params(project)))
    except ConfigError:
        return {}
    found: dict[str, dict[str, Path]] = {}
    for name, node in plan.items():
        if name in recorded and node.step.stage in ADOPTED:
            outs = load_stage(node.step.stage).outs(node.step.item)
            found[name] = {part: project / path for part, path in outs.items()}
    names = sorted(name for name, outs in found.items() if all(p.exists() for p in outs.values()))
    if not names:
        return {}
    command = [sys.executable, "-m", "dvc", "status", "--json", *names]
    answer = run_command(command, cwd=project)
    changed = json.loads(answer.text.strip().splitlines()[-1]) if answer.ok else names
    return {plan[name].key: found[name] for name in names if name not in changed}


class Registry:
    """Looks up nodes; one object sees every file once."""

    def __init__(self, runs: Path, *, adopted: Callable[[], Adopted] = dict) -> None:
        """Open it; `adopted` is asked only if something that others build on has no run."""
        self.runs = runs
        self._adopted = adopted
        self._fingerprints: dict[str, str] = {}
        self._results: dict[Path, dict[str, Any]] = {}

    def get_folder(self, key: str) -> Path:
        """Folder of a node's own files."""
        return self.runs / NODES / key

    def find_fingerprint(self, node: Node, plan: Plan) -> str:
        """Fingerprint of a node's run; empty while something that it reads is not made yet."""
        if not self._fingerprints.get(node.key):
            self._fingerprints[node.key] = self._load_noted(node) or self._compute(node, plan)
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
        if folder is not None and not self._results.get(folder):
            self._results[folder] = find_result(folder)
        return folder if folder is not None and self._results[folder] else None

    def find_adopted(self, node: Node, plan: Plan) -> Mapping[str, Path]:
        """Return what lies in the project in place of a run, by part; nothing if there is a run."""
        if node.step.stage not in ADOPTED or self.find_complete(node, plan) is not None:
            return {}
        return self._adopted().get(node.key, {})

    def load_submissions(self, key: str) -> list[Submission]:
        """Jobs that were asked for, newest last."""
        path = self.get_folder(key) / "jobs.json"
        remedy = "remove the file; nobody knows of its jobs then, so first cancel those that run"
        asked = load_json(path, "jobs", remedy=remedy)["jobs"] if path.exists() else []
        return [Submission(**entry) for entry in asked]

    def save_submissions(self, key: str, submissions: list[Submission]) -> None:
        """Replace the list of jobs."""
        jobs = [asdict(entry) for entry in submissions]
        save_own_json(self.get_folder(key) / "jobs.json", {"jobs": jobs})

    def load_error(self, key: str) -> str:
        """Why a job ended before its run could say so, or empty."""
        return str(find_json(self.get_folder(key) / "error.json").get("error", ""))

    def _load_noted(self, node: Node) -> str:
        noted = str(find_json(self.get_folder(node.key) / "run.json").get("fingerprint", ""))
        # a run that was thrown away since is no run
        return noted if (self.runs / node.step.stage / noted / "receipt.json").exists() else ""

    def _compute(self, node: Node, plan: Plan) -> str:
        inputs: dict[str, str] = {}
        for name, entry in node.step.inputs.items():
            if not entry.maker:
                inputs[name] = node.outside[name]
                if inputs[name].startswith(MISSING):
                    return ""
                continue
            maker = plan[entry.maker]
            if folder := self.find_complete(maker, plan):
                inputs[name] = compute_part_digest(self._results[folder]["outputs"], entry.part)
            elif adopted := self.find_adopted(maker, plan):
                cache = DigestCache(self.runs / CACHE_NAME)
                inputs[name] = compute_digest(adopted[entry.part], cache)
            else:
                return ""
        return compute_fingerprint(
            node.step.stage,
            item=node.step.item,
            params=node.step.sections,
            inputs=inputs,
            code=node.code,
        )


def save_code(runs: Path, checkout: Path, *, package: Path = DEFAULT_ROOT) -> str:
    """Copy the running package below `runs`, once; its path relative to `runs`.

    The commit and the uncommitted difference of `checkout` go with it, so that a run's receipt can
    say where its code came from.
    """
    git, diff = describe_git(checkout), load_git_diff(checkout)
    files = {
        path.relative_to(package.parent): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in COMPILED
    }
    digest = hashlib.sha256(json.dumps(git, sort_keys=True).encode())
    for name, data in files.items():
        digest.update(f"{name}\0".encode() + data)

    def fill(folder: Path) -> None:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        save_own_json(folder / GIT_NAME, git)
        if diff:
            save_bytes(folder / DIFF_NAME, diff.encode())

    return _create_once(runs, f"{CODE}/{digest.hexdigest()[:32]}", fill)


def save_point(runs: Path, params: Params, *, origin: str) -> str:
    """Write a params.yaml below `runs`, once; its folder relative to `runs`."""
    text = render_params(params, profile=origin).encode()
    name = f"{PARAMS}/{hashlib.sha256(text).hexdigest()[:32]}"
    return _create_once(runs, name, lambda folder: save_bytes(folder / PARAMS_FILE, text))


def _create_once(runs: Path, name: str, fill: Callable[[Path], None]) -> str:
    """Make a folder as a whole or not at all; whom one trusts may have come first. Its name."""
    folder = runs / name
    if folder.exists():
        check_trusted(runs, folder)
        return name
    beside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    beside.mkdir(parents=True)
    try:
        fill(beside)
        beside.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    check_trusted(runs, folder)
    return name
