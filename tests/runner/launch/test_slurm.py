"""Batches as submitit and sbatch see them; what SLURM's tools print, and what is made of it.

Outputs as recorded from SLURM 22.05.
"""

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import submitit

from vills.config.resources import Resources
from vills.errors import UserError
from vills.programs import run_command
from vills.runner.clusters import slurm as cluster_module
from vills.runner.clusters.jobs import UNKNOWN, Batch, ClusterError, JobState
from vills.runner.clusters.slurm import (
    MAX_IDS,
    SlurmCluster,
    build_chunks,
    build_parameters,
    load_config,
    parse_array,
)

BAD_VALUES = ["two words", "it's", 'a "b"', "$(touch planted)", "`id`", "a\\nb", "x;y&|*?", "~", ""]


def make_batch(
    after: Sequence[Sequence[str]], *, resources: Resources | None = None, **changes: Any
) -> Batch:
    return Batch(
        **{
            "name": "vills-pretrain-0123456789",
            "stage": "pretrain",
            "keys": [f"k{number}" for number in range(len(after))],
            "after": after,
            "resources": resources or Resources(),
            "runs": Path("runs"),
            "code": Path("code"),
            "environment": {},
            **changes,
        }
    )


def test_what_waits_for_nothing_goes_in_chunks_of_the_array_size() -> None:
    chunks = build_chunks(make_batch([[]] * 10), size=4)
    assert [len(keys) for keys, _ in chunks] == [4, 4, 2]
    assert [key for keys, _ in chunks for key in keys] == [f"k{i}" for i in range(10)]
    assert {dependency for _, dependency in chunks} == {""}


def test_elements_wait_one_by_one_only_at_the_same_places() -> None:
    cases: dict[str, list[list[str]]] = {
        "aftercorr:7": [["7_0"], ["7_1"], ["7_2"]],
        "afterok:7_0": [["7_0"]],
        "afterok:7_1 afterok:7_2": [["7_1"], ["7_2"]],
        "aftercorr:7 afterok:7_3": [["7_0"], ["7_1"], ["7_3"]],
        "aftercorr:7 aftercorr:8": [["7_0"], ["7_1"], ["8_0"], ["8_1"]],
        "afterok:9 afterok:9": [["9"], ["9"]],
        "afterok:7_0:8_0 afterok:7_1": [["7_0", "8_0"], ["7_1"]],
    }
    for expected, after in cases.items():
        chunks = build_chunks(make_batch(after), size=100)
        assert " ".join(dependency for _, dependency in chunks) == expected
        for keys, dependency in chunks:
            if dependency.startswith("aftercorr"):
                places = [after[int(key[1:])] for key in keys]
                array = dependency.partition(":")[2]
                assert places == [[f"{array}_{i}"] for i in range(len(keys))]


def test_two_data_sets_of_each_pretraining_are_two_arrays() -> None:
    after = [[f"7_{point}"] for point in range(13) for _ in range(2)]
    chunks = build_chunks(make_batch(after), size=1001)
    assert [(len(keys), dependency) for keys, dependency in chunks] == [(13, "aftercorr:7")] * 2
    assert sorted(key for keys, _ in chunks for key in keys) == sorted(f"k{i}" for i in range(26))


class Recorder(SlurmCluster):
    """Keeps what would be submitted: (keys, dependency, throttle)."""

    def __init__(self) -> None:
        self.chunks: list[tuple[list[str], str, int]] = []

    def _submit_chunk(
        self, batch: Batch, keys: Sequence[str], *, dependency: str, throttle: int
    ) -> list[str]:
        self.chunks.append((list(keys), dependency, throttle))
        array = 100 + len(self.chunks)
        return [f"{array}_{i}" for i in range(len(keys))] if len(keys) > 1 else [str(array)]


def count_most(chunks: Sequence[tuple[list[str], str, int]]) -> int:
    """Most jobs at once: chunks that wait for no other chunk of the batch may overlap."""
    most = 0
    for mask in range(1, 2 ** len(chunks)):
        chosen = [i for i in range(len(chunks)) if mask >> i & 1]
        if all(not _precedes(chunks, a, b) for a in chosen for b in chosen if a < b):
            most = max(most, sum(min(len(chunks[i][0]), chunks[i][2] or 10**6) for i in chosen))
    return most


