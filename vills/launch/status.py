"""The plan: which run each stage names now, and how far it is. Works on an empty clone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.config.checks import ConfigError
from vills.config.load import load_params
from vills.config.params import Params
from vills.launch.local import get_runs_root, load_stage, to_plain
from vills.pipeline import STAGES, Stage
from vills.runs.code_digest import compute_code_digest
from vills.runs.digest import CACHE_NAME, DigestCache, compute_digest
from vills.runs.fingerprint import PlannedInput, compute_fingerprint
from vills.runs.lock import get_last_attempt


@dataclass(frozen=True)
class StageStatus:
    """One stage (of one data set)."""

    name: str
    """As DVC writes it."""
    fingerprint: str
    """Of its run; a planned one while an input is still to be made."""
    state: str
    """done, begun, to do, or waits for STAGE FINGERPRINT."""


def compute_status(project: Path) -> list[StageStatus]:
    """The state of every stage, in the order of the DAG."""
    params = load_params(project)
    planner = _Planner(project, params)
    return [
        planner.plan(load_stage(name), item)
        for name in STAGES
        for item in load_stage(name).items(params)
    ]


def format_status(statuses: Sequence[StageStatus]) -> str:
    """A line per stage."""
    width = max(len(status.name) for status in statuses)
    return "\n".join(f"{s.name:{width}}  {s.fingerprint[:12]}  {s.state}" for s in statuses)


class _Planner:
    def __init__(self, project: Path, params: Params) -> None:
        self._project = project
        self._params = params
        self._runs = get_runs_root(project)
        self._cache = DigestCache(self._runs / CACHE_NAME)
        self._makers: dict[Path, tuple[Stage, str, StageStatus]] = {}

    def plan(self, stage: Stage, item: str) -> StageStatus:
        """Name the run of a stage whose predecessors were planned before."""
        inputs: dict[str, str | PlannedInput] = {}
        waits = ""
        for name, path in self._find_inputs(stage, item).items():
            maker = self._makers.get(path)
            if maker is not None and maker[2].state != "done":
                inputs[name] = PlannedInput(maker[0].name, maker[1], maker[2].fingerprint)
                waits = waits or f"waits for {maker[2].name} {maker[2].fingerprint[:12]}"
            elif (self._project / path).exists():
                inputs[name] = compute_digest(self._project / path, self._cache)
            else:
                waits = waits or f"waits for {path}"
        fingerprint = compute_fingerprint(
            stage.name,
            item=item,
            params=to_plain(stage.resolve_sections(self._params, item)),
            inputs=inputs,
            code=compute_code_digest(f"vills.pipeline.{stage.name}"),
        )
        folder = self._runs / stage.name / fingerprint
        label = f"{stage.name}@{item}" if item else stage.name
        status = StageStatus(label, fingerprint, waits or _read_state(folder))
        for path in stage.outs(item).values():
            self._makers[path] = (stage, item, status)
        return status

    def _find_inputs(self, stage: Stage, item: str) -> dict[str, Path]:
        try:
            return stage.inputs(self._params, item)
        except ConfigError as error:
            # Weights or data that are not on this machine: the plan says so and goes on.
            return {"outside": Path(str(error).split(". What to do", maxsplit=1)[0])}


def _read_state(folder: Path) -> str:
    if (folder / "result.json").exists():
        return "done"
    attempts = get_last_attempt(folder / "attempts")
    return f"begun, {attempts} attempt(s)" if attempts else "to do"
