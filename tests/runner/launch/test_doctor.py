"""What the doctor says to recorded answers of a real SLURM, and to odd or missing ones."""

import json
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from vills.cli import main
from vills.config.load import load_profile
from vills.runner.clusters.resources import Resources
from vills.runner.clusters.scheduler import Answer, parse_config, run_command
from vills.runner.doctor import (
    Finding,
    Level,
    format_findings,
    machine,
    project,
    run_check,
    scheduler,
)
from vills.runner.doctor.examine import drop_answered, examine
from vills.runner.doctor.facts import (
    ClusterFacts,
    count_nodes,
    parse_minutes,
    parse_partitions,
    parse_tres,
)
from vills.runner.mlflow.settings import find_mount

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
    stage: str, resources: Resources, sinfo: str = SINFO, **answers: str
) -> ClusterFacts:
    return ClusterFacts(
        folder=Path(),
        runs=Path("runs"),
        mounts="",
        stages={stage: resources},
        partitions=parse_partitions(sinfo),
        answers={name: Answer(text=text) for name, text in answers.items()},
    )


def test_a_healthy_configuration_has_no_faults() -> None:
    config = parse_config(HEALTHY)
    found = levels(
        [
            *scheduler.check_accounting(config, Answer()),
            *scheduler.check_preemption(config),
            *scheduler.check_requeue(config),
            *scheduler.check_kill_wait(config),
            *scheduler.check_arrays(config, {"lambda_grid": 13}),
        ]
    )
    assert set(found.values()) == {"ok"}


def test_each_planted_fault_is_named() -> None:
    config = parse_config(SICK)
    sacct = Answer(reason="Slurm accounting storage is disabled")
    found = {
        **levels(scheduler.check_accounting(config, sacct)),
        **levels(scheduler.check_preemption(config)),
        **levels(scheduler.check_requeue(config)),
        **levels(scheduler.check_kill_wait(config)),
        **levels(scheduler.check_arrays(config, {"areas": 6, "lambda_grid": 13})),
    }
    assert found == {
        "accounting": "fault",
        "preempt_send_user_signal": "note",
        "JobRequeue": "note",
        "requeue delay": "ok",
        "KillWait": "note",
        "MaxArraySize": "note",
    }


def test_without_a_configuration_nothing_is_called_well() -> None:
    found = {
        **levels(scheduler.check_accounting({}, Answer(reason="no sacct", missing=True))),
        **levels(scheduler.check_preemption({})),
        **levels(scheduler.check_requeue({})),
        **levels(scheduler.check_kill_wait({})),
        **levels(scheduler.check_arrays({}, {})),
    }
    assert found.pop("accounting") == "fault"
    assert set(found.values()) == {"unknown"}


def test_preemption_that_cancels_or_never_happens() -> None:
    cancels = {"PreemptType": "preempt/qos", "PreemptMode": "CANCEL"}
    assert levels(scheduler.check_preemption(cancels))["preempt_send_user_signal"] == "fault"
    never = {"PreemptType": "preempt/none", "PreemptMode": "OFF"}
    assert levels(scheduler.check_preemption(never))["preempt_send_user_signal"] == "ok"


def test_arrays_that_are_switched_off() -> None:
    assert levels(scheduler.check_arrays({"MaxArraySize": "0"}, {}))["MaxArraySize"] == "fault"


def test_tools_that_are_missing_or_fail() -> None:
    fine = Answer(text="slurm 22.05.8\n")
    gone = Answer(reason="no scontrol on the PATH", missing=True)
    silent = Answer(reason="no answer in 4 s")
    answers = {"sbatch": fine, "squeue": silent, "sinfo": fine, "scontrol": gone}
    found = levels(scheduler.check_tools(answers))
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
        ("infinite", None),
        ("UNLIMITED", None),
        ("", None),
    ],
)
def test_times_are_read(text: str, minutes: float | None) -> None:
    assert parse_minutes(text) == minutes


