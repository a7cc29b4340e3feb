"""Which process of several this is, by whoever started it."""

import os
import socket

import pytest

from vills.config.checks import ConfigError
from vills.runner.work.ranks import FIRST_PORT, NUM_PORTS, Ranks, get_first_host, load_ranks

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "VILLS_LAUNCH")
SRUN = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name in NAMES or name.startswith(("SLURM", "TORCHELASTIC")):
            monkeypatch.delenv(name)


def put(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def join(monkeypatch: pytest.MonkeyPatch, ranks: Ranks) -> dict[str, str]:
    """What torch finds after `join`; undone at the end of the test."""
    for name in NAMES:
        # Known to monkeypatch, so that it is put back.
        monkeypatch.setenv(name, os.environ.get(name, "x"))
        if os.environ[name] == "x":
            del os.environ[name]
    ranks.join()
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_ranks() == Ranks(0, 1, 0, "")
    assert join(monkeypatch, load_ranks()) == {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@pytest.mark.parametrize(
    "values",
    [
        {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # the batch script
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
        {"RANK": "0", "WORLD_SIZE": "1"},
    ],
)
def test_one_task_is_alone(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    put(monkeypatch, values)
    assert load_ranks() == Ranks()


def test_srun(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, SRUN)
    assert load_ranks() == Ranks(3, 4, 1, "17-0-0")
    put(monkeypatch, {"SLURM_RESTART_COUNT": "2"})
    assert load_ranks().token == "17-0-2"
    assert not load_ranks().is_leader


def test_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
    put(monkeypatch, {"TORCHELASTIC_RUN_ID": "abc", "TORCHELASTIC_RESTART_COUNT": "1"})
    assert load_ranks() == Ranks(1, 2, 1, "abc-1")
    put(monkeypatch, {"TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "h", "MASTER_PORT": "9"})
    assert load_ranks().token == f"h-9-{os.getppid()}-1"
    put(monkeypatch, {"VILLS_LAUNCH": "ours"})
    assert load_ranks().token == "ours"


def test_torchrun_inside_a_job_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {**SRUN, "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert (load_ranks().rank, load_ranks().world_size) == (5, 8)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({**SRUN, "SLURM_PROCID": "4"}, "SLURM_PROCID = 4"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK = 2"),
        ({"RANK": "5"}, "RANK = 5"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK = '-1"),
    ],
)
def test_contradictions_are_refused(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    put(monkeypatch, values)
    with pytest.raises(ConfigError, match=rf"{said}.* is not allowed. Allowed: .*What to do"):
        load_ranks()


def test_ranks_of_a_job_agree_on_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {**SRUN, "SLURM_JOB_NODELIST": "no-such-host-[1-2].invalid"})
    put(monkeypatch, {"SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7"})
    met = join(monkeypatch, load_ranks())
    assert met["MASTER_ADDR"] == "10.0.0.7"
    assert FIRST_PORT <= int(met["MASTER_PORT"]) < FIRST_PORT + NUM_PORTS
    put(monkeypatch, {"SLURM_JOB_NODELIST": socket.gethostname()})
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: [])
    assert join(monkeypatch, Ranks(0, 4, 0, "17-0-0"))["MASTER_ADDR"] == "10.0.0.7", "user's own"
    del os.environ["MASTER_ADDR"]
    assert join(monkeypatch, Ranks(0, 4, 0, "17-0-0"))["MASTER_ADDR"] == socket.gethostname()


def test_neighbouring_jobs_steps_and_restarts_have_ports_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ports = set()
    for job in range(100, 120):
        for step in range(3):
            for restart in range(3):
                ranks = Ranks(0, 2, 0, f"{job}-{step}-{restart}")
                ports.add(join(monkeypatch, ranks)["MASTER_PORT"])
                del os.environ["MASTER_PORT"]
    assert len(ports) == 20 * 3 * 3


def test_the_users_own_meeting_place_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, {**SRUN, "MASTER_ADDR": "mine", "MASTER_PORT": "1234"})
    met = join(monkeypatch, load_ranks())
    assert (met["MASTER_ADDR"], met["MASTER_PORT"], met["RANK"]) == ("mine", "1234", "3")


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("", ""),
        ("n[1-2]", "n1"),
        ("a-7", "a-7"),
        ("x,y", "x"),
        ("r[03-4]-ib,s", "r03-ib"),
        ("r[0,2-3]n[04-7],s", "r0n04"),
    ],
)
def test_first_host_of_a_job(nodes: str, first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_first_host() == ""
    monkeypatch.setenv("SLURM_JOB_NODELIST", nodes)
    assert get_first_host() == first
