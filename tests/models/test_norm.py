"""GlobalBatchNorm1d against torch's BatchNorm1d, on one process and on two."""

import pytest
import torch
from torch import Tensor, nn

from tests.ddp import run_ranks
from vills import distributed
from vills.models.norm import GlobalBatchNorm1d

_GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(8, 3, generator=_GENERATOR) * 2 + 30.0
WEIGHT = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0])


def build_pair() -> tuple[GlobalBatchNorm1d, nn.BatchNorm1d]:
    own, oracle = GlobalBatchNorm1d(3), nn.BatchNorm1d(3)
    for norm in (own, oracle):
        norm.weight.data = torch.tensor([0.5, 1.0, 2.0])
        norm.bias.data = torch.tensor([0.0, -1.0, 3.0])
    return own, oracle


def test_is_torchs_batch_norm_in_values_gradients_and_running_statistics() -> None:
    own, oracle = build_pair()
    for _ in range(3):
        x, y = ROWS.clone().requires_grad_(), ROWS.clone().requires_grad_()
        torch.testing.assert_close(own(x), oracle(y))
        own(x).sin().sum().backward()
        oracle(y).sin().sum().backward()
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.weight.grad, oracle.weight.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(own.bias.grad, oracle.bias.grad)
    torch.testing.assert_close(own.running_mean, oracle.running_mean)
    torch.testing.assert_close(own.running_var, oracle.running_var)
    torch.testing.assert_close(own.eval()(ROWS), oracle.eval()(ROWS))


def test_rows_of_weight_zero_enter_no_statistic() -> None:
    own, oracle = build_pair()
    polluted = torch.where(WEIGHT[:, None] > 0, ROWS, 1e6)
    torch.testing.assert_close(own(polluted, WEIGHT)[WEIGHT > 0], oracle(ROWS[WEIGHT > 0]))
    torch.testing.assert_close(own.running_var, oracle.running_var)


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_stay_finite_and_none_moves_nothing(rows: int) -> None:
    own, _ = build_pair()
    assert own(ROWS[:rows]).isfinite().all()
    assert own.running_var.isfinite().all()
    if rows == 0:
        assert not own.running_mean.any()


def test_is_fp32_under_autocast() -> None:
    own, _ = build_pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert own(ROWS).dtype == torch.float32


def run_norm(sizes: list[int], weighted: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rank = distributed.get_rank()
    x = ROWS.split(sizes)[rank].clone().requires_grad_()
    norm, _ = build_pair()
    out = norm(x, WEIGHT.split(sizes)[rank] if weighted else None)
    out.sin().sum().backward()
    assert x.grad is not None
    return out.detach(), x.grad, distributed.all_reduce_sum(norm.weight.grad), norm.running_var


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[4, 4], [7, 1], [0, 8]])
def test_two_processes_equal_one(sizes: list[int], weighted: bool) -> None:
    out, grad, weight_grad, var = run_norm([8], weighted)
    ranks = run_ranks(run_norm, 2, sizes, weighted)
    torch.testing.assert_close(torch.cat([r[0] for r in ranks]), out, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat([r[1] for r in ranks]), grad, rtol=1e-4, atol=1e-5)
    for rank in ranks:
        torch.testing.assert_close(rank[2], weight_grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(rank[3], var)
