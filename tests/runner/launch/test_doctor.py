"""What the doctor says to recorded answers of a real SLURM, and to odd or missing ones."""

import errno
import fcntl
import json
import math
import os
import re
import resource
import shutil
import socket
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vills
from vills.cli import main
from vills.config.load import load_profile
from vills.config.resources import Resources
from vills.mounts import find_mount
from vills.programs import Answer, run_command
from vills.runner.clusters.slurm import parse_config
from vills.runner.doctor import (
    TITLES,
    Finding,
    Level,
    jobs,
    machine,
    project,
    render_findings,
    run_check,
    scheduler,
)
from vills.runner.doctor.examine import CHECKS, run_checks, select_unanswered
from vills.runner.doctor.facts import (
    QUESTIONS,
    ClusterFacts,
    parse_minutes,
    parse_partitions,
    parse_tres,
)

# Recorded from the two-node SLURM 22.05 of slurm_bed.py, the second with everything switched off.
HEALTHY = """\
Configuration data as of 2026-11-27T22:13:23
AccountingStorageEnforce = none
AccountingStorageType   = accounting_storage/slurmdbd
AuthInfo                = socket=/tmp/bed/munge.sock,cred_expire=5
JobRequeue              = 1
KillWait                = 30 sec
MaxArraySize            = 1001
MinJobAge               = 300 sec
PreemptMode             = REQUEUE
PreemptType             = preempt/partition_prio
SlurmctldParameters     = preempt_send_user_signal
"""
SICK = """\
AccountingStorageEnforce = none
AccountingStorageType   = accounting_storage/none
AuthInfo                = (null)
JobRequeue              = 0
KillWait                = 5 sec
MaxArraySize            = 4
MinJobAge               = 300 sec
PreemptMode             = REQUEUE
PreemptType             = preempt/partition_prio
SlurmctldParameters     = (null)
"""
SINFO = """\
test|test*|1:00:00|n1|2|10000|gpu:2|idle|(null)
prio|prio|1:00:00|n1|2|10000|gpu:2|idle|(null)
test|test*|1:00:00|n2|2|10000|gpu:2|idle|(null)
prio|prio|1:00:00|n2|2|10000|gpu:2|idle|(null)
"""
PARTITIONS = """\
PartitionName=test Default=YES GraceTime=10 PreemptMode=REQUEUE
PartitionName=prio Default=NO GraceTime=0 PreemptMode=OFF
"""
TORCH = '{"torch": "2.15.0", "cuda": "13.2", "nccl": "2.28.9", "devices": %d}'


def levels(findings: Iterable[Finding]) -> dict[str, Level]:
    found = list(findings)
    assert all(finding.remedy for finding in found if finding.level != "ok"), found
    return {finding.name: finding.level for finding in found}


def make_facts(
    stage: str = "lse",
    resources: Resources | None = None,
    *,
    sinfo: str = SINFO,
    config: dict[str, str] | None = None,
    **answers: Answer | str,
) -> ClusterFacts:
    """A cluster of which all tools answer, nothing unless told otherwise."""
    given = {n: Answer(text=a) if isinstance(a, str) else a for n, a in answers.items()}
    return ClusterFacts(
        folder=Path(),
        runs=Path("runs"),
        config=config or {},
        stages={stage: resources or Resources()},
        partitions=parse_partitions(sinfo),
        answers=dict.fromkeys(QUESTIONS, Answer()) | given,
    )


def make_local(**fields: object) -> ClusterFacts:
    """One machine without SLURM."""
    lost = dict.fromkeys(QUESTIONS, Answer(reason="no such tool", missing=True))
    facts = ClusterFacts(folder=Path(), runs=Path("runs"), answers=lost)
    for name, value in fields.items():
        setattr(facts, name, value)
    return facts


def look_at_slurm(facts: ClusterFacts) -> dict[str, Level]:
    found = list(scheduler.check_accounting(facts))
    for name in scheduler.SETTINGS:
        found += scheduler.check_setting(name, facts)
    return levels(found)


def test_a_healthy_configuration_has_no_faults() -> None:
    facts = make_facts(config=parse_config(HEALTHY))
    facts.sweeps = {"lambda_grid": 13}
    assert set(look_at_slurm(facts).values()) == {"ok"}


