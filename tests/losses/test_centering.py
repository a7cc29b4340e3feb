"""Targets that do not collapse: centers against lightly's, Sinkhorn against plain loops."""

import pytest
import torch
from lightly.models.modules.center import Center
from torch import Tensor

from tests.ddp import run_ranks
from vills import distributed
from vills.losses.centering import Centering, Sinkhorn, build_centering

LOGITS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def sinkhorn_loop(logits: Tensor, temperature: float, rounds: int = 3) -> Tensor:
    """SwAV, algorithm 1: divide by sums over samples, then by sums over prototypes, in turn."""
    scores = (logits.double() / temperature).exp()
    num_samples, num_prototypes = scores.shape
    scores = scores / scores.sum()
    for _ in range(rounds):
        for k in range(num_prototypes):
            scores[:, k] = scores[:, k] / scores[:, k].sum() / num_prototypes
        for b in range(num_samples):
            scores[b] = scores[b] / scores[b].sum() / num_samples
    return scores * num_samples


def test_centers_are_those_of_lightly_and_per_key() -> None:
    centering = Centering(["image/coarse", "video/coarse"], 6, momentum=0.9)
    oracle = Center(size=(1, 6), momentum=0.9)
    for step in range(3):
        centering.update(LOGITS.reshape(2, 4, 6) + step, key="image/coarse")
        oracle.update(LOGITS + step)
    torch.testing.assert_close(centering.centers[:1], oracle.value)
    assert not centering.centers[1].any()
    targets = centering.compute_targets(LOGITS, key="image/coarse", temperature=0.05)
    torch.testing.assert_close(targets, ((LOGITS - oracle.value) / 0.05).softmax(dim=-1))


def test_a_key_without_rows_keeps_its_center() -> None:
    centering = Centering(["image"], 6)
    centering.update(LOGITS, key="image")
    before = centering.centers.clone()
    centering.update(LOGITS[:0], key="image")
    assert torch.equal(centering.centers, before)


def test_centers_are_saved_with_the_loss() -> None:
    assert "centers" in build_centering("ema", ["image"], 6, momentum=0.9).state_dict()
    assert not build_centering("sinkhorn", ["image"], 6, momentum=0.9).state_dict()


def test_sinkhorn_is_the_plain_loop() -> None:
    targets = Sinkhorn().compute_targets(LOGITS, key="any", temperature=0.07)
    torch.testing.assert_close(targets, sinkhorn_loop(LOGITS, 0.07).float())


def test_sinkhorn_balances_prototypes() -> None:
    skewed = LOGITS + torch.tensor([5.0, 0, 0, 0, 0, 0])
    targets = Sinkhorn(50).compute_targets(skewed, key="any", temperature=1.0)
    torch.testing.assert_close(targets.sum(dim=0), torch.full((6,), 8 / 6), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))


@pytest.mark.parametrize("temperature", [1e-3, 0.04, 10.0])
def test_sinkhorn_stays_finite_at_any_temperature(temperature: float) -> None:
    targets = Sinkhorn().compute_targets(LOGITS, key="any", temperature=temperature)
    assert targets.isfinite().all()
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(8))


def run_rows(logits: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    own = logits.split(sizes)[distributed.get_rank()]
    centering = Centering(["image"], logits.shape[-1])
    centering.update(own, key="image")
    return centering.centers, Sinkhorn().compute_targets(own, key="image", temperature=0.07)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[4, 4], [7, 1], [0, 8]])
def test_two_processes_with_any_split_of_rows_equal_one(sizes: list[int]) -> None:
    centers, targets = run_rows(LOGITS, [8])
    ranks = run_ranks(run_rows, 2, LOGITS, sizes)
    for own_centers, _ in ranks:
        torch.testing.assert_close(own_centers, centers)
    torch.testing.assert_close(torch.cat([own for _, own in ranks]), targets)