def _precedes(chunks: Sequence[tuple[list[str], str, int]], first: int, later: int) -> bool:
    todo = [later]
    while todo:
        for part in chunks[todo.pop()][1].split(","):
            if part.startswith("afterany:"):
                number = int(part.removeprefix("afterany:")) - 101
                if number == first:
                    return True
                todo.append(number)
    return False


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("after", [[[]] * 23, [[f"7_{i}"] for i in range(1, 9)]])
def test_several_arrays_together_keep_the_limit(
    limit: int, after: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "load_config", lambda: {"MaxArraySize": "4"})
    recorder = Recorder()
    batch = make_batch(after, max_parallel=limit)
    ids = recorder.submit(batch)
    assert len(set(ids)) == len(batch.keys)
    assert 1 <= count_most(recorder.chunks) <= limit
    for keys, dependency, _ in recorder.chunks:
        own = [word for word in dependency.split(",") if not word.startswith("afterany")]
        assert own == [f"afterok:{after[int(keys[0][1:])][0]}"] if after[0] else not any(own)


def test_without_a_limit_no_array_waits_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "load_config", dict)
    recorder = Recorder()
    assert recorder.submit(make_batch([[]] * 3)) == ["101_0", "101_1", "101_2"]
    assert recorder.chunks == [(["k0", "k1", "k2"], "", 0)]


def test_ids_come_in_the_order_of_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "load_config", lambda: {"MaxArraySize": "2"})
    recorder = Recorder()
    batch = make_batch([["7_1"], [], ["7_0"], []])
    ids = dict(zip(batch.keys, recorder.submit(batch), strict=True))
    told = {key: 101 + i for i, (keys, _, _) in enumerate(recorder.chunks) for key in keys}
    assert {key: int(job.partition("_")[0]) for key, job in ids.items()} == told


def render_script(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **arguments: Any
) -> str:
    """The sbatch script that submitit makes of a batch, after its own checks."""
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 2))
    executor = submitit.SlurmExecutor(folder=tmp_path / "logs")
    executor.update_parameters(
        **build_parameters(batch, **{"dependency": "", "throttle": 0, **arguments})
    )
    return executor._make_submission_file_text("true", "0")


def test_submitit_takes_every_parameter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resources = Resources(
        nodes=2,
        gpus_per_node=4,
        cpus_per_task=6,
        mem_gb=64,
        timeout_min=90,
        signal_seconds=100,
        partition="gpu,long",
        account="lab",
        qos="high",
        constraint="a40",
        extra={"exclude": "n7", "nice": 5},
        setup=["module load cuda"],
    )
    text = render_script(
        make_batch([[]] * 3, resources=resources),
        tmp_path,
        monkeypatch,
        dependency="aftercorr:7",
        throttle=2,
    )
    lines = [line.removeprefix("#SBATCH --") for line in text.splitlines() if "#SBATCH" in line]
    for expected in (
        *("nodes=2", "ntasks-per-node=4", "gpus-per-node=4", "cpus-per-task=6", "mem=64GB"),
        *("time=90", "signal=USR2@100", "partition=gpu,long", "account=lab", "qos=high"),
        *("constraint=a40", "exclude=n7", "nice=5", "requeue", "kill-on-invalid-dep=yes"),
        *("dependency=aftercorr:7", "job-name=vills-pretrain-0123456789", "open-mode=append"),
    ):
        assert expected in lines, expected
    srun = next(line for line in text.splitlines() if line.startswith("srun"))
    for option in ("--kill-on-bad-exit=1", "--cpu-bind=none", "--cpus-per-task=6"):
        assert option in shlex.split(srun)
    assert text.index("module load cuda") < text.index("export VILLS_WORKERS") < text.index("srun")


def test_no_gpu_is_asked_for_where_none_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = render_script(make_batch([[]]), tmp_path, monkeypatch)
    for word in ("gpus", "partition", "account", "mem=", "dependency"):
        assert word not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WANDB_API_KEY", "abc"),
        ("MLFLOW_TRACKING_TOKEN", "abc"),
        ("DB_Password", "abc"),
        ("HTTPS_PROXY", "http://user:abc@proxy:3128"),
    ],
)
def test_no_secret_is_written_into_jobs(name: str, value: str) -> None:
    batch = make_batch([[]], resources=Resources(environment={name: value}))
    said = rf"slurm/pretrain\.yaml: environment\.{name} holds a password.*What to do: leave it out"
    with pytest.raises(UserError, match=said) as caught:
        build_parameters(batch, dependency="", throttle=0)
    assert "abc" not in str(caught.value)