def test_each_planted_fault_is_named() -> None:
    sacct = Answer(reason="Slurm accounting storage is disabled")
    facts = make_facts(config=parse_config(SICK), sacct=sacct)
    facts.sweeps = {"areas": 6, "lambda_grid": 13}
    assert look_at_slurm(facts) == {
        "accounting": "fault",
        "preempt_send_user_signal": "note",
        "JobRequeue": "note",
        "requeue delay": "ok",
        "KillWait": "note",
        "MaxArraySize": "note",
    }


def test_without_a_configuration_nothing_is_called_well() -> None:
    found = look_at_slurm(make_facts(sacct=Answer(reason="no sacct", missing=True)))
    assert found.pop("accounting") == "fault"
    assert set(found.values()) == {"unknown"}


def judge(name: str, **config: str) -> Level:
    return levels(scheduler.check_setting(name, make_facts(config=config)))[name]


def test_preemption_that_cancels_or_never_happens() -> None:
    name = "preempt_send_user_signal"
    assert judge(name, PreemptType="preempt/qos", PreemptMode="CANCEL") == "fault"
    assert judge(name, PreemptType="preempt/none", PreemptMode="OFF") == "ok"


def test_arrays_that_are_switched_off() -> None:
    assert judge("MaxArraySize", MaxArraySize="0") == "fault"


def test_tools_that_are_missing_or_fail() -> None:
    fine = Answer(text="slurm 22.05.8\n")
    gone = Answer(reason="no scontrol on the PATH", missing=True)
    silent = Answer(reason="no answer in 4 s")
    facts = make_facts(sbatch=fine, squeue=silent, scontrol=gone)
    facts.answers["sinfo"] = fine
    found = levels(scheduler.check_tools(facts))
    assert found == {"sbatch": "ok", "squeue": "fault", "sinfo": "ok", "scontrol": "fault"}


def test_a_tool_is_missing_fails_or_hangs(tmp_path: Path) -> None:
    assert run_command(["vills-no-such-tool"]).missing
    assert run_command(["bash", "-c", "echo one >&2; echo two >&2; exit 3"]).reason == "two"
    assert run_command(["false"]).reason == "exit status 1"
    assert run_command(["sleep", "5"], seconds=0.1).reason == "no answer in 0.1 s"
    tool = tmp_path / "tool"
    tool.write_text("")
    assert "denied" in run_command([str(tool)]).reason


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("1:00:00", 60.0),
        ("2-00:00:00", 2880.0),
        ("1-12", 2160.0),
        ("30:00", 30.0),
        ("45", 45.0),
        ("infinite", math.inf),
        ("UNLIMITED", math.inf),
        ("", math.inf),
    ],
)
def test_times_are_read(text: str, minutes: float) -> None:
    assert parse_minutes(text) == minutes


def test_nodes_are_read() -> None:
    partitions = parse_partitions(
        SINFO + "big|big|infinite|a1|128+|1000000+|gpu:a100:4(S:0,1),lustre:1|down*|a100,ib\n"
        "big|big|infinite|a2|128|1000000|gpu:a100:3,gpu:h100:1|mix|a100\n"
    )
    facts = make_facts()
    facts.partitions = partitions
    assert facts.num_nodes == 4
    assert all(node.is_default for node in partitions["test"])
    assert not any(node.is_default for node in partitions["prio"])
    assert [node.gpus for node in partitions["big"]] == [4, 4]
    assert [node.is_up for node in partitions["big"]] == [False, True]
    assert partitions["big"][0].features == {"a100", "ib"}
    assert partitions["big"][0].minutes == math.inf


def test_an_odd_answer_is_unknown_with_its_reason() -> None:
    def look(_: ClusterFacts) -> Iterable[Finding]:
        parse_partitions("PARTITION AVAIL\n")
        return []

    (finding,) = run_check("jobs", "partitions", look, make_facts())
    assert finding.level == "unknown"
    assert "has 1 fields" in finding.found
    facts = make_facts(config={"MaxArraySize": "?"})
    odd = run_check("scheduler", "x", partial(scheduler.check_setting, "MaxArraySize"), facts)
    assert odd[0].level == "unknown"
    assert parse_tres("mem=100G,gres/gpu=4,,nonsense") == {"gres/gpu": 4}


