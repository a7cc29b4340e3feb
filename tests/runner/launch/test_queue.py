"""The local queue with real processes: jobs are small shell scripts."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.processes import list_group, wait_until
from vills.config.resources import Resources
from vills.errors import InputError
from vills.io import save_json
from vills.runner.clusters import queue_worker
from vills.runner.clusters.jobs import UNKNOWN, Batch
from vills.runner.clusters.queue import LocalQueue
from vills.runner.clusters.queue_worker import (
    FOLDER,
    LOCK_NAME,
    Worker,
    build_local_environment,
    cancel_processes,
    count_slots,
    is_running,
    list_jobs,
    load_note,
    load_state,
    open_ranks,
)

SCRIPT = """#!/bin/bash
cd "$3" && echo "$4 ${RANK:--} ${CUDA_VISIBLE_DEVICES:--}" >> started
exec bash "$3/$4.sh"
"""


class Yard:
    """A queue whose jobs run KEY.sh, and a worker in this process."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.queue = LocalQueue(runs)
        self.folder = runs / FOLDER
        self.worker: Worker | None = None

    def put(
        self,
        scripts: dict[str, str],
        *,
        after: Sequence[Sequence[str]] | None = None,
        gpus: int = 0,
        max_parallel: int = 0,
    ) -> list[str]:
        for key, script in scripts.items():
            (self.runs / f"{key}.sh").write_text(script)
        batch = Batch(
            name=f"vills-curate-{time.time_ns()}",
            stage="curate",
            keys=list(scripts),
            after=after or [[]] * len(scripts),
            resources=Resources(gpus_per_node=gpus),
            runs=self.runs,
            code=self.runs / "code",
            environment={"TOLD": "yes"},
            max_parallel=max_parallel,
        )
        return self.queue.submit(batch)

    def look(self) -> bool:
        self.worker = self.worker or Worker(self.runs)
        return self.worker.look()

    def get_states(self) -> list[str]:
        self.look()
        return [load_state(self.folder, job["job"]).state for job in list_jobs(self.folder)]

    def until(self, *states: str) -> None:
        wait_until(lambda: self.get_states() == list(states), seconds=20)

    @property
    def started(self) -> list[str]:
        path = self.runs / "started"
        return path.read_text().splitlines() if path.exists() else []

    def list_groups(self) -> list[int]:
        entries = [load_note(self.folder, job["job"]) for job in list_jobs(self.folder)]
        return [p["pid"] for entry in entries for p in entry.get("processes", [])]


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """Workers start only where a test wants one; nobody is left behind."""
    tool = tmp_path / "python"
    tool.write_text(SCRIPT)
    tool.chmod(0o755)
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr("vills.runner.clusters.queue_worker.sys.executable", str(tool))
    monkeypatch.setattr(LocalQueue, "ensure_worker", lambda self: None)
    for name in ("CUDA_VISIBLE_DEVICES", "RANK", "WORLD_SIZE", "VILLS_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    found = Yard(tmp_path / "runs")
    yield found
    for group in found.list_groups():
        if list_group(group):
            os.killpg(group, signal.SIGKILL)


def test_jobs_end_as_their_processes_do(yard: Yard) -> None:
    assert yard.put({"a": "exit 0", "b": "exit 3"}, max_parallel=2) == ["q1", "q2"]
    assert yard.get_states() == ["RUNNING", "RUNNING"]
    yard.until("COMPLETED", "FAILED")
    assert load_state(yard.folder, "q2").reason == "exit 3"
    assert not yard.look()
    assert yard.put({"c": "exit 0"}) == ["q3"]


def test_slots_are_respected(yard: Yard) -> None:
    yard.put({name: "sleep 0.3" for name in "abcd"}, max_parallel=2)
    most = 0

    def is_over() -> bool:
        nonlocal most
        states = yard.get_states()
        most = max(most, states.count("RUNNING"))
        return states == ["COMPLETED"] * 4

    wait_until(is_over, seconds=20)
    assert most == 2
    assert [line.split()[0] for line in yard.started] == list("abcd")


def test_a_job_waits_for_those_before_it(yard: Yard) -> None:
    yard.put({"a": "sleep 0.3", "b": "exit 0"}, after=[[], ["q1"]], max_parallel=2)
    assert yard.get_states() == ["RUNNING", "PENDING"]
    yard.until("COMPLETED", "COMPLETED")


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_what_waits_for_a_failure_is_cancelled(yard: Yard, how: str) -> None:
    script = "exit 1" if how == "fails" else "sleep 60"
    yard.put({"a": script, "b": "", "c": ""}, after=[[], ["q1"], ["q2"]])
    assert yard.get_states()[0] == "RUNNING"
    if how != "fails":
        yard.queue.cancel(["q1"])
    yard.until("FAILED" if how == "fails" else "CANCELLED", "CANCELLED", "CANCELLED")
    assert load_state(yard.folder, "q3").reason == "a job before it failed"
    assert len(yard.started) == 1


def test_cancelled_politely(yard: Yard) -> None:
    saves = "trap 'touch saved; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    (job,) = yard.put({"a": saves})
    yard.look()
    wait_until((yard.runs / "up").exists, seconds=10)
    yard.queue.cancel([job, "q99"])
    yard.until("CANCELLED")
    wait_until((yard.runs / "saved").exists, seconds=10)
    wait_until(lambda: not yard.look(), seconds=10)


def test_who_does_not_end_is_killed_with_all_that_it_started(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "FINAL_SECONDS", 0.3)
    deaf = "trap '' TERM; (trap '' TERM; sleep 60) & touch up; while :; do sleep 0.05; done"
    (job,) = yard.put({"a": deaf})
    yard.look()
    (group,) = yard.list_groups()
    wait_until((yard.runs / "up").exists, seconds=10)
    yard.queue.cancel([job])
    assert yard.look(), "it keeps its slot while it lives"
    wait_until(lambda: not yard.look(), seconds=10)
    assert list_group(group) == []


def test_a_cancelled_job_keeps_its_slot_until_it_is_gone(yard: Yard) -> None:
    slow = "trap 'sleep 0.4; exit 0' TERM; touch up; while :; do sleep 0.05; done"
    yard.put({"a": slow, "b": "exit 0"})
    yard.look()
    wait_until((yard.runs / "up").exists, seconds=10)
    yard.queue.cancel(["q1"])
    assert yard.get_states() == ["CANCELLED", "PENDING"]
    yard.until("CANCELLED", "COMPLETED")


def test_what_was_cancelled_before_it_started_never_starts(yard: Yard) -> None:
    yard.put({"a": "", "b": ""})
    yard.queue.cancel(["q1", "q2"])
    assert yard.get_states() == ["CANCELLED", "CANCELLED"]
    assert yard.started == []


def test_a_batch_is_cancelled_by_its_name(yard: Yard) -> None:
    yard.put({"a": ""})
    name = list_jobs(yard.folder)[0]["batch"]
    yard.put({"b": ""})
    yard.queue.cancel_batch(name)
    yard.until("CANCELLED", "COMPLETED")


def test_cancelled_in_the_very_moment_of_its_start(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(job: Any, **options: Any) -> Any:
        children = open_ranks(job, **options)
        yard.queue.cancel(["q1"])
        return children

    monkeypatch.setattr(queue_worker, "open_ranks", start)
    yard.put({"a": "sleep 60"})
    yard.look()
    assert load_state(yard.folder, "q1").state == "CANCELLED"
    (group,) = yard.list_groups()
    wait_until(lambda: not yard.look(), seconds=10)
    wait_until(lambda: list_group(group) == [], seconds=10)


def test_ranks_share_gpus_and_one_failure_ends_them(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "list_gpus", lambda: ["0", "1", "2"])
    job = '[ "$RANK" = 1 ] && exit 4; sleep 60'
    yard.put({"a": job, "b": "sleep 0.2"}, gpus=2)
    assert yard.get_states() == ["RUNNING", "PENDING"], "two GPUs are not free"
    yard.until("FAILED", "COMPLETED")
    ranks = sorted(line.split()[1:] for line in yard.started if line.startswith("a"))
    assert ranks == [["0", "0,1"], ["1", "0,1"]]
    assert "exit" in load_state(yard.folder, "q1").reason


def test_a_job_that_wants_more_gpus_than_there_are_gets_all(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "list_gpus", lambda: ["3"])
    yard.put({"a": "exit 0"}, gpus=8)
    yard.until("COMPLETED")
    assert yard.started == ["a - 3"]


@pytest.mark.slow
@pytest.mark.parametrize("done", [True, False])
def test_jobs_of_a_killed_worker_are_adopted(yard: Yard, done: bool) -> None:
    yard.put({"a": "sleep 0.4"})
    yard.look()
    lost, yard.worker = yard.worker, Worker(yard.runs)
    assert lost is not None
    assert yard.get_states() == ["RUNNING"]
    if done:
        save_json(yard.runs / "_nodes" / "a" / "run.json", {"fingerprint": "f"})
    for child in lost._children["q1"]:
        child.wait()
    yard.until("COMPLETED" if done else "FAILED")
    assert len(yard.started) == 1


def test_an_adopted_job_that_is_cancelled_is_killed_in_the_end(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_worker, "FINAL_SECONDS", 0.3)
    yard.put({"a": "trap '' TERM; touch up; while :; do sleep 0.05; done"})
    yard.look()
    lost, yard.worker = yard.worker, Worker(yard.runs)
    wait_until((yard.runs / "up").exists, seconds=10)
    yard.queue.cancel(["q1"])
    assert lost is not None
    wait_until(lambda: not yard.look(), seconds=10)
    assert lost._children["q1"][0].wait(5) == -signal.SIGKILL


def test_a_machine_that_was_started_anew_runs_nothing_of_before(yard: Yard) -> None:
    yard.put({"a": "exit 0", "b": "exit 0"})
    yard.look()
    entry = load_note(yard.folder, "q1")
    rebooted = [{**entry["processes"][0], "boot_id": "another"}]
    assert not is_running(rebooted)
    assert is_running([{**rebooted[0], "host": "another"}])
    cancel_processes(rebooted)
    save_json(yard.folder / "q1.state.json", {**entry, "processes": rebooted})
    yard.worker = None
    yard.until("FAILED", "COMPLETED")


def test_the_last_look_starts_nothing(yard: Yard) -> None:
    """Whoever holds the lock by then would start the same job."""
    yard.put({"a": "exit 0"})
    worker = Worker(yard.runs)
    assert worker.has_work()
    assert yard.started == []
    yard.until("COMPLETED")
    assert not worker.has_work()


def test_jobs_get_their_environment(yard: Yard) -> None:
    yard.put({"a": 'echo "$TOLD $VILLS_WORKERS $PYTHONPATH" > seen; echo to the log'})
    yard.until("COMPLETED")
    assert (yard.runs / "seen").read_text() == f"yes 1 {yard.runs}/code\n"
    (log,) = (yard.runs / "_logs").glob("*/q1_0_log.out")
    assert log.read_text() == "to the log\n"


@pytest.mark.parametrize(
    ("slots", "workers", "loaders"), [(1, 4, 3), (2, 2, 1), (3, 1, 0), (8, 1, 0)]
)
def test_a_job_has_its_share_of_the_cores(
    slots: int, workers: int, loaders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(4)))
    asked = {"VILLS_WORKERS": "8", "VILLS_LOADERS": "6", "OTHER": "1"}
    found = build_local_environment(asked, slots=slots)
    assert found == {"VILLS_WORKERS": str(workers), "VILLS_LOADERS": str(loaders), "OTHER": "1"}
    few = {"VILLS_WORKERS": "1", "VILLS_LOADERS": "0"}
    assert build_local_environment(few, slots=slots) == few


def test_unknown_jobs_and_settings(yard: Yard) -> None:
    assert yard.queue.load_states(["q7"]) == {"q7": UNKNOWN}
    yard.queue.cancel(["q7"])
    yard.queue.cancel_batch("none")
    yard.folder.mkdir()
    assert (count_slots(yard.folder, gpus=0), count_slots(yard.folder, gpus=4)) == (1, 4)
    yard.put({"a": ""}, max_parallel=3)
    assert count_slots(yard.folder, gpus=4) == 3


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalQueue]:
    """A queue with workers of its own, quick to leave; their jobs fail at once."""
    tool = tmp_path / "python"
    tool.write_text('#!/bin/bash\necho "$4" >> "$3/started"\nexit 7\n')
    tool.chmod(0o755)
    starter = tmp_path / "start.py"
    starter.write_text(
        "import sys\n"
        "from vills.runner.clusters import queue_worker as w\n"
        "w.IDLE_SECONDS, w.POLL_SECONDS, w.LOCK_SECONDS = 0.5, 0.05, 0.2\n"
        f"sys.executable = {str(tool)!r}\n"
        "sys.exit(w.main(sys.argv[1:]))\n"
    )
    runs = tmp_path / "runs"
    (runs / FOLDER).mkdir(parents=True)
    real, started = subprocess.Popen, []

    def popen(command: list[str], **options: Any) -> Any:
        child = real([sys.executable, str(starter), *command[3:]], **options)
        started.append(child)
        return child

    monkeypatch.setattr("vills.runner.clusters.queue_worker.subprocess.Popen", popen)
    yield LocalQueue(runs)
    for child in started:
        child.wait(20)


