"""A sweep on a cluster: each thing is computed once, and what goes wrong is shown."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import slurm_bed, slurm_site
from tests.project import Project
from tests.slurm_site import Site, get_step, list_attempts, list_submissions, wait_until

pytestmark = pytest.mark.slurm

GRID = ("lambda_grid", *slurm_site.list_grid("masking_off", "masking_1"))


@pytest.fixture(scope="module")
def grid(
    bed: slurm_bed.SlurmBed, prepared: Project, tmp_path_factory: pytest.TempPathFactory
) -> Site:
    """Two points of Table 3, launched twice at once; the checkout breaks while they are pending."""
    folder = tmp_path_factory.mktemp("it's a grid")
    site = slurm_site.build_site(folder / 'the "site"', bed, like=prepared)
    blocker = bed.sbatch("sleep 600", "-p", "prio", "-N2", "--exclusive")
    bed.wait(blocker, "RUNNING")
    both = [site.start("python", "sweeps/launch.py", *GRID) for _ in range(2)]
    assert [process.wait(slurm_site.PATIENCE) for process in both] == [0, 0]
    module = site.folder / "vills" / "train" / "__init__.py"
    kept = module.read_text()
    module.write_text("raise RuntimeError('half an edit')\n")
    bed.run("scancel", blocker)
    site.wait_for_sweep("lambda_grid")
    module.write_text(kept)
    return site


def test_every_point_is_computed_once(grid: Site) -> None:
    text = grid.launch("status", "lambda_grid").stdout
    assert "2 of 2 points done (runs: 13 done)" in text
    for stage, number in {"pretrain": 2, "finetune": 4, "evaluate": 4, "lse": 1}.items():
        runs = grid.list_runs(stage)
        assert len(runs) == number, stage
        assert [len(list_attempts(run)) for run in runs] == [1] * number, stage
    for stage in ("pretrain", "finetune", "evaluate"):
        assert all(len(jobs) == 1 for jobs in list_submissions(grid, stage)), stage


def test_called_again_it_asks_for_nothing(grid: Site) -> None:
    assert "submitted" not in grid.launch(*GRID).stdout


def test_its_report_fills_the_cells(grid: Site) -> None:
    text = grid.launch("report", "lambda_grid").stdout
    rows = [line for line in text.splitlines() if "`masking_" in line]
    assert len(rows) == 2
    assert not any("missing" in row for row in rows), text
    told = grid.run("vills", "explain", "lambda_grid/masking_off/prid2011_map").stdout
    jobs = {job for entries in list_submissions(grid, "pretrain") for job in entries}
    assert any(f"job {job}" in told for job in jobs), told


def test_dvc_collects_a_point(grid: Site) -> None:
    record = json.loads((grid.runs / "_sweeps" / "lambda_grid.json").read_text())
    overrides = record["points"]["masking_1"]["overrides"]
    grid.run("vills", "configure", "profile=tiny_sets", *overrides, "--force")
    before = {stage: grid.list_runs(stage) for stage in slurm_site.STAGES}
    told = grid.run("dvc", "repro", "evaluate@market1501", "evaluate@prid2011").stdout
    assert told.count("is complete; collected") >= 5
    assert {stage: grid.list_runs(stage) for stage in slurm_site.STAGES} == before


def test_a_cancelled_job_is_shown(bed: slurm_bed.SlurmBed, tuned: Project, tmp_path: Path) -> None:
    site = slurm_site.build_site(tmp_path / "site", bed, like=tuned)
    points = {name: [f"evaluate.market1501.bootstrap={n + 2}"] for n, name in enumerate("ab")}
    blocker = bed.sbatch("sleep 600", "-p", "prio", "-N2", "--exclusive")
    bed.wait(blocker, "RUNNING")
    told = site.launch(site.save_sweep("two", points), "--detach").stdout
    assert "a background process follows it" in told
    assert "1 job(s) cancelled" in site.launch("cancel", "two", "a").stdout
    bed.run("scancel", find_job(site, "two", "b"))
    text = site.wait_for_sweep("two")
    bed.run("scancel", blocker)
    assert text.count("evaluate@market1501: CANCELLED") == 2, text
    assert site.list_runs("evaluate") == []
    log = site.runs / "_sweeps" / "two.log"
    wait_until(lambda: text.strip() in log.read_text(), "the process left behind to see the end")


def test_launched_again_to_checkpoint_more_often_it_goes_on(
    bed: slurm_bed.SlurmBed, tuned: Project, tmp_path: Path
) -> None:
    site = slurm_site.build_site(tmp_path / "site", bed, like=tuned)
    sweep = site.save_sweep("one", {"a": ["pretrain.max_steps=40"]})
    known = set(site.list_runs("pretrain"))
    site.launch(sweep, "operation.checkpoint_minutes=9")
    wait_until(
        lambda: any(get_step(r) > 2 for r in set(site.list_runs("pretrain")) - known), "work"
    )
    (run,) = set(site.list_runs("pretrain")) - known
    bed.run("scancel", find_job(site, "one", "a", "pretrain"))
    assert "CANCELLED" in site.wait_for_sweep("one")
    assert not (run / "result.json").exists(), "it was too quick to be cancelled"
    site.launch(sweep, "operation.checkpoint_minutes=0", "--retry", "failed")
    wait_until((run / "result.json").exists, "the end of pre-training")
    site.launch("cancel", "one")
    assert set(site.list_runs("pretrain")) - known == {run}
    notes = [json.loads((run / "attempts" / f"{n:06}.json").read_text()) for n in (1, 2)]
    assert [note["operation"]["checkpoint_minutes"] for note in notes] == [9.0, 0.0]
    told = site.launch("logs", "one", "a", "pretrain", "--lines", "0").stdout
    assert "attempt 2 continues where the last one ended" in told


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[slurm_bed.SlurmBed]:
    """A cluster without accounting that forgets a job at once and allows four jobs to an array."""
    if reason := slurm_bed.explain_missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("poor")
    with slurm_bed.SlurmBed(folder, accounting=False, max_array_size=4) as started:
        with (folder / "slurm.conf").open("a") as file:
            file.write("MinJobAge=2\n")
        started.run("scontrol", "reconfigure")
        yield started


def test_what_goes_wrong_is_shown_and_mended(
    poor: slurm_bed.SlurmBed, tuned: Project, tmp_path: Path
) -> None:
    site = slurm_site.build_site(tmp_path / "site", poor, like=tuned)
    points = {name: [f"evaluate.market1501.bootstrap={n + 2}"] for n, name in enumerate("abcdef")}
    sweep = site.save_sweep("six", {**points, "bad": ["finetune.market1501.num_ids=50"]})
    # from the start: once the job of `bad` has failed, its evaluation is not asked for any more
    blocker = poor.sbatch("sleep 600", "-p", "prio", "-N2", "--exclusive")
    poor.wait(blocker, "RUNNING")
    refused = site.launch(sweep, "slurm.evaluate.partition=nosuch", check=False)
    assert refused.returncode != 0
    assert "invalid partition specified: nosuch" in refused.stdout
    told = site.launch(sweep).stdout
    # four and two, and the one whose model is still to be made
    arrays = {job.partition("_")[0] for (job,) in list_submissions(site, "evaluate")}
    assert len(arrays) == 3, told
    site.launch("cancel", "six", "a")
    gone = find_job(site, "six", "b")
    poor.run("scancel", gone)
    time.sleep(1)
    poor.run("scancel", blocker)
    text = site.wait_for_sweep("six")
    assert "4 of 7 points done" in text
    print(text)
    for words in ("bad: finetune@market1501: ", "Allowed: up to the 6 people", "LOST", "neither"):
        assert words in text
    assert "4 of 7 points done" in site.launch(sweep).stdout
    site.launch(sweep, "--retry", "failed")
    assert "6 of 7 points done" in site.wait_for_sweep("six")
    assert len(site.list_runs("evaluate")) == 6


def find_job(site: Site, sweep: str, point: str, node: str = "evaluate@market1501") -> str:
    """The last job of a point's node."""
    record = json.loads((site.runs / "_sweeps" / f"{sweep}.json").read_text())
    key = record["points"][point]["nodes"][node]
    jobs = json.loads((site.runs / "_nodes" / key / "jobs.json").read_text())["jobs"]
    return str(jobs[-1]["job"])