def fit(**fields: Any) -> dict[str, Level]:
    resources = Resources(**fields)
    return levels(jobs.check_partition("pretrain", make_facts("pretrain", resources)))


def test_jobs_that_fit_their_partition() -> None:
    assert set(fit(nodes=2, gpus_per_node=2, timeout_min=60).values()) == {"ok"}
    assert set(fit(partition="prio,test", mem_gb=9).values()) == {"ok"}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"timeout_min": 61}, "pretrain: time limit"),
        ({"partition": "gpu"}, "pretrain: partition"),
        ({"nodes": 3}, "pretrain: nodes"),
        ({"gpus_per_node": 3, "cpus_per_task": 1}, "pretrain: nodes"),
        ({"cpus_per_task": 3}, "pretrain: nodes"),
        ({"mem_gb": 10}, "pretrain: nodes"),
        ({"constraint": "a40"}, "pretrain: nodes"),
    ],
)
def test_jobs_that_would_wait_for_ever(fields: dict[str, Any], name: str) -> None:
    assert fit(**fields)[name] == "fault"


def test_nodes_that_are_down_are_a_note_and_no_default_is_a_fault() -> None:
    down = make_facts(sinfo=SINFO.replace("idle", "down*"))
    found = levels(jobs.check_partition("lse", down))
    assert found["lse: nodes"] == "note"
    bare = make_facts(sinfo=SINFO.replace("test*", "test"))
    assert levels(jobs.check_partition("lse", bare)) == {"lse: partition": "fault"}


def test_time_limits_against_checkpoints() -> None:
    def look(minutes: int, seconds: int, every: float | None) -> Level:
        resources = Resources(timeout_min=minutes, signal_seconds=seconds)
        facts = make_facts("pretrain", resources)
        if every is not None:
            facts.params = load_profile("tiny", [f"operation.checkpoint_minutes={every}"])
        return levels([jobs.check_times("pretrain", facts)])["pretrain: checkpoints"]

    assert look(60, 120, 5.0) == "ok"
    assert look(6, 120, 5.0) == "fault"  # four minutes of work, a checkpoint every five
    assert look(3, 120, None) == "fault"  # the signal may come a minute early: at once
    assert look(60, 10, 5.0) == "note"
    assert look(60, 10, None) == "ok"


def test_grace_time_of_preemption() -> None:
    def look(resources: Resources, kind: str) -> dict[str, Level]:
        qos = "Name|GraceTime\nnormal|00:10:00\n"
        facts = make_facts("lse", resources, partitions=PARTITIONS, qos=qos)
        facts.config = {"PreemptType": kind}
        return levels(jobs.check_grace("lse", facts))

    assert look(Resources(), "preempt/partition_prio") == {"lse: GraceTime": "note"}
    assert look(Resources(signal_seconds=5), "preempt/partition_prio") == {"lse: GraceTime": "ok"}
    assert look(Resources(partition="prio"), "preempt/partition_prio") == {}
    assert look(Resources(), "preempt/qos") == {"lse: GraceTime": "ok"}
    assert look(Resources(), "preempt/none") == {}


QOS = """\
Name|GraceTime|MaxWall|MaxTRES|MaxTRESPU|GrpTRES|MaxJobsPU|MaxSubmitPU
normal|00:00:00|01:00:00||gres/gpu=4|cpu=100|5|
long|00:00:00|||||50|
"""
ASSOC = """\
Account|Partition|QOS|Def QOS|MaxWall|MaxTRES|GrpTRES|MaxJobs|MaxSubmit
lab||normal,long||2-00:00:00||||10
"""


def test_limits_of_qos_and_account() -> None:
    def look(resources: Resources, enforce: str = "associations,limits") -> dict[str, Level]:
        facts = make_facts("lse", resources, qos=QOS, assoc=ASSOC)
        facts.config, facts.sweeps = {"AccountingStorageEnforce": enforce}, {"lambda_grid": 13}
        return levels(jobs.check_account_limits("lse", facts))

    big = Resources(gpus_per_node=8, timeout_min=600)
    assert look(big) == {"lse: limits": "fault", "lse: number of jobs": "note"}
    assert look(big, "none") == {}
    assert "lse: limits" not in look(Resources(gpus_per_node=8, timeout_min=600, qos="long"))
    assert "lse: limits" not in look(Resources(gpus_per_node=4, timeout_min=60))