def submit(queue: LocalQueue, *keys: str) -> list[str]:
    runs = queue._runs
    batch = Batch(
        name=f"b{time.time_ns()}",
        stage="curate",
        keys=keys,
        after=[[]] * len(keys),
        resources=Resources(),
        runs=runs,
        code=runs / "code",
        environment={},
    )
    return queue.submit(batch)


def await_states(queue: LocalQueue, jobs: list[str], state: str) -> None:
    wait_until(
        lambda: {load_state(queue._folder, job).state for job in jobs} == {state}, seconds=30
    )


@pytest.mark.slow
def test_two_that_start_a_worker_at_once_get_one(live: LocalQueue) -> None:
    jobs = submit(live, "a")
    threads = [threading.Thread(target=live.ensure_worker) for _ in range(3)]
    run_all(threads)
    await_states(live, jobs, "FAILED")
    assert (live._runs / "started").read_text() == "a\n"
    wait_until(lambda: is_free(live), seconds=10)


@pytest.mark.slow
def test_a_killed_worker_is_missed_by_the_next_look(live: LocalQueue) -> None:
    jobs = submit(live, "a")
    with FileLock(live._folder / LOCK_NAME, timeout=20):
        states = live.load_states(jobs)
    assert set(states) == set(jobs)
    await_states(live, jobs, "FAILED")


