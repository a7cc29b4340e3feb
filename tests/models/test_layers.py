"""GlobalBatchNorm1d against torch's BatchNorm1d, and noise that belongs to a sample."""

import pytest
import torch
from torch import Tensor, nn

from tests.ddp import run_ranks
from vills import distributed
from vills.models.layers import DropPathNoise, GlobalBatchNorm1d, compute_keys

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


@pytest.mark.slow
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


KEYS = torch.arange(20_000)


def test_a_row_is_dropped_alike_in_any_batch() -> None:
    whole = DropPathNoise(KEYS, rate=0.5, depth=3).compute_scale(layer=2, branch=0)
    part = DropPathNoise(KEYS[100:107], rate=0.5, depth=3).compute_scale(layer=2, branch=0)
    assert whole is not None
    assert part is not None
    assert torch.equal(whole[100:107], part)


def test_rates_rise_linearly_and_keep_the_mean() -> None:
    noise = DropPathNoise(KEYS, rate=0.4, depth=3)
    assert noise.compute_scale(layer=0, branch=0) is None
    for layer, rate in ((1, 0.2), (2, 0.4)):
        scale = noise.compute_scale(layer=layer, branch=1)
        assert scale is not None
        assert abs((scale == 0).float().mean().item() - rate) < 0.02
        assert abs(scale.mean().item() - 1.0) < 0.03
        assert torch.equal(scale.unique(), torch.tensor([0.0, 1.0 / (1.0 - rate)]))


def test_layers_and_branches_are_independent() -> None:
    noise = DropPathNoise(KEYS, rate=0.5, depth=2)
    deep = DropPathNoise(KEYS, rate=0.5, depth=1)
    first, second = (noise.compute_scale(layer=1, branch=branch) for branch in (0, 1))
    other = deep.compute_scale(layer=0, branch=0)
    assert first is not None
    assert second is not None
    assert other is not None
    for a, b in ((first, second), (first, other)):
        assert abs(((a > 0) == (b > 0)).float().mean().item() - 0.5) < 0.02


def test_rate_zero_drops_nothing_and_rate_one_everything() -> None:
    assert DropPathNoise(KEYS, rate=0.0, depth=2).compute_scale(layer=1, branch=0) is None
    scale = DropPathNoise(KEYS, rate=1.0, depth=2).compute_scale(layer=1, branch=0)
    assert scale is not None
    assert not scale.any()


def test_mixed_keys_do_not_collide() -> None:
    views = compute_keys(KEYS[:, None], 3, torch.arange(5))
    assert views.unique().numel() == views.numel()
    assert not torch.equal(compute_keys(KEYS, 1), compute_keys(KEYS, 2))
    assert torch.equal(compute_keys(KEYS, 1), compute_keys(KEYS, 1))