MOUNTS = """\
/dev/vda / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
scratch@tcp:/s /scratch\\040one lustre rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
short
"""


def set_mounts(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    fake = SimpleNamespace(exists=lambda: True, read_text=lambda **_: text)
    monkeypatch.setattr("vills.mounts.MOUNTS", fake)


def test_file_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    set_mounts(monkeypatch, "")
    assert find_mount(Path("/x"))[1] == ""
    set_mounts(monkeypatch, MOUNTS)
    assert find_mount(Path("/home/me/runs"))[1] == "nfs4"
    assert find_mount(Path("/scratch one/x"))[1] == "lustre"
    assert find_mount(Path("/homeless"))[1] == "ext4"

    def look(path: str, facts: ClusterFacts) -> Level:
        facts.runs = Path(path)
        return levels(project.check_shared("runs", facts))["runs"]

    assert look("/opt", make_facts()) == "unknown"
    assert look("/opt", make_local()) == "ok"
    assert look("/dev/shm", make_facts()) == "fault"


def test_sqlite_belongs_to_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(kind: str, facts: ClusterFacts) -> dict[str, Level]:
        set_mounts(monkeypatch, f"x / {kind} rw 0 0\n")
        found = list(project.check_tracker(facts))
        assert [finding.group for finding in found] == ["", "files"]
        return levels(found)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert look("nfs4", make_local()) == {"tracker": "ok", "MLflow database": "fault"}
    assert look("ext4", make_facts()) == {"tracker": "ok", "MLflow database": "note"}
    assert look("ext4", make_local()) == {"tracker": "ok", "MLflow database": "ok"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    assert "MLflow database" not in levels(project.check_tracker(make_facts()))


def test_every_check_is_made_and_shown() -> None:
    assert {group for group, _, _ in CHECKS} <= set(TITLES)
    text = Path(project.__file__).with_name("examine.py").read_text()
    for module in (jobs, machine, project, scheduler):
        source = Path(module.__file__).read_text()
        for name in re.findall(r"^def (check_\w+)\(", source, re.MULTILINE):
            uses = re.findall(rf"\b{name}\b", text + source)
            assert len(uses) > 1, f"{module.__name__}.{name} is called by nobody: add it to CHECKS"


def test_links_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_mounts(monkeypatch, MOUNTS)
    facts = make_local(runs=tmp_path / "not" / "yet")
    assert levels(project.check_links(facts)) == {"hard links": "ok"}
    assert list(tmp_path.iterdir()) == []
    assert "fault" not in levels(project.check_room(facts)).values()
    monkeypatch.setattr(project, "MIN_GB", 1e9)
    assert levels(project.check_room(facts))["free space of runs"] == "fault"
    set_mounts(monkeypatch, "x / fuse.s3fs rw 0 0\n")
    assert levels(project.check_links(facts)) == {"hard links": "fault"}


def test_dvc_on_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = project.check_dvc
    set_mounts(monkeypatch, "x / nfs4 rw 0 0\n")
    facts = make_local(folder=tmp_path, runs=tmp_path)
    assert levels(look(facts)) == {"DVC": "note"}
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc" / "config"
    config.write_text("[core]\n    analytics = false\n")
    found = levels(look(facts))
    assert found == {"DVC cache": "ok", "DVC links": "note", "DVC lock": "note"}
    config.write_text("[core]\nhardlink_lock = true\n[cache]\ntype = reflink,hardlink\n")
    assert levels(look(facts)) == {"DVC cache": "ok"}


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(devices: int, driver: str, facts: ClusterFacts) -> dict[str, Level]:
        monkeypatch.setattr(machine, "read_driver", lambda: driver)
        facts.answers["torch"] = Answer(text=TORCH % devices)
        return levels(machine.check_devices(facts))

    assert look(2, "580.1", make_facts()) == {"GPU of login node": "ok"}
    assert look(0, "", make_facts()) == {"GPU of login node": "note"}
    assert look(0, "", make_local()) == {"GPU of machine": "note"}
    assert look(0, "580.1", make_local()) == {"GPU of machine": "fault"}
    broken = make_facts(torch=Answer(reason="ImportError: libcudart"))
    assert levels(machine.check_devices(broken)) == {"GPU": "unknown"}


def set_shared_memory(monkeypatch: pytest.MonkeyPatch, size_gb: float) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=1e9 * size_gb))


