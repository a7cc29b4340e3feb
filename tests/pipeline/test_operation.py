"""In its middle a run is damaged, or `operation` is changed: it goes on, to the same bytes."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.damage import DAMAGES, list_files
from vills.config.load import PARAMS_FILE, load_params, save_params
from vills.config.params import OperationConfig
from vills.digests import compute_listing
from vills.errors import UserError
from vills.pipeline import STAGES
from vills.progress import ProgressLine
from vills.runner.plan.launch import find_inputs, launch_stage
from vills.runner.plan.nodes import build_steps
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.journal import load_journal
from vills.runner.store.run import Run
from vills.runner.work.stage import StageCall, load_stage, run_call

pytestmark = pytest.mark.slow

CASES: dict[str, list[tuple[str, str, Any]]] = {
    "checkpoint_minutes": [("pretrain", "", 0.0), ("finetune", "mars", 0.0)],
    "checkpoint_steps": [("pretrain", "", 1)],
    "max_corrupt_share": [("curate", "", 0.9), ("lse", "", 0.9)],
    "block_size": [("evaluate", "mars", 1)],
}
"""Field -> stages that read it, each with a value that it is changed to."""
DONE = [("miniature", ""), ("curate", ""), ("lse", ""), ("pretrain", "")]
DONE += [("finetune", "mars"), ("evaluate", "mars")]


class StoppedError(Exception):
    """The attempt is ended by the test."""


class Steps(ProgressLine):
    """Counts what a stage tells, and ends it after so many steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__("test", silent=True)
        self.steps: list[tuple[str, int]] = []
        self._stop_after = stop_after

    def __call__(self, label: str, done: int, total: int) -> None:
        self.steps.append((re.sub("loss .*", "loss", label), done))
        if len(self.steps) == self._stop_after:
            raise StoppedError


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project in which every stage has run once, undisturbed; some of its inputs are damaged."""
    folder = tmp_path_factory.mktemp("operation") / "project"
    folder.mkdir()
    save_params(folder, profile="tiny", overrides=["operation.max_corrupt_share=0.25"])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VILLS_TRACKING", "off")
        patch.setenv("VILLS_WORKERS", "1")
        patch.delenv("VILLS_RUNS", raising=False)
        for stage, item in DONE:
            launch_stage(folder, stage=stage, item=item)
            if stage == "miniature":
                damage(folder)
        yield folder
    torch.set_num_threads(threads)


def damage(project: Path) -> None:
    """Make an image of the world unreadable, as if another project had made that world."""
    (project / "artifacts/metrics/miniature.json").unlink()
    folder = project / "artifacts/miniature/luperson"
    images = [
        path
        for path in sorted(folder.rglob("*.jpg"))
        if path.parts[-3] != "__MACOSX" and path.name[0] != "."
    ]
    images[0].unlink()
    images[0].write_bytes(b"no picture")


def build_call(project: Path, stage: str, item: str, *, params: Path, runs: Path) -> StageCall:
    """A call of a stage on what lies in the project, with parameters and runs of its own."""
    definition = load_stage(stage)
    inputs = find_inputs(project, definition, params=load_params(project), item=item)
    return StageCall(definition, item, params, inputs, runs, project, None)


def change(project: Path, to: Path, **values: Any) -> Path:
    """A folder with the project's params.yaml, and other values of operation."""
    to.mkdir(exist_ok=True)
    text = (project / PARAMS_FILE).read_text()
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^  {name}: .*$", f"  {name}: {value}", text)
        assert count == 1
    (to / PARAMS_FILE).write_text(text)
    return to


def work(call: StageCall, steps: Steps) -> Run:
    run = run_call(call, progress=steps)
    assert run is not None
    return run


def test_every_field_has_a_case_and_changes_its_value() -> None:
    assert set(CASES) == {field.name for field in fields(OperationConfig)}
    for name, cases in CASES.items():
        assert all(value != getattr(OperationConfig(), name) for _, _, value in cases)


