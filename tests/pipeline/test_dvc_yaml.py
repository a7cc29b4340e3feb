"""dvc.yaml says the same as the code: stages, params, deps, outs."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from vills.config.load import load_profile, render_params
from vills.pipeline import STAGES
from vills.report.pretraining import LOSSES
from vills.runner.store.code_digest import compute_code_state
from vills.runner.work.stage import load_stage

ROOT = Path(__file__).parent.parent.parent
PARAMS = load_profile("tiny")
CHECKED = "artifacts/check.txt"


def load_dvc_stage(name: str, item: str) -> dict[str, Any]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stage = stages[name].get("do", stages[name])
    text = yaml.safe_dump(stage).replace("${key}", item)
    if name == "evaluate":
        text = text.replace("${item.model}", PARAMS.evaluate[item].model)
    return dict(yaml.safe_load(text))


def list_items() -> list[tuple[str, str]]:
    return [(name, item) for name in STAGES for item in load_stage(name).items(PARAMS)]


@pytest.mark.parametrize(("name", "item"), list_items())
def test_dvc_knows_everything_that_a_stage_reads_and_writes(name: str, item: str) -> None:
    stage, dvc = load_stage(name), load_dvc_stage(name, item)
    assert dvc["cmd"] == ('vills run "$DVC_STAGE"' if item else f"vills run {name}")
    sections = set(stage.list_sections(PARAMS, item).values())
    tables = {section.split(".")[0] for section in sections} & {"finetune", "evaluate"}
    assert sorted(dvc["params"]) == sorted(sections | {f"{table}_defaults" for table in tables})
    outs = [*dvc.get("outs", ()), *dvc.get("metrics", ()), *dvc.get("plots", ())]
    if item:
        # DVC would empty the path that a name makes before anybody could refuse the name
        assert all(options == {"persist": True} for out in outs for options in out.values())
        assert CHECKED in dvc["deps"]
        outs = [path for out in outs for path in out]
    assert sorted(map(Path, outs)) == sorted(stage.outs(item).values())
    deps = [Path(dep) for dep in dvc["deps"]]
    inputs = [path for path in stage.inputs(PARAMS, item).values()]
    code = [Path(file) for file in compute_code_state(f"vills.pipeline.{name}").files]
    for path in [*inputs, *code]:
        assert any(path.is_relative_to(dep) for dep in deps), f"{name} reads {path}, unknown to DVC"


def test_dvc_plots_every_loss_alone() -> None:
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    columns = [column for (plot,) in map(dict.values, plots) for column in plot["y"].values()]
    gradients = {key.replace("loss", "gradient").replace("total", "all") for key in LOSSES}
    assert sorted(columns) == sorted({*LOSSES, *gradients})


BESIDE = ("io", "parts", "curves", "chain", "interrupt", "endings", "git", "mounts", "programs")


def test_no_dependency_holds_the_book_keeping() -> None:
    for name, item in list_items():
        for dep in map(Path, load_dvc_stage(name, item)["deps"]):
            for kept_out in ("vills/runner", "vills/cli", *(f"vills/{n}.py" for n in BESIDE)):
                assert not Path(kept_out).is_relative_to(dep), f"{name} is called for {kept_out}"
                assert not dep.is_relative_to(kept_out)


def test_what_dvc_reads_from_entries_is_written_out() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    assert all(entry["model"] in params["finetune"] for entry in params["evaluate"].values())
    rendered = yaml.safe_load(render_params(PARAMS, profile="tiny"))
    for name, entry in rendered["evaluate"].items():
        assert entry["model"] == PARAMS.evaluate[name].model


def test_nothing_of_params_yaml_stands_in_commands() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert not any("${" in stage.get("do", stage)["cmd"] for stage in stages.values())
    assert stages["check"]["outs"] == [CHECKED]


def test_the_demo_makes_what_it_commits_and_all_that_this_reads() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (first,) = re.findall(r"^demo: .*\n\tdvc repro (.+)", makefile, re.MULTILINE)
    (after,) = re.findall(r"^define AFTER_PRETRAINING\n(.*?)^endef", makefile, re.M | re.DOTALL)
    drawn = subprocess.run(["dvc", "dag", "--dot"], cwd=ROOT, capture_output=True, check=True)
    reads: dict[str, set[str]] = {}
    for of, by in re.findall(r'"(\S+)" -> "(\S+)"', drawn.stdout.decode()):
        reads.setdefault(by, set()).add(of)
    made = {*first.split()}
    while more := {stage for name in made for stage in reads.get(name, ())} - made:
        made |= more
    made |= {*after.split()}
    for name in after.split():
        assert reads[name] <= made
    assert {*reads} - made == {"report"}, "dvc repro makes it at the end"