@pytest.mark.slow
def test_what_is_put_in_while_the_worker_leaves_is_worked_on(live: LocalQueue) -> None:
    jobs = submit(live, "a")
    await_states(live, jobs, "FAILED")
    for number in range(4):
        # around the moment at which it has been idle for long enough
        time.sleep(0.44 + 0.03 * number)
        jobs = submit(live, "b")
        await_states(live, jobs, "FAILED")
    assert (live._runs / "started").read_text() == "a\n" + 4 * "b\n"


def run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def is_free(queue: LocalQueue) -> bool:
    try:
        with FileLock(queue._folder / LOCK_NAME, timeout=0.0):
            return True
    except TimeoutError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_job_that_somebody_else_has_put_is_not_started(yard: Yard) -> None:
    first, _ = yard.put({"a": "exit 0", "b": "exit 0"})
    os.chown(yard.folder / f"{first}.json", 65534, 65534)
    yard.until("FAILED", "COMPLETED")
    assert [line.split()[0] for line in yard.started] == ["b"]
    assert "belongs to nobody" in load_note(yard.folder, first)["reason"]


@pytest.mark.parametrize("content", [b"", b'{"job": "q', b"\xff\xfe", b"[]", b"{}"])
def test_a_damaged_file_ends_its_job_and_no_other(yard: Yard, content: bytes) -> None:
    first, second, third = yard.put(dict.fromkeys("abc", "exit 0"), after=[[], ["q1"], []])
    (yard.folder / f"{first}.json").write_bytes(content)
    (yard.folder / ".settings.json").write_bytes(content)
    wait_until(lambda: not yard.look())
    states = {job: load_state(yard.folder, job) for job in (first, second, third)}
    assert [states[job].state for job in states] == ["FAILED", "CANCELLED", "COMPLETED"]
    assert "is damaged" in states[first].reason
    with pytest.raises(InputError, match=r"settings.json is damaged.*--max-parallel"):
        yard.put({"d": "exit 0"})
    assert yard.put({"d": "exit 0"}, max_parallel=2) == ["q4"], "no number is given twice"
    (yard.folder / f"{third}.state.json").write_bytes(content)
    assert load_state(yard.folder, third).state == "FAILED"