@pytest.mark.parametrize(
    ("field", "stage", "item", "value"),
    [(field, *case) for field, cases in CASES.items() for case in cases],
)
def test_changed_in_mid_run_it_goes_on_to_the_same_bytes(
    project: Path, tmp_path: Path, field: str, stage: str, item: str, value: object
) -> None:
    def call(params: Path, runs: str) -> StageCall:
        return build_call(project, stage, item, params=params, runs=tmp_path / runs)

    whole = Steps()
    work(call(change(project, tmp_path / "a"), "whole"), whole)
    stopped = Steps(stop_after=len(whole.steps) * 3 // 4)
    with pytest.raises(StoppedError):
        work(call(tmp_path / "a", "runs"), stopped)
    rest = Steps()
    changed = change(project, tmp_path / "b", **{field: value})
    run = work(call(changed, "runs"), rest)

    (undisturbed,) = (project / "runs" / stage).iterdir()
    assert run.folder.name == undisturbed.name
    assert compute_listing(run.out) == compute_listing(undisturbed / "out")
    assert len(list((tmp_path / "runs" / stage).iterdir())) == 1
    assert len(rest.steps) < len(whole.steps), "it began anew"
    attempts = sorted((run.folder / "attempts").glob("*[0-9].json"))
    noted = [json.loads(path.read_text())["operation"][field] for path in attempts]
    kept = json.loads((run.folder / "receipt.json").read_text())["operation"][field]
    assert (noted[0], noted[1]) == (kept, value)


HAVOC = {
    "a bit of each out": (True, ["out"], "flip", False),
    "half of each out, and no work": (True, ["out"], "cut", True),
    "a bit of each, before the result": (False, ["out", "work"], "flip", False),
    "every second file lost": (False, ["out", "work"], "remove", False),
}
"""Whether the run was complete, what is damaged of it, how, and whether work/ is removed."""


@pytest.mark.parametrize(("stage", "item"), DONE)
@pytest.mark.parametrize("havoc", HAVOC)
def test_damaged_it_ends_with_the_same_bytes_in_one_call(
    project: Path, tmp_path: Path, stage: str, item: str, havoc: str
) -> None:
    is_complete, parts, how, is_bare = HAVOC[havoc]
    (whole,) = (project / "runs" / stage).iterdir()
    run = tmp_path / "runs" / stage / whole.name
    shutil.copytree(whole, run)
    if not is_complete:
        (run / "result.json").unlink()
    files = [path for part in parts for path in list_files(run / part)]
    for path in files[:: 2 if how == "remove" else 1]:
        DAMAGES[how](path)
    if is_bare:
        shutil.rmtree(run / "work")
    work(build_call(project, stage, item, params=project, runs=tmp_path / "runs"), Steps())
    assert compute_listing(run / "out") == compute_listing(whole / "out")
    end = json.loads(max((run / "attempts").glob("*.end.json")).read_text())
    assert end["status"] == "finished"
    assert end["redone"] or is_complete or how != "flip", "it is counted"
    assert list_told(run) == list_told(whole), "a point of a curve is missing, or stands twice"


def list_told(run: Path) -> list[tuple[int, list[tuple[str, float]]]]:
    """What a tracker hears of a run, without the times."""
    told = load_journal(run / "journal.jsonl").committed
    return sorted((record.step, sorted(record.metrics.items())) for record in told)


def test_a_gate_is_judged_again_on_collecting(project: Path, tmp_path: Path) -> None:
    call = build_call(project, "curate", "", params=project, runs=tmp_path / "runs")
    run = work(call, Steps())
    report = json.loads((run.out / "curated/luperson/report.json").read_text())
    assert report["damaged"]["count"] == 1
    work(call, Steps())
    strict = replace(call, params=change(project, tmp_path, max_corrupt_share=0.0))
    with pytest.raises(UserError, match=r"1 of 24 files .* operation\.max_corrupt_share = 0\.0"):
        run_call(strict, progress=Steps())


def test_records_that_lse_could_not_decode_are_judged_by_its_report(tmp_path: Path) -> None:
    report = {"records": 4, "corrupt_records": 3, "corrupt": ["a", "b", "c"]}
    (tmp_path / "luperson").mkdir()
    (tmp_path / "luperson" / "report.json").write_text(json.dumps(report))
    check = load_stage("lse").check
    check({"lse": tmp_path}, OperationConfig(max_corrupt_share=0.75))
    with pytest.raises(UserError, match=r"3 of 4 .*a, b, c.*operation\.max_corrupt_share = 70"):
        check({"lse": tmp_path}, OperationConfig(max_corrupt_share=0.7))


def test_no_stage_names_it_and_no_plan_depends_on_it(project: Path, tmp_path: Path) -> None:
    for name in STAGES:
        assert not any(section.startswith("operation") for section in load_stage(name).sections)
    values = {name: cases[0][2] for name, cases in CASES.items()}
    other = load_params(change(project, tmp_path / "other", **values))
    assert other.operation != load_params(project).operation
    assert build_steps(other) == build_steps(load_params(project))


def test_frozen_parameters_that_were_changed_are_refused(project: Path, tmp_path: Path) -> None:
    call = build_call(project, "curate", "", params=project, runs=tmp_path / "runs")
    (node,) = [step for step in build_steps(load_params(project)) if step.stage == "curate"]
    code = compute_code_state("vills.pipeline.curate").digest
    asked = {"params": {"curate": {**node.sections["curate"], "min_height": 25}}, "code": code}
    with pytest.raises(UserError, match=r"min_height: 25 -> \d+.*What to do: remove both"):
        work(replace(call, planned=asked), Steps())
    assert not list((tmp_path / "runs").glob("curate/*/attempts/*"))
    work(replace(call, planned={"params": node.sections, "code": code}), Steps())
