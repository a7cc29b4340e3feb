"""A scheduler's signals to every process of a pre-training, loaders on: nothing is lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.processes import list_group, wait_until
from tests.train.conftest import load_pretrain_data
from tests.train.synthetic import build_config
from vills.interrupt import InterruptedRunError, open_interruption
from vills.runner.store.journal import Journal, load_journal
from vills.train.checkpoint import list_checkpoints
from vills.train.pretrain import run_pretrain

pytestmark = pytest.mark.slow

STEPS = 20


def train(root: Path, folder: Path, *, workers: int) -> None:
    """What a launcher does around a stage, here on real loaders."""
    torch.set_num_threads(1)
    with open_interruption():
        run_pretrain(
            build_config(max_steps=STEPS),
            data=load_pretrain_data(root, cache_mb=1.0),
            work=folder / "work",
            out=folder / "out",
            journal=Journal(folder / "journal.jsonl"),
            guard=lambda: None,
            progress=lambda text, done, total: print(f"step {done}", flush=True),
            workers=workers,
        )


def read(folder: Path) -> dict[str, Any]:
    out = folder / "out"
    files = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    content = load_journal(folder / "journal.jsonl")
    return {**files, "journal": [(r.step, r.metrics) for r in content.committed]}


@pytest.fixture(scope="module")
def undisturbed(curated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    train(curated, folder, workers=0)
    return folder


def start(root: Path, folder: Path, method: str) -> "subprocess.Popen[str]":
    """The same in a process with two loaders, all in a group of their own."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "VILLS_WORKER_START": method,
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [sys.executable, __file__, str(root), str(folder)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found.strip() == line:
            return
    raise AssertionError(f"it ended before {line!r}: {process.communicate()[1]}")


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        ("fork", (signal.SIGUSR2, signal.SIGTERM)),
        ("spawn", (signal.SIGUSR2, signal.SIGTERM)),
        ("fork", (signal.SIGTERM,)),
    ],
)
def test_signals_to_the_whole_group_cost_no_bit(
    curated: Path,
    undisturbed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    method: str,
    numbers: tuple[int, ...],
) -> None:
    process = start(curated, tmp_path, method)
    read_until(process, "step 4")
    assert len(list_group(process.pid)) >= 3  # the loaders are there
    for number in numbers:
        os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=240)
    wanted = "requeue" if signal.SIGUSR2 in numbers else "stop"
    assert (process.returncode, errors.splitlines()[-1:]) == (75, [wanted]), errors
    assert "worker" not in errors
    wait_until(lambda: not list_group(process.pid))
    step = int(list_checkpoints(tmp_path / "work" / "checkpoints")[0].stem.split("-")[1])
    assert 4 <= step < STEPS
    capsys.readouterr()
    train(curated, tmp_path, workers=2)
    assert capsys.readouterr().out.splitlines()[0] == f"step {step + 1}"
    assert read(tmp_path) == read(undisturbed)


def test_before_the_first_checkpoint_it_ends_too(curated: Path, tmp_path: Path) -> None:
    process = start(curated, tmp_path, "fork")
    wait_until(
        lambda: len(list_group(process.pid)) > 1, seconds=240
    )  # it measures the fresh networks
    os.killpg(process.pid, signal.SIGUSR2)
    _, errors = process.communicate(timeout=240)
    assert (process.returncode, errors.splitlines()[-1:]) == (75, ["requeue"]), errors
    assert "worker" not in errors
    (checkpoint,) = list_checkpoints(tmp_path / "work" / "checkpoints")
    assert checkpoint.name in ("step-00000000.pt", "step-00000001.pt")


if __name__ == "__main__":
    try:
        with open_interruption(ends_process=True):
            train(Path(sys.argv[1]), Path(sys.argv[2]), workers=2)
    except InterruptedRunError as error:
        print("requeue" if error.wants_requeue else "stop", file=sys.stderr)
        sys.exit(error.exit_status)