def test_nodes_are_read() -> None:
    partitions = parse_partitions(
        SINFO + "big|big|infinite|a1|128+|1000000+|gpu:a100:4(S:0,1),lustre:1|down*|a100,ib\n"
        "big|big|infinite|a2|128|1000000|gpu:a100:3,gpu:h100:1|mix|a100\n"
    )
    assert count_nodes(partitions) == 4
    assert partitions["test"].is_default
    assert not partitions["prio"].is_default
    assert [node.gpus for node in partitions["big"].nodes] == [4, 4]
    assert [node.is_up for node in partitions["big"].nodes] == [False, True]
    assert partitions["big"].nodes[0].features == {"a100", "ib"}
    assert partitions["big"].minutes is None


def test_an_odd_answer_is_unknown_with_its_reason() -> None:
    def look() -> Iterable[Finding]:
        parse_partitions("PARTITION AVAIL\n")
        return []

    (finding,) = run_check("jobs", "partitions", look)
    assert finding.level == "unknown"
    assert "has 1 fields" in finding.found
    odd = run_check("scheduler", "x", lambda: scheduler.check_arrays({"MaxArraySize": "?"}, {}))
    assert odd[0].level == "unknown"
    assert parse_tres("mem=100G,gres/gpu=4,,nonsense") == {"gres/gpu": 4}


def fit(**fields: Any) -> dict[str, Level]:
    resources = Resources(**fields)
    return levels(scheduler.check_partition(make_facts("pretrain", resources), "pretrain"))


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
    down = make_facts("lse", Resources(), SINFO.replace("idle", "down*"))
    found = levels(scheduler.check_partition(down, "lse"))
    assert found["lse: nodes"] == "note"
    bare = make_facts("lse", Resources(), SINFO.replace("test*", "test"))
    assert levels(scheduler.check_partition(bare, "lse")) == {"lse: partition": "fault"}


def test_time_limits_against_checkpoints() -> None:
    def look(minutes: int, seconds: int, every: float | None) -> Level:
        resources = Resources(timeout_min=minutes, signal_seconds=seconds)
        facts = make_facts("pretrain", resources)
        if every is not None:
            facts.params = load_profile("tiny", [f"operation.checkpoint_minutes={every}"])
        return levels([scheduler.check_times(facts, "pretrain")])["pretrain: checkpoints"]

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
        return levels(scheduler.check_grace(facts, "lse"))

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
        facts.config = {"AccountingStorageEnforce": enforce}
        return levels(scheduler.check_account_limits(facts, "lse", 13))

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


def test_file_systems() -> None:
    assert find_mount(Path("/home/me/runs"), MOUNTS)[1] == "nfs4"
    assert find_mount(Path("/scratch one/x"), MOUNTS)[1] == "lustre"
    assert find_mount(Path("/homeless"), MOUNTS)[1] == "ext4"
    assert find_mount(Path("/x"), "")[1] == ""

    def look(path: str, nodes: int = 2) -> Level:
        found = project.check_shared("runs", Path(path), mounts=MOUNTS, num_nodes=nodes)
        return levels(found)["runs"]

    assert look("/opt") == "unknown"
    assert look("/opt", nodes=1) == "ok"
    assert look("/dev/shm") == "fault"


def test_sqlite_belongs_to_one_machine(tmp_path: Path) -> None:
    def look(kind: str, nodes: int) -> dict[str, Level]:
        mounts = f"x / {kind} rw 0 0\n"
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        return levels(project.check_database(uri, mounts=mounts, num_nodes=nodes))

    assert look("nfs4", 1) == {"MLflow database": "fault"}
    assert look("ext4", 2) == {"MLflow database": "note"}
    assert look("ext4", 1) == {"MLflow database": "ok"}
    assert list(project.check_database("http://host:5000", mounts="", num_nodes=2)) == []