def test_memory_and_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(size_gb: float, loaders: int) -> dict[str, Level]:
        set_shared_memory(monkeypatch, size_gb)
        return levels(machine.check_loaders(make_facts(resources=Resources(loaders=loaders))))

    assert look(0.064, 6) == {"/dev/shm": "fault"}
    assert look(0.064, 0) == {"/dev/shm": "ok"}
    assert look(0.5, 6) == {"/dev/shm": "note"}

    def count(soft: int) -> set[Level]:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
        return set(levels(machine.check_open_files(make_local())).values())

    assert count(1024) == {"note"}
    assert count(-1) == {"ok"}


def test_folders_that_the_parameters_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VILLS_DATA", raising=False)
    monkeypatch.delenv("VILLS_WEIGHTS", raising=False)
    tiny = levels(project.check_folders(make_local(params=load_profile("tiny"))))
    assert tiny == {"VILLS_DATA": "ok", "VILLS_WEIGHTS": "ok"}
    params = load_profile("paper_vits")
    assert project.list_weights(params)
    paper = make_local(params=params)
    found = levels(project.check_folders(paper))
    assert found == {"VILLS_DATA": "fault", "VILLS_WEIGHTS": "fault"}
    monkeypatch.setenv("VILLS_DATA", str(tmp_path))
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    found = levels(project.check_folders(paper))
    assert found == {"VILLS_DATA": "ok", "VILLS_WEIGHTS": "fault"}
    for name in project.list_weights(params):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert levels(project.check_folders(paper))["VILLS_WEIGHTS"] == "ok"


