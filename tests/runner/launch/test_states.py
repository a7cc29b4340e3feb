"""How far a node is: its run first, then its job, then what it waits for."""

import json
import re
import socket

import pytest

from tests.launching import DAG, Bench, build_context, save_error, write_attempt
from vills.config.load import load_params
from vills.runner.clusters.jobs import JobState
from vills.runner.plan.launch import describe_status
from vills.runner.plan.nodes import build_steps
from vills.runner.plan.registry import Registry
from vills.runner.plan.states import UNSEEN_SECONDS, NodeState

FIRST = DAG[0]


def judge(
    bench: Bench, *, job: JobState | None = None, age: float = 0.0, cluster: str = "slurm"
) -> NodeState:
    """State of the first node, whose job is in this state."""
    plan = bench.plan()
    bench.note_job(plan[FIRST], "12", cluster=cluster, age=age)
    if job is not None:
        bench.slurm.states["12"] = job
    return bench.look(plan)[plan[FIRST].key]


def test_what_is_computed_is_done_whatever_its_job_says(bench: Bench) -> None:
    plan = bench.plan()
    folder = bench.finish(plan, FIRST)
    state = judge(bench, job=JobState("ended", "FAILED"))
    assert (state.state, state.run, state.attempts) == ("done", folder, 1)
    assert bench.slurm.asked == []


def test_status_says_how_long_a_stage_took_here(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = build_context(bench)
    monkeypatch.setattr("vills.runner.plan.launch.LaunchContext", lambda _: context)
    params = load_params(bench.project)
    folder = bench.finish(context.planner.build_plan(build_steps(params)), FIRST)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "seconds": 61.7}))
    first, *others = describe_status(bench.project).splitlines()
    assert re.search(r"  done in 62 s, attempt 1$", first)
    assert "done" not in "".join(others)


