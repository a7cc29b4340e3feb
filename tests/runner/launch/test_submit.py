"""Every node is asked for once, whatever happens to the launcher."""

import json
from pathlib import Path

import pytest

from tests.launching import DAG, Bench, build_context, build_params, get_names
from vills.config.params import Params
from vills.errors import UserError
from vills.runner.clusters.jobs import ClusterError, JobState
from vills.runner.plan.context import PlanRequest, Submitter
from vills.runner.plan.nodes import Plan
from vills.runner.plan.registry import Registry

POINTS = ("pretrain.koleo_weight=1.0", "pretrain.koleo_weight=2.0", "pretrain.koleo_weight=3.0")
OWN = DAG[3:]
"""Stages that each point has for itself."""


def list_asked(bench: Bench) -> list[str]:
    return [key for batch in bench.slurm.batches for key in batch.keys]


def end_all(bench: Bench, word: str, *jobs: str) -> None:
    for job in jobs or list(bench.slurm.states):
        bench.slurm.states[job] = JobState("ended", word)


def load_jobs(bench: Bench, plan: Plan, name: str) -> list[str]:
    return [entry.job for entry in Registry(bench.runs).load_submissions(plan[name].key)]


@pytest.mark.slow
def test_each_node_is_asked_for_once_in_the_order_of_the_dag(bench: Bench) -> None:
    plans = [bench.plan(point) for point in POINTS]
    asked = bench.submit(*plans)
    keys = {node.key for plan in plans for node in plan.values()}
    assert sorted(list_asked(bench)) == sorted(keys) == sorted(asked)
    assert len(keys) == 3 + 3 * 3
    stages = [batch.stage for batch in bench.slurm.batches]
    assert stages == ["miniature", "curate", "lse", "pretrain", "finetune", "evaluate"]
    assert [len(batch.keys) for batch in bench.slurm.batches] == [1, 1, 1, 3, 3, 3]
    assert len({batch.name for batch in bench.slurm.batches}) == 6


@pytest.mark.slow
def test_a_second_call_asks_nothing(bench: Bench) -> None:
    plan = bench.plan()
    bench.submit(plan)
    said = len(bench.said)
    assert bench.submit(plan) == {}
    assert (len(bench.slurm.batches), len(bench.said)) == (6, said)


def test_another_sweep_attaches_to_what_is_asked_for(bench: Bench) -> None:
    bench.submit(bench.plan(POINTS[0]))
    other = bench.plan(POINTS[1])
    asked = bench.submit(other)
    assert get_names(other, asked) == OWN
    lse = load_jobs(bench, other, "lse")
    assert [list(batch.after[0]) for batch in bench.slurm.batches[6:7]] == [lse]


def test_jobs_wait_for_their_makers_without_redundancy(bench: Bench) -> None:
    plan = bench.plan()
    asked = bench.submit(plan)
    after = {b.stage: [list(a) for a in b.after] for b in bench.slurm.batches}
    jobs = {name: asked[node.key] for name, node in plan.items()}
    assert after == {
        "miniature": [[]],
        "curate": [[jobs["miniature"]]],
        "lse": [[jobs["curate"]]],  # not miniature, which curate waits for
        "pretrain": [[jobs["lse"]]],
        "finetune": [[jobs["pretrain"]]],
        "evaluate": [[jobs["finetune@market1501"]]],
    }


def test_elements_stand_in_the_order_of_the_array_that_they_wait_for(bench: Bench) -> None:
    plans = [bench.plan(point) for point in reversed(POINTS)]
    bench.submit(*plans)
    pretrain, finetune = bench.slurm.batches[3], bench.slurm.batches[4]
    by_key = {plan["pretrain"].key: plan["finetune@market1501"].key for plan in plans}
    assert [by_key[key] for key in pretrain.keys] == list(finetune.keys)
    assert [a for (a,) in finetune.after] == ["103_0", "103_1", "103_2"]