def test_links_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "not" / "yet"
    assert levels(project.check_links(runs, mounts=MOUNTS)) == {"hard links": "ok"}
    assert list(tmp_path.iterdir()) == []
    store = "x / fuse.s3fs rw 0 0\n"
    assert levels(project.check_links(runs, mounts=store)) == {"hard links": "fault"}
    assert "fault" not in levels(project.check_room(runs)).values()
    monkeypatch.setattr(project, "MIN_GB", 1e9)
    assert levels(project.check_room(runs))["room of runs"] == "fault"


def test_dvc_on_a_network_file_system(tmp_path: Path) -> None:
    look = project.check_dvc
    nfs = "x / nfs4 rw 0 0\n"
    assert levels(look(tmp_path, tmp_path, mounts=nfs)) == {"DVC": "note"}
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc" / "config"
    config.write_text("[core]\n    analytics = false\n")
    found = levels(look(tmp_path, tmp_path, mounts=nfs))
    assert found == {"DVC cache": "ok", "DVC links": "note", "DVC lock": "note"}
    config.write_text("[core]\nhardlink_lock = true\n[cache]\ntype = reflink,hardlink\n")
    assert levels(look(tmp_path, tmp_path, mounts=nfs)) == {"DVC cache": "ok"}


def test_devices() -> None:
    def look(devices: int, driver: str, on_cluster: bool) -> dict[str, Level]:
        answer = Answer(text=TORCH % devices)
        return levels(machine.check_devices(answer, driver=driver, on_cluster=on_cluster))

    assert look(2, "580.1", True) == {"GPU of login node": "ok"}
    assert look(0, "", True) == {"GPU of login node": "note"}
    assert look(0, "", False) == {"GPU of machine": "note"}
    assert look(0, "580.1", False) == {"GPU of machine": "fault"}
    broken = Answer(reason="ImportError: libcudart")
    found = machine.check_devices(broken, driver="", on_cluster=False)
    assert levels(found) == {"GPU": "unknown"}


def test_memory_and_open_files() -> None:
    assert levels(machine.check_shared_memory(0.064, loaders=6)) == {"/dev/shm": "fault"}
    assert levels(machine.check_shared_memory(0.064, loaders=0)) == {"/dev/shm": "ok"}
    assert levels(machine.check_shared_memory(0.5, loaders=6)) == {"/dev/shm": "note"}
    assert set(levels(machine.check_open_files(1024)).values()) == {"note"}
    assert set(levels(machine.check_open_files(-1)).values()) == {"ok"}


def test_folders_that_the_parameters_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VILLS_DATA", raising=False)
    monkeypatch.delenv("VILLS_WEIGHTS", raising=False)
    tiny = levels(project.check_folders(load_profile("tiny")))
    assert tiny == {"VILLS_DATA": "ok", "VILLS_WEIGHTS": "ok"}
    paper = load_profile("paper_vits")
    assert project.list_weights(paper)
    found = levels(project.check_folders(paper))
    assert found == {"VILLS_DATA": "fault", "VILLS_WEIGHTS": "fault"}
    monkeypatch.setenv("VILLS_DATA", str(tmp_path))
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    found = levels(project.check_folders(paper))
    assert found == {"VILLS_DATA": "ok", "VILLS_WEIGHTS": "fault"}
    for name in project.list_weights(paper):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert levels(project.check_folders(paper))["VILLS_WEIGHTS"] == "ok"


