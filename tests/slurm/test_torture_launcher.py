"""kill -9 of whoever asks for jobs or hands them out: every point is computed exactly once.

By hand: `make torture-slurm`; its results are in LOG.md.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Project
from tests.slurm_site import Site, list_attempts, list_submissions, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.torture]

NUM_POINTS = 6


def save_points(site: Site, number: int, *, name: str = "points") -> str:
    """A sweep of so many cheap points: one evaluation each."""
    points = {f"p{n}": [f"evaluate.market1501.bootstrap={n + 2}"] for n in range(number)}
    return site.save_sweep(name, points)


def launch_and_kill(site: Site, *options: str, seed: int) -> None:
    """Launch a sweep that grows, twice per point killed: soon after jobs are noted, and whenever.

    A launcher that finds everything asked for has nothing to lose, so each finds a new point.
    """
    moments = random.Random(seed)
    begun = time.monotonic()
    site.launch(save_points(site, 1), "--plan")
    usual = time.monotonic() - begun
    for number in range(1, NUM_POINTS + 1):
        command = (sys.executable, "sweeps/launch.py", save_points(site, number), *options)
        noted = count_notes(site)
        process = site.start(*command)
        while process.poll() is None and count_notes(site) == noted:
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.3))
        process.kill()
        process.wait()
        process = site.start(*command)
        time.sleep(moments.uniform(0.3, 1.5) * usual)
        process.kill()
        process.wait()
    print(site.launch(save_points(site, NUM_POINTS), *options).stdout)


def count_notes(site: Site) -> int:
    """Submissions of evaluations that are noted, with the job's id or without."""
    return sum(len(jobs) for jobs in list_submissions(site, "evaluate"))


def check_once(site: Site, sweep: str) -> None:
    """Every point is done, by one run that finished once."""
    text = site.wait_for_sweep(sweep)
    assert f"{NUM_POINTS} of {NUM_POINTS} points done" in text, text
    runs = site.list_runs("evaluate")
    assert len(runs) == NUM_POINTS
    for run in runs:
        # the last thing that a job does is to say how its attempt ended
        wait_until(lambda run=run: list_attempts(run)[-1], "the end", seconds=30)  # type: ignore[misc]
        ends = [end.get("status") for end in list_attempts(run)]
        assert ends.count("finished") == 1, ends


@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_the_launcher_killed_at_any_moment(
    build_site: Callable[..., Site], tuned: Project, cluster: str
) -> None:
    site = build_site(like=tuned)
    launch_and_kill(site, "--cluster", cluster, "--max-parallel", "2", seed=3)
    check_once(site, "points")


def test_the_local_queues_worker_killed(build_site: Callable[..., Site], tuned: Project) -> None:
    site = build_site(like=tuned)
    command = ("--cluster", "local", "--max-parallel", "2")
    site.launch(save_points(site, NUM_POINTS), *command)
    for number in range(1, 4):

        def is_at_work(number: int = number) -> bool:
            return count_running(site) >= 1 and count_done(site) >= number

        wait_until(is_at_work, "work")
        for pid in find_workers(site):
            os.kill(pid, signal.SIGKILL)
        site.launch("status", "points")  # whoever looks starts another
    check_once(site, "points")
    assert [len(list_attempts(run)) for run in site.list_runs("evaluate")] == [1] * NUM_POINTS


def test_a_hundred_points_cost_little(build_site: Callable[..., Site], tuned: Project) -> None:
    site = build_site(like=tuned)
    # The stage itself does nothing: what is measured is everything around it.
    module = site.folder / "vills" / "pipeline" / "evaluate.py"
    module.write_text(module.read_text() + TRIVIAL)
    sweep = save_points(site, 100)
    site.launch(sweep, "--plan")
    begun = time.monotonic()
    site.launch(sweep)
    launched = time.monotonic() - begun
    site.wait_for_sweep("points", seconds=1200)
    computed = time.monotonic() - begun
    assert len(site.list_runs("evaluate")) == 100
    begun = time.monotonic()
    told = site.launch(sweep).stdout
    again = time.monotonic() - begun
    assert "100 of 100 points done" in told
    print(f"\nlaunching {launched / 100:.3f} s a point, all {computed / 100:.3f} s a point")
    print(f"no-op relaunch of 100 done points: {again:.2f} s")
    assert again < 5.0


TRIVIAL = """

def _do_nothing(context):
    context.outs["evaluate"].mkdir(parents=True, exist_ok=True)
    (context.outs["evaluate"] / "results.json").write_text('{"rows": []}')
    context.outs["plots"].write_text("")
    context.save_metrics({})


import dataclasses
STAGE = dataclasses.replace(STAGE, run=_do_nothing)
"""


def find_workers(site: Site) -> list[int]:
    """Processes that work on the site's queue."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue  # it has ended meanwhile
        if "vills.runner.clusters.queue_worker" in words and str(site.runs.resolve()) in words:
            found.append(int(path.parent.name))
    return found


def count_running(site: Site) -> int:
    """Jobs of the local queue that are being worked on."""
    return sum(state == "RUNNING" for state in list_states(site))


def count_done(site: Site) -> int:
    """Jobs of the local queue that ended well."""
    return sum(state == "COMPLETED" for state in list_states(site))


def list_states(site: Site) -> list[str]:
    """Word of every job that was begun."""
    files = (site.runs / "_queue").glob("*.state.json")
    return [json.loads(path.read_text())["state"] for path in files]