def test_what_is_done_is_neither_asked_for_nor_waited_for(bench: Bench) -> None:
    plan = bench.plan()
    bench.finish(plan, *DAG[:4])
    asked = bench.submit(plan)
    assert get_names(plan, asked) == DAG[4:]
    assert [list(a) for a in bench.slurm.batches[0].after] == [[]]
    noted = bench.runs / "_nodes" / plan["pretrain"].key / "run.json"
    run = Registry(bench.runs).find_run(plan["pretrain"], plan)
    assert run is not None
    assert json.loads(noted.read_text())["fingerprint"] == run.name


def test_killed_between_note_and_answer(bench: Bench) -> None:
    """Whatever the batch has become is cancelled, and asked for anew."""
    plan = bench.plan()
    bench.slurm.dies_after = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.submit(plan)
    assert load_jobs(bench, plan, "miniature") == [""]
    bench.slurm.dies_after = None
    lost = bench.slurm.batches[0].name
    bench.submit(plan)
    assert bench.slurm.cancelled == [lost]
    assert load_jobs(bench, plan, "miniature") == ["101_0"]
    assert "was being submitted when the launcher ended" in bench.said[0]
    assert len(list_asked(bench)) == 1 + len(DAG)


def test_the_cluster_that_was_being_asked_cancels(bench: Bench) -> None:
    plan = bench.plan()
    bench.slurm.dies_after = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bench.submit(plan)
    bench.submit(plan, cluster=bench.local)
    assert bench.slurm.cancelled == [bench.slurm.batches[0].name]
    assert bench.local.cancelled == []
    assert len(bench.local.batches) == 6


def test_killed_after_the_answer(bench: Bench) -> None:
    plan = bench.plan()
    submit = bench.slurm.submit
    bench.slurm.submit = lambda batch: submit(batch) if batch.stage == "miniature" else 1 / 0  # type: ignore
    with pytest.raises(ZeroDivisionError):
        bench.submit(plan)
    bench.slurm.submit = submit  # type: ignore[method-assign]
    asked = bench.submit(plan)
    assert get_names(plan, asked) == DAG[1:]
    assert load_jobs(bench, plan, "miniature") == ["100_0"]
    assert [list(a) for a in bench.slurm.batches[1].after] == [["100_0"]]


def test_what_a_cluster_refuses_leaves_no_note(bench: Bench) -> None:
    plan = bench.plan()
    bench.slurm.dies_before = ClusterError("sbatch refused 1 job(s)")
    with pytest.raises(ClusterError, match="refused"):
        bench.submit(plan)
    assert bench.get_states(plan)["miniature"] == "to do"
    (cancelled,) = bench.slurm.cancelled
    assert cancelled.startswith("vills-miniature-")
    bench.slurm.dies_before = None
    assert len(bench.submit(plan)) == len(DAG)


def test_only_retry_asks_again_for_what_failed_and_what_follows(bench: Bench) -> None:
    plan = bench.plan()
    bench.submit(plan)
    bench.finish(plan, *DAG[:3])
    end_all(bench, "FAILED", "103_0")
    end_all(bench, "CANCELLED", "104_0", "105_0")
    states = bench.get_states(plan)
    assert [states[name] for name in OWN] == ["failed", "cancelled", "cancelled"]
    assert bench.submit(plan) == {}
    asked = bench.submit(plan, retry=True)
    assert get_names(plan, asked) == OWN
    assert load_jobs(bench, plan, "pretrain") == ["103_0", "106_0"]
    assert [list(a) for a in bench.slurm.batches[7].after] == [["106_0"]]


def test_a_retry_forgets_the_old_error(bench: Bench) -> None:
    plan = bench.plan()
    bench.submit(plan)
    end_all(bench, "FAILED")
    error = bench.runs / "_nodes" / plan["miniature"].key / "error.json"
    error.write_text('{"error": "old"}')
    bench.submit(plan, retry=True)
    assert not error.exists()