class Tracker(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401 if self.path.startswith("/closed") else 200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def test_trackers_that_answer_refuse_or_are_not_there() -> None:
    with HTTPServer(("127.0.0.1", 0), Tracker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        assert levels(project.check_tracker(uri, num_nodes=1)) == {"tracker": "ok"}
        assert levels(project.check_tracker(uri, num_nodes=2)) == {"tracker": "note"}
        closed = project.check_tracker(f"{uri}/closed", num_nodes=1)
        assert levels(closed) == {"tracker": "note"}
        server.shutdown()
    assert levels(project.check_tracker(uri, num_nodes=1)) == {"tracker": "note"}
    assert levels(project.check_tracker(None, num_nodes=1)) == {"tracker": "note"}
    assert levels(project.check_tracker("sqlite:///x.db", num_nodes=1)) == {"tracker": "ok"}


NODE = {
    "host": "n1",
    "vills": "",
    "code": "/x",
    "python": "3.11",
    "token": "secret",
    "kind": "nfs4",
    "link": "",
    "lock": "held",
    "scontrol": "",
    "driver": "580.1",
    "shm_gb": 8.0,
    "torch": json.loads(TORCH % 1),
    "lost": [],
}


def probe_levels(*facts: dict[str, Any], num_nodes: int = 1) -> dict[str, Level]:
    text = "some prolog\n" + "".join(f"VILLS {json.dumps(entry)}\n" for entry in facts)
    return levels(
        machine.read_probe(
            Answer(text=text),
            secret="secret",
            resources=Resources(gpus_per_node=1, loaders=6),
            num_nodes=num_nodes,
            runs=Path("/runs"),
        )
    )


def test_what_nodes_say() -> None:
    import vills

    fine = {**NODE, "vills": vills.__version__}
    assert set(probe_levels(fine).values()) == {"ok"}
    assert probe_levels(fine, num_nodes=2)["probe"] == "unknown"
    assert probe_levels({"host": "n2", "no_folder": True}) == {"n2: runs": "fault"}
    assert probe_levels({"host": "n2", "no_python": True}) == {"n2: python": "fault"}
    assert probe_levels({"host": "n2", "no_import": True}) == {"n2: python": "fault"}
    assert probe_levels({**fine, "token": "another"}) == {"n1: runs": "fault"}
    assert probe_levels({**fine, "scontrol": "no scontrol on the PATH"})["n1: scontrol"] == "fault"
    assert probe_levels({**fine, "lock": "free"})["n1: flock"] == "note"
    assert probe_levels({**fine, "link": "not permitted"})["n1: hard links"] == "fault"
    assert probe_levels({**fine, "torch": json.loads(TORCH % 0)})["GPU of n1"] == "fault"
    assert probe_levels({**fine, "torch": {"reason": "no libcuda"}})["n1: torch"] == "fault"
    assert probe_levels({**fine, "lost": ["VILLS_DATA"]})["n1: VILLS_DATA"] == "fault"


def test_a_probe_that_does_not_run_is_unknown() -> None:
    (finding,) = machine.read_probe(
        Answer(reason="srun: Unable to allocate"),
        secret="",
        resources=Resources(),
        num_nodes=2,
        runs=Path("/x"),
    )
    assert finding.level == "unknown"


def test_nodes_that_have_looked_end_the_doubts() -> None:
    doubt = Finding("runs", "unknown", "local by its type", "probe", group="files")
    seen = Finding("n1: runs", "ok", "the same", group="nodes")
    assert drop_answered([doubt, seen]) == [seen]
    lost = Finding("n2: runs", "fault", "not there", "move it", group="nodes")
    assert drop_answered([doubt, seen, lost]) == [doubt, seen, lost]


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


def test_broken_files_are_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VILLS_TRACKING", "perhaps")
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "lse.yaml").write_text("nodse: 2\n")
    found = {finding.name: finding for finding in examine(tmp_path, probe=True)}
    assert found["lse: file"].level == "fault"
    assert found["tracker"].level == "fault"
    assert found["probe"].level == "note"


def test_the_table_names_finding_and_remedy() -> None:
    findings = [
        Finding("JobRequeue", "ok", "1", group="scheduler"),
        Finding("lse: nodes", "fault", "too many", "ask for fewer", group="jobs"),
    ]
    text = format_findings(findings)
    assert "FAULT lse: nodes" in text
    assert "-> ask for fewer" in text
    assert text.endswith("2 looked at: 1 fault(s), 0 note(s), 0 that could not be seen.")
