"""Losses of fine-tuning against torch and plain loops."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.ddp import local_slice, run_ranks
from vills import distributed
from vills.losses.reid import IdentityLoss, TripletLoss

_GENERATOR = torch.Generator().manual_seed(0)
FEATURES = torch.randn(8, 5, generator=_GENERATOR)
LOGITS = torch.randn(8, 4, generator=_GENERATOR)
PIDS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def loop_triplet(features: Tensor, pids: Tensor, margin: float, scale: float = 0.0) -> Tensor:
    terms = []
    if scale:
        features = torch.stack([scale * row / row.pow(2).sum().sqrt() for row in features])
    for a in range(len(features)):
        positives = [b for b in range(len(pids)) if pids[b] == pids[a] and b != a]
        negatives = [b for b in range(len(pids)) if pids[b] != pids[a]]
        if not positives or not negatives:
            continue
        far = torch.stack([(features[a] - features[b]).norm() for b in positives]).max()
        near = torch.stack([(features[a] - features[b]).norm() for b in negatives]).min()
        gap = far - near
        terms.append((1 + gap.exp()).log() if margin == 0 else (gap + margin).clamp(min=0))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("scale", [0.0, 1.0, 12.5])
@pytest.mark.parametrize("margin", [0.0, 0.3])
@pytest.mark.parametrize("pids", [PIDS, torch.tensor([0, 0, 0, 1, 1, 2, 2, 5])])
def test_triplet_is_the_plain_loop_with_gradients(
    pids: Tensor, margin: float, scale: float
) -> None:
    x = FEATURES.clone().requires_grad_()
    loss = TripletLoss(margin=margin, scale=scale)(x, pids)
    expected = loop_triplet(x, pids, margin, scale)
    torch.testing.assert_close(loss, expected)
    own, theirs = (torch.autograd.grad(y, x)[0] for y in (loss, expected))
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 10.0])
def test_triplet_of_duplicates_and_of_one_person_stays_finite(scale: float) -> None:
    for x in (FEATURES[:1].repeat(8, 1).requires_grad_(), torch.zeros(8, 5, requires_grad=True)):
        (grad,) = torch.autograd.grad(TripletLoss(scale=scale)(x, PIDS), x)
        assert grad.isfinite().all()
    assert TripletLoss()(FEATURES, torch.zeros(8, dtype=torch.long)).item() == 0.0


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identity_loss_is_the_smoothed_cross_entropy(smoothing: float) -> None:
    target = functional.one_hot(PIDS, 4) * (1 - smoothing) + smoothing / 4
    expected = -(target * LOGITS.log_softmax(dim=1)).sum(dim=1).mean()
    torch.testing.assert_close(IdentityLoss(label_smoothing=smoothing)(LOGITS, PIDS), expected)


def run_losses() -> tuple[Tensor, Tensor]:
    rows = local_slice(8)
    x = torch.cat([FEATURES, LOGITS], dim=1)[rows].requires_grad_()
    loss = TripletLoss()(x[:, :5], PIDS[rows]) + TripletLoss(scale=3.0)(x[:, :5], PIDS[rows])
    loss = loss + IdentityLoss()(x[:, 5:], PIDS[rows])
    (grad,) = torch.autograd.grad(loss / distributed.get_world_size(), x)
    return distributed.reduce_mean(loss), grad


def test_two_processes_equal_one() -> None:
    loss, grad = run_losses()
    ranks = run_ranks(run_losses, 2)
    for own_loss, _ in ranks:
        torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.cat([g for _, g in ranks]), grad, rtol=1e-5, atol=1e-6)