def test_what_needs_something_failed_is_not_asked_for(bench: Bench) -> None:
    first, second = bench.plan(POINTS[0]), bench.plan(POINTS[1])
    bench.submit(first)
    end_all(bench, "FAILED", "102_0")
    assert bench.submit(second) == {}
    assert len(bench.slurm.batches) == 6


def test_what_somebody_else_computes_is_waited_for(bench: Bench) -> None:
    """No job can wait for a process that holds the lock; the next call goes on."""
    plan = bench.plan()
    bench.begin(plan, "miniature", alive=True)
    assert bench.submit(plan) == {}
    bench.finish(plan, "miniature")
    assert get_names(plan, bench.submit(plan)) == DAG[1:]


def test_a_failed_job_is_no_maker_while_somebody_else_goes_on_with_it(bench: Bench) -> None:
    plan = bench.plan()
    bench.submit(plan)
    end_all(bench, "FAILED")
    bench.begin(plan, "miniature", alive=True)
    assert bench.submit(plan, retry=True) == {}, "afterok on a failed job would never start"


def test_a_job_of_another_cluster_is_waited_for(bench: Bench) -> None:
    plan = bench.plan()
    bench.note_job(plan["miniature"], "q1", cluster="local")
    bench.local.states["q1"] = JobState("running", "RUNNING")
    assert bench.submit(plan) == {}


def test_a_spec_is_all_that_a_job_needs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_DATA", "data")
    monkeypatch.setenv("UNRELATED", "x")
    plan = bench.plan()
    bench.submit(plan)
    folder = bench.runs / "_nodes" / plan["pretrain"].key
    spec = json.loads((folder / "spec.json").read_text())
    assert spec["stage"] == "pretrain"
    assert spec["code"] == "_code/frozen"
    assert (bench.runs / spec["params"] / "params.yaml").is_file()
    assert spec["inputs"]["lse"] == {"node": plan["lse"].key, "part": "lse"}
    assert bench.slurm.batches[-1].environment == {
        "VILLS_DATA": str(Path("data").resolve()),
        "VILLS_RUNS": str(bench.runs.resolve()),
        "VILLS_TRACKING": "off",
    }


def test_nothing_is_built_on_what_the_gates_of_now_refuse(bench: Bench) -> None:
    plan = bench.plan()
    run = bench.finish(plan, "miniature", "curate")
    damaged = {"files": 9, "named": [{"path": "a.jpg", "reason": "torn"}]}
    (run / "out" / "curated" / "mars").mkdir()
    report = run / "out" / "curated" / "mars" / "report.json"
    report.write_text(json.dumps({"source": "mars", "damaged": damaged}))
    with pytest.raises(UserError, match=r"1 of 9 files .*a\.jpg.*max_corrupt_share = 0\.05"):
        bench.submit(plan)
    assert bench.slurm.batches == []
    report.write_text(json.dumps({"source": "mars", "damaged": {**damaged, "files": 90}}))
    assert get_names(plan, bench.submit(plan)) == DAG[2:]


def test_parameters_are_composed_only_for_jobs(bench: Bench) -> None:
    loaded: list[str] = []

    def want(plan: Plan, name: str) -> PlanRequest:
        def load() -> Params:
            loaded.append(name)
            return build_params("tiny")

        return plan, load, name

    plans = [bench.plan(point) for point in POINTS[:2]]
    bench.finish(plans[0])
    submitter = Submitter(build_context(bench), "slurm", say=bench.said.append)
    wanted = [want(plans[0], "done"), want(plans[1], "open")]
    assert len(submitter.submit(wanted, bench.look(*plans), retry=False)) == 3
    assert loaded == ["open"]


def test_max_parallel_reaches_the_batch(bench: Bench) -> None:
    bench.submit(bench.plan(), max_parallel=3)
    assert {batch.max_parallel for batch in bench.slurm.batches} == {3}
    assert bench.slurm.batches[0].log == f"_logs/{bench.slurm.batches[0].name}"