def test_values_survive_the_shell(tmp_path: Path) -> None:
    values = {f"VILLS_TEST_{number}": value for number, value in enumerate(BAD_VALUES)}
    resources = Resources(environment={"NCCL_SOCKET_IFNAME": "ib0 $(touch planted)"})
    batch = make_batch([[]], environment=values, resources=resources, code=tmp_path / "a b'c")
    parameters = build_parameters(batch, dependency="", throttle=0)
    lines = [*parameters["setup"], "env -0"]
    result = subprocess.run(
        ["bash", "-c", "\n".join(lines)], capture_output=True, cwd=tmp_path, check=True
    )
    found = dict(entry.split("=", 1) for entry in result.stdout.decode().split("\0") if entry)
    assert {name: found[name] for name in values} == values
    assert found["NCCL_SOCKET_IFNAME"] == "ib0 $(touch planted)"
    assert found["PYTHONPATH"] == str(tmp_path / "a b'c")
    assert (found["VILLS_WORKERS"], found["VILLS_LOADERS"], found["VILLS_REQUEUE"]) == (
        *("1", "0", "1"),
    )
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("inside", [False, True])
def test_a_launcher_inside_a_job_does_not_hand_on_its_variables(
    inside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"SBATCH_ACCOUNT": "lab", "SLURM_CONF": "/etc/own.conf", "SLURM_NTASKS": "8"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if inside:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
    with cluster_module._outside_of_job():
        seen = {name: os.environ.get(name) for name in (*own, "SLURM_JOB_ID")}
    assert seen["SLURM_CONF"] == "/etc/own.conf"
    assert (seen["SLURM_NTASKS"] is None) == inside
    assert seen["SLURM_JOB_ID"] is None
    assert os.environ["SLURM_NTASKS"] == "8"
    assert os.environ["SBATCH_ACCOUNT"] == "lab"


def write_tool(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def test_sbatchs_own_words_reach_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tool(tmp_path, "srun", "exit 0")
    write_tool(tmp_path, "sbatch", "echo 'error: Invalid account' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    batch = make_batch([[], []], runs=tmp_path / "runs")
    with pytest.raises(ClusterError, match=r"(?s)Invalid account.*slurm/pretrain.yaml.*doctor"):
        SlurmCluster().submit(batch)


def test_a_machine_without_slurm_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="srun"):
        SlurmCluster().submit(make_batch([[]], runs=tmp_path / "runs"))


def test_jobs_that_sbatch_takes_get_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tool(tmp_path, "srun", "exit 0")
    write_tool(tmp_path, "sbatch", "echo 'Submitted batch job 4711'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    runs = tmp_path / "runs"
    assert SlurmCluster().submit(make_batch([[], []], runs=runs)) == ["4711_0", "4711_1"]
    assert SlurmCluster().submit(make_batch([[]], runs=runs)) == ["4711"]
    assert list((runs / "_logs").glob("vills-pretrain-*/4711_1_submitted.pkl"))


SQUEUE = """\
12_[3-4%2]|PENDING|JobArrayTaskLimit
12_0|RUNNING|None
12_1|COMPLETED|None
13|PENDING|(ReqNodeNotAvail, UnavailableNodes:n[1-2])
14|COMPLETING|None
15|REQUEUED|BeginTime
99|RUNNING|None
"""
SACCT = """\
12_0|PENDING|0:0
12_2|FAILED|1:0
12_[3-4%2]|PENDING|0:0
16|CANCELLED by 0|0:0
17|NODE_FAIL|1:0
18|TIMEOUT|0:0
19|OUT_OF_MEMORY|0:125
20|PREEMPTED|0:0
21|REQUEUED|0:0
"""

Plant = Callable[[str, str], None]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Put a tool into PATH, in place of the real one; no other SLURM tool is there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "cat"):
        (folder / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/bash\n{script}\n")
        (folder / name).chmod(0o755)

    return write


def say(text: str) -> str:
    return f"cat <<'END'\n{text}END"


@pytest.mark.parametrize(
    ("job", "elements"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[0-2,7%4]", ["12_0", "12_1", "12_2", "12_7"]),
        ("12_[0-6:3]", ["12_0", "12_3", "12_6"]),
        ("12_[5]", ["12_5"]),
        ("12_[5%1]", ["12_5"]),
        ("12+1", ["12+1"]),
    ],
)
def test_arrays_are_expanded(job: str, elements: list[str]) -> None:
    assert parse_array(job) == elements


def test_squeue_comes_first_and_sacct_knows_what_it_has_forgotten(plant: Plant) -> None:
    plant("squeue", say(SQUEUE))
    plant("sacct", say(SACCT))
    jobs = [f"12_{i}" for i in range(5)] + [str(i) for i in range(13, 23)]
    assert SlurmCluster().load_states(jobs) == {
        "12_0": JobState("running", "RUNNING"),
        "12_1": JobState("ended", "COMPLETED"),
        "12_2": JobState("ended", "FAILED", "exit 1:0"),
        "12_3": JobState("pending", "PENDING", "JobArrayTaskLimit"),
        "12_4": JobState("pending", "PENDING", "JobArrayTaskLimit"),
        "13": JobState("pending", "PENDING", "(ReqNodeNotAvail, UnavailableNodes:n[1-2])"),
        "14": JobState("running", "COMPLETING"),
        "15": JobState("pending", "REQUEUED", "BeginTime"),
        "16": JobState("ended", "CANCELLED"),
        "17": JobState("ended", "NODE_FAIL", "exit 1:0"),
        "18": JobState("ended", "TIMEOUT"),
        "19": JobState("ended", "OUT_OF_MEMORY", "exit 0:125"),
        "20": JobState("ended", "PREEMPTED"),
        "21": JobState("pending", "REQUEUED"),
        "22": UNKNOWN,
    }


@pytest.mark.parametrize("script", ["echo 'Slurm accounting storage is disabled' >&2; exit 1", ""])
def test_without_accounting_squeue_is_all(plant: Plant, script: str) -> None:
    plant("squeue", say(SQUEUE))
    if script:
        plant("sacct", script)
    assert SlurmCluster().load_states(["12_0", "12_2"]) == {
        "12_0": JobState("running", "RUNNING"),
        "12_2": UNKNOWN,
    }


def test_a_controller_that_is_down_loses_no_job(plant: Plant) -> None:
    plant("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    silent = JobState("pending", "UNKNOWN", "squeue does not answer")
    assert SlurmCluster().load_states(["12"]) == {"12": silent}
    plant("sacct", say(SACCT))
    assert SlurmCluster().load_states(["12_2", "30"]) == {
        "12_2": JobState("ended", "FAILED", "exit 1:0"),
        "30": silent,
    }


def test_where_there_is_no_slurm_jobs_are_unknown(plant: Plant) -> None:
    assert SlurmCluster().load_states(["12"]) == {"12": UNKNOWN}
    assert load_config() == {}
    assert not run_command(["squeue"]).ok


def test_many_jobs_are_asked_for_in_parts(plant: Plant, tmp_path: Path) -> None:
    plant("squeue", "true")
    plant("sacct", f'echo "$@" >> {tmp_path}/asked')
    SlurmCluster().load_states([str(number) for number in range(1000, 1000 + MAX_IDS + 5)])
    asked = (tmp_path / "asked").read_text().splitlines()
    counts = [line.split("--format")[0].count(",") + 1 for line in asked]
    assert counts == [MAX_IDS, 5]


def test_an_array_is_one_question(plant: Plant, tmp_path: Path) -> None:
    plant("squeue", "true")
    plant("sacct", f'echo "$@" >> {tmp_path}/asked')
    SlurmCluster().load_states([f"12_{number}" for number in range(100)])
    assert "--jobs 12 " in (tmp_path / "asked").read_text()


def test_what_a_command_says_is_passed_on(plant: Plant) -> None:
    plant("scancel", "echo 'Invalid job id' >&2; exit 1")
    with pytest.raises(ClusterError, match=r"`scancel 12` failed: Invalid job id.*What to do"):
        SlurmCluster().cancel(["12"])


def test_without_scancel_it_is_named(plant: Plant) -> None:
    with pytest.raises(ClusterError, match="no scancel on the PATH"):
        SlurmCluster().cancel_batch("vills-lse")


def test_the_configuration_is_read(plant: Plant) -> None:
    plant("scontrol", say("Configuration data\nMaxArraySize            = 4\nAuth = a=b\n\n"))
    assert load_config() == {"MaxArraySize": "4", "Auth": "a=b"}


def test_an_array_cancelled_before_it_began_is_listed_as_one_job(plant: Plant) -> None:
    plant("squeue", say("2|CANCELLED|Resources\n3|PENDING|Resources\n"))
    states = SlurmCluster().load_states(["2_0", "2_1", "3_0"])
    assert states["2_0"] == states["2_1"] == JobState("ended", "CANCELLED", "Resources")
    assert states["3_0"] == UNKNOWN
