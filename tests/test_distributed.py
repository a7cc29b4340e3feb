"""vills.distributed: values and gradients of two processes against one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.ddp import run_ranks
from vills import distributed

ROWS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def compute_loss(x: Tensor) -> Tensor:
    """A loss of the global batch that uses every collective with gradient."""
    gathered = distributed.all_gather(x)
    center = distributed.all_reduce_sum(x.sum(dim=0)) / len(gathered)
    own = ((x - center).square() @ gathered.square().T).sum(dim=1).sin()
    weight = (x[:, 0] > 0).float()
    return distributed.global_mean((own * weight).sum(), weight.sum())


def run_loss(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x = rows[distributed.local_slice(len(rows))].clone().requires_grad_()
    loss = compute_loss(x)
    (grad,) = torch.autograd.grad(loss, x)
    # Data parallelism averages over ranks the gradients that parameters get through their rows.
    return distributed.reduce_mean(loss), grad / distributed.get_world_size(), x.detach()


def run_small_helpers() -> dict[str, Any]:
    rank = distributed.get_rank()
    return {
        "rank": rank,
        "main": distributed.is_main(),
        "broadcast": distributed.broadcast_object({"from": rank}),
        "gather": distributed.gather_objects(rank * 10),
        "empty": distributed.global_mean(torch.tensor(3.0), 0.0).item(),
    }


def test_two_processes_give_the_loss_and_gradients_of_one() -> None:
    one_loss, one_grad, _ = run_loss(ROWS)
    ranks = run_ranks(run_loss, 2, ROWS)
    for loss, _, _ in ranks:
        torch.testing.assert_close(loss, one_loss, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(torch.cat([x for _, _, x in ranks]), ROWS)
    torch.testing.assert_close(torch.cat([g for _, g, _ in ranks]), one_grad, rtol=1e-6, atol=1e-9)


def test_objects_reach_every_rank() -> None:
    first, second = run_ranks(run_small_helpers, 2)
    assert (first["main"], second["main"]) == (True, False)
    assert first["broadcast"] == second["broadcast"] == {"from": 0}
    assert first["gather"] == second["gather"] == [0, 10]
    assert first["empty"] == second["empty"] == 0.0


def test_a_failing_rank_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)rank 1.*as it should"):
        run_ranks(fail_on_rank_one, 2)


def fail_on_rank_one() -> None:
    if distributed.get_rank() == 1:
        raise ValueError("as it should")
    distributed.barrier()


def test_a_batch_that_does_not_divide_is_refused() -> None:
    assert distributed.local_slice(5) == slice(0, 5)
    messages = run_ranks(slice_five, 2)
    assert all("global batch 5" in message for message in messages)


def slice_five() -> str:
    try:
        distributed.local_slice(5)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("visible", "local_rank", "wanted"),
    [
        (0, "3", "cpu"),
        (4, "3", "cuda:3"),
        (4, "", "cuda:0"),
        (1, "0", "cuda:0"),
        (1, "3", "cuda:0"),  # SLURM's --gpus-per-task: each process sees its own alone
    ],
)
def test_a_rank_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, visible: int, local_rank: str, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert str(distributed.get_device()) == wanted


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(distributed.DeviceError, match="LOCAL_RANK = 2 .*Allowed: 0 to 1.*What to"):
        distributed.get_device()


def test_the_group_sets_the_gpu_that_a_rank_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[object] = []
    group = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}
    for name, value in {**group, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(
        "vills.distributed.dist.init_process_group", lambda *a, **k: chosen.append(a)
    )
    monkeypatch.setattr("vills.distributed.dist.is_initialized", lambda: False)
    distributed.init_process_group()
    assert chosen == [torch.device("cuda", 0), ("nccl",)]