def test_a_job_that_ends_well_while_the_cluster_is_asked_is_done(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan()
    bench.note_job(plan[FIRST], "12")

    def end_meanwhile(jobs: object) -> dict[str, JobState]:
        bench.finish(plan, FIRST)
        return {"12": JobState("ended", "COMPLETED")}

    monkeypatch.setattr(bench.slurm, "load_states", end_meanwhile)
    assert bench.look(plan)[plan[FIRST].key].state == "done"


def test_what_nobody_asked_for_is_to_do_or_waits(bench: Bench) -> None:
    plan = bench.plan()
    assert bench.get_states(plan) == {FIRST: "to do", **dict.fromkeys(DAG[1:], "waits")}
    states = bench.look(plan)
    assert states[plan["curate"].key].detail == f"for miniature {plan[FIRST].key[:12]}"
    bench.finish(plan, FIRST)
    assert bench.get_states(plan)["curate"] == "to do"


def test_a_node_has_one_name_wherever_it_is_shown(bench: Bench) -> None:
    plan = bench.plan()
    bench.finish(plan, FIRST)
    states = bench.look(plan)
    curate = states[plan["curate"].key]
    assert curate.run is not None
    assert curate.run.name != plan["curate"].key
    assert curate.get_name(plan["curate"]) == curate.run.name[:12]
    assert states[plan["lse"].key].detail == f"for curate {curate.run.name[:12]}"


def test_what_was_begun_and_left_goes_on(bench: Bench) -> None:
    plan = bench.plan()
    bench.begin(plan, FIRST, status="interrupted", nodes="n1")
    state = bench.look(plan)[plan[FIRST].key]
    assert (state.state, state.detail) == ("stopped", "attempt 1 on n1, will continue from there")


def test_running_by_its_job(bench: Bench) -> None:
    state = judge(bench, job=JobState("running", "RUNNING"))
    assert (state.state, state.detail, state.job) == ("running", "starting", "12")
    assert state.is_active
    bench.begin(bench.plan(), FIRST, nodes="n2")
    assert judge(bench).detail == "attempt 1 on n2"


def test_running_by_the_holder_of_its_lock(bench: Bench) -> None:
    plan = bench.plan()
    bench.begin(plan, FIRST, alive=True)
    state = bench.look(plan)[plan[FIRST].key]
    assert (state.state, state.job) == ("running", "")
    assert state.detail == f"attempt 1 on {socket.gethostname()}"


@pytest.mark.parametrize(("writer", "job"), [("12", "12"), ("", "")])
def test_a_job_is_named_only_if_it_holds_the_lock(bench: Bench, writer: str, job: str) -> None:
    """sacct forgot the job, or `dvc repro` goes on with what a failed job began."""
    bench.begin(bench.plan(), FIRST, alive=True, job=writer)
    state = judge(bench, job=JobState("ended", "FAILED") if not writer else None)
    assert (state.state, state.job) == ("running", job)


def test_queued_and_why(bench: Bench) -> None:
    state = judge(bench, job=JobState("pending", "PENDING", "Resources"))
    assert (state.state, state.detail) == ("queued", "Resources")
    bench.begin(bench.plan(), FIRST)
    state = judge(bench, job=JobState("pending", "REQUEUED"))
    assert (state.state, state.detail) == ("queued", "requeued, after 1 attempt(s)")
    assert state.attempts == 1


@pytest.mark.parametrize("source", ["error.json", "attempt"])
def test_failed_says_why(bench: Bench, source: str) -> None:
    plan = bench.plan()
    if source == "attempt":
        bench.begin(plan, FIRST, status="failed", reason="ValueError: why")
    else:
        save_error(bench.runs, plan[FIRST].key, "ValueError: why")
    state = judge(bench, job=JobState("ended", "FAILED", "exit 1:0"))
    assert (state.state, state.detail) == ("failed", "FAILED exit 1:0: ValueError: why")
    assert not state.is_active


def test_failed_without_a_word(bench: Bench) -> None:
    bench.begin(bench.plan(), FIRST)
    state = judge(bench, job=JobState("ended", "NODE_FAIL"))
    assert (state.state, state.detail) == ("failed", "NODE_FAIL")


def test_cancelled(bench: Bench) -> None:
    state = judge(bench, job=JobState("ended", "CANCELLED"))
    assert (state.state, state.detail) == ("cancelled", "scancel, or a job before it failed")


def test_a_young_job_that_nobody_knows_is_queued_and_an_old_one_lost(bench: Bench) -> None:
    assert judge(bench).detail == "job 12 is not listed yet"
    state = judge(bench, age=UNSEEN_SECONDS + 1)
    assert state.state == "lost"
    assert state.detail == "job 12 is known to neither squeue nor sacct"
    bench.begin(bench.plan(), FIRST, status="failed", reason="RuntimeError: gone")
    assert judge(bench).detail.endswith("the run says: RuntimeError: gone")


def test_a_launcher_that_died_while_it_asked(bench: Bench) -> None:
    plan = bench.plan()
    bench.note_job(plan[FIRST], "")
    state = bench.look(plan)[plan[FIRST].key]
    assert state.state == "lost"
    assert "launcher was killed" in state.detail
    assert bench.slurm.asked == []


def test_a_cluster_that_is_not_there_is_asked_nothing(bench: Bench) -> None:
    assert judge(bench, cluster="debug", age=UNSEEN_SECONDS + 1).state == "lost"


def test_each_cluster_is_asked_once_for_all_jobs(bench: Bench) -> None:
    one, two = bench.plan(), bench.plan("pretrain.koleo_weight=2.0")
    bench.note_job(one["miniature"], "12")
    bench.note_job(one["curate"], "7")
    bench.note_job(one["curate"], "13_0")
    bench.note_job(two["pretrain"], "q1", cluster="local")
    bench.look(one, two)
    assert bench.slurm.asked == [{"12", "13_0"}]
    assert bench.local.asked == [{"q1"}]


def test_attempts_are_counted(bench: Bench) -> None:
    folder = bench.begin(bench.plan(), FIRST)
    write_attempt(folder)
    assert judge(bench, job=JobState("running", "RUNNING")).attempts == 2
    assert Registry(bench.runs).load_error("0" * 64) == ""