class Tracker(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401 if self.path.startswith("/closed") else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_trackers_that_answer_refuse_or_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(uri: str, facts: ClusterFacts) -> Level:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        return levels(project.check_tracker(facts))["tracker"]

    with HTTPServer(("127.0.0.1", 0), Tracker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        assert look(uri, make_local()) == "ok"
        assert look(uri, make_facts()) == "note"
        assert look(f"{uri}/closed", make_local()) == "note"
        server.shutdown()
    assert look(uri, make_local()) == "note"
    assert look("sqlite:///x.db", make_local()) == "ok"
    monkeypatch.setenv("VILLS_TRACKING", "off")
    assert look("", make_local()) == "note"


JOB, DEVICE = Answer(text="JobId=1"), Answer(text=TORCH % 1)


class Node:
    """A node on which all is well, unless told otherwise; this process stands for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / machine.LOCK).write_text("")
        self.folder, self.patch = folder, monkeypatch
        monkeypatch.setattr(socket, "gethostname", lambda: "n1")
        monkeypatch.setattr(machine, "read_driver", lambda: "580.1")
        set_shared_memory(monkeypatch, 8.0)
        monkeypatch.delenv("VILLS_DATA", raising=False)
        monkeypatch.delenv("VILLS_WEIGHTS", raising=False)

    def look(
        self,
        *,
        scontrol: Answer = JOB,
        torch: Answer = DEVICE,
        version: str = vills.__version__,
    ) -> dict[str, Level]:
        answers = {"scontrol": scontrol, sys.executable: torch}
        self.patch.setattr(machine, "run_command", lambda command, **_: answers[command[0]])
        seen = machine.check_node(self.folder, loaders=6, gpus=1, version=version)
        lines = [json.dumps(["n1", asdict(finding)]) for finding in seen]
        assert max(map(len, lines)) < 1000  # srun would cut it
        return probe_levels(*lines)


def probe_levels(*lines: str, num_nodes: int = 1) -> dict[str, Level]:
    text = "some prolog\n" + "".join(f"VILLS {line}\n" for line in lines)
    return levels(machine.read_probe(Answer(text=text), num_nodes=num_nodes, runs=Path("/runs")))


def test_what_nodes_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(tmp_path, monkeypatch)
    with (tmp_path / machine.LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert set(node.look().values()) == {"ok"}
    found = node.look()
    assert found.pop("n1: flock") == "note"
    assert set(found.values()) == {"ok"}
    assert node.look(version="0.0")["n1: python"] == "fault"
    assert node.look(scontrol=Answer(reason="no scontrol on the PATH"))["n1: scontrol"] == "fault"
    assert node.look(torch=Answer(text=TORCH % 0))["GPU of n1"] == "fault"
    assert node.look(torch=Answer(reason="no libcuda"))["n1: torch"] == "fault"
    monkeypatch.setenv("VILLS_DATA", "/no/such/folder")
    assert node.look()["n1: VILLS_DATA"] == "fault"

    for number, level in ((errno.EPERM, "note"), (errno.ENOTSUP, "note"), (errno.EROFS, "fault")):

        def refuse(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refuse)
        assert node.look()["n1: hard links"] == level


def test_nodes_that_cannot_look() -> None:
    seen = json.dumps(["n1", asdict(Finding("n1: runs", "ok", "the same"))])
    assert probe_levels(seen, seen, num_nodes=2) == {"probe": "unknown", "n1: runs": "ok"}
    assert probe_levels('["n2", "no_folder"]') == {"n2: runs": "fault"}
    assert probe_levels('["n2", "no_python"]') == {"n2: python": "fault"}
    assert probe_levels('["n2", "no_import"]') == {"n2: python": "fault"}


def test_the_script_of_a_node_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: another folder of the name, no python, a python without vills."""

    def look() -> str:
        *_, script = machine.build_command(tmp_path, Resources(), num_nodes=1)
        text = run_command(["bash", "-c", script]).text
        (name,) = levels(machine.read_probe(Answer(text=text), num_nodes=1, runs=Path("/runs")))
        return name.split(": ")[1]

    assert look() == "runs"
    (tmp_path / machine.LOCK).write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert look() == "python"
    (tmp_path / "python").symlink_to("/bin/false")
    assert look() == "python"


def test_a_probe_that_does_not_run_is_unknown() -> None:
    refused = Answer(reason="srun: Unable to allocate")
    (finding,) = machine.read_probe(refused, num_nodes=2, runs=Path("/x"))
    assert finding.level == "unknown"


def test_nodes_that_have_looked_end_the_doubts() -> None:
    doubt = Finding("runs", "unknown", "local by its type", "probe", group="files")
    seen = Finding("n1: runs", "ok", "the same", group="nodes")
    assert select_unanswered([doubt, seen]) == [seen]
    lost = Finding("n2: runs", "fault", "not there", "move it", group="nodes")
    assert select_unanswered([doubt, seen, lost]) == [doubt, seen, lost]


@pytest.mark.slow
def test_a_laptop_without_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 1  # the folder has no params.yaml
    found = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert found["SLURM"]["level"] == "note"
    assert found["params.yaml"]["level"] == "fault"
    assert "MaxArraySize" not in found
    assert found["hard links"]["level"] == "ok"
    assert all(entry["remedy"] for entry in found.values() if entry["level"] != "ok")


@pytest.mark.slow
def test_broken_files_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VILLS_TRACKING", "perhaps")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "lse.yaml").write_text("nodse: 2\n")
    found = {finding.name: finding for finding in run_checks(tmp_path, probe=True)}
    assert found["lse: file"].level == "fault"
    assert found["tracker"].level == "fault"
    assert found["probe"].level == "note"


def test_the_table_names_finding_and_remedy() -> None:
    findings = [
        Finding("JobRequeue", "ok", "1", group="scheduler"),
        Finding("lse: nodes", "fault", "too many", "ask for fewer", group="jobs"),
    ]
    text = render_findings(findings)
    assert "FAULT lse: nodes" in text
    assert "-> ask for fewer" in text
    assert text.endswith("2 findings: 1 fault(s), 0 note(s), 0 that could not be checked.")
