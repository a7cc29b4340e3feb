"""L^r against lightly's KoLeo loss and against a plain loop of eq. 10."""

import pytest
import torch
from lightly.loss import KoLeoLoss as LightlyKoLeo
from torch import Tensor

from tests.ddp import local_slice, run_ranks
from vills import distributed
from vills.losses.koleo import KoLeoLoss

TOKENS = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0))


def loop_koleo(rows: Tensor, group: int) -> Tensor:
    """Minus the mean log distance to the nearest other row of one's group."""
    rows = rows / rows.norm(dim=-1, keepdim=True)
    logs = []
    for i in range(len(rows)):
        others = [j for j in range(len(rows)) if j != i and (not group or i // group == j // group)]
        if others:
            logs.append(torch.stack([(rows[i] - rows[j]).norm() for j in others]).min().log())
    return -torch.stack(logs).mean()


def test_is_the_koleo_loss_of_lightly_with_gradients() -> None:
    x = TOKENS.clone().requires_grad_()
    loss = KoLeoLoss(eps=1e-8)([x])
    oracle = LightlyKoLeo(eps=1e-8)
    expected = (oracle(x[0]) + oracle(x[1])) / 2
    torch.testing.assert_close(loss, expected)
    own, theirs = (torch.autograd.grad(y, x)[0] for y in (loss, expected))
    torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize("group", [0, 4, 3])
def test_is_the_plain_loop_of_eq_10_within_groups(group: int) -> None:
    x = TOKENS.clone().requires_grad_()
    loss = KoLeoLoss(group=group, eps=1e-8)([x[:1], x[1:]])
    expected = (loop_koleo(x[0], group) + loop_koleo(x[1], group)) / 2
    torch.testing.assert_close(loss, expected)
    own, theirs = (torch.autograd.grad(y, x)[0] for y in (loss, expected))
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


def test_a_row_alone_in_its_group_does_not_count() -> None:
    lone = KoLeoLoss(group=7, eps=1e-8)([TOKENS[:1]])
    without = KoLeoLoss(group=7, eps=1e-8)([TOKENS[:1, :7]])
    torch.testing.assert_close(lone, without)


@pytest.mark.parametrize("group", [0, 2, 3])
def test_a_group_holds_whole_samples_with_all_their_tokens(group: int) -> None:
    x = TOKENS.reshape(1, 4, 4, 5)  # 4 samples of 4 tokens
    loss = KoLeoLoss(group=group, eps=1e-8)([x])
    torch.testing.assert_close(loss, loop_koleo(x[0].flatten(0, 1), 4 * group))


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-6, 1e-4, 1e-2])
def test_duplicates_give_finite_losses_and_bounded_gradients(gap: float) -> None:
    x = TOKENS[:1].clone()
    x[0, 1] = x[0, 0] + gap
    x.requires_grad_()
    loss = KoLeoLoss(eps=1e-4)([x])
    (grad,) = torch.autograd.grad(loss, x)
    assert loss.isfinite()
    assert grad.abs().max() < 1e4


def test_is_fp32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = KoLeoLoss()([TOKENS])
    torch.testing.assert_close(loss, KoLeoLoss()([TOKENS]))


def test_spreads_tokens() -> None:
    x = (TOKENS[:1] * 0.01 + 1.0).requires_grad_()
    loss_fn = KoLeoLoss()
    before = loss_fn([x])
    for _ in range(200):
        (grad,) = torch.autograd.grad(loss_fn([x]), x)
        x = (x - 0.01 * grad).detach().requires_grad_()
    assert loss_fn([x]) < before - 1.0


def run_loss(tokens: Tensor, group: int) -> tuple[Tensor, Tensor]:
    x = tokens[:, local_slice(tokens.shape[1])].clone().requires_grad_()
    loss = KoLeoLoss(group=group)([x])
    (grad,) = torch.autograd.grad(loss / distributed.get_world_size(), x)
    return distributed.reduce_mean(loss), grad


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [TOKENS, TOKENS.reshape(2, 4, 2, 5)], ids=["one", "many"])
@pytest.mark.parametrize("group", [0, 3])
def test_two_processes_equal_one(group: int, tokens: Tensor) -> None:
    loss, grad = run_loss(tokens, group)
    ranks = run_ranks(run_loss, 2, tokens, group)
    for own_loss, _ in ranks:
        torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([g for _, g in ranks], dim=1), grad, rtol=1e-5, atol=1e-6)
