"""L^f and L^m against lightly's DINO and iBOT losses, and against plain loops of eq. 8 and 9."""

from dataclasses import dataclass

import pytest
import torch
from lightly.loss import DINOLoss, IBOTPatchLoss
from torch import Tensor

from tests.ddp import local_slice, run_ranks
from vills import distributed
from vills.losses.distillation import FeatureLoss, MaskedTokenLoss

K = 7
KEYS = ["image/coarse", "image/head", "frame/coarse", "video/coarse", "video/temporal"]
Views = dict[str, dict[str, "Logits"]]


@dataclass
class Logits:
    logits: Tensor
    weight: Tensor


def make_views(num_views: dict[str, int], *, seed: int, rows: int = 4) -> Views:
    generator = torch.Generator().manual_seed(seed)
    views: Views = {}
    for key, count in num_views.items():
        source, role = key.split("/")
        logits = torch.randn(count, rows, K, generator=generator)
        weight = (torch.rand(count, rows, generator=generator) > 0.3).float()
        weight[:2] = 1.0
        views.setdefault(source, {})[role] = Logits(logits, weight)
    return views


STUDENT_VIEWS = dict(zip(KEYS, [5, 3, 2, 5, 2], strict=True))
TEACHER_VIEWS = dict.fromkeys(KEYS, 2)


def loop_loss(student: Views, teacher: Views, *, teacher_temp: float) -> Tensor:
    """Eq. 8 over all pairs of different views; modalities averaged."""
    sums = {"image": torch.zeros(()), "video": torch.zeros(())}
    counts = {"image": 0.0, "video": 0.0}
    for source, roles in student.items():
        modality = "video" if source == "video" else "image"
        for role, views in roles.items():
            for i, teacher_view in enumerate(teacher[source][role].logits):
                for j, student_view in enumerate(views.logits):
                    for b in range(len(student_view)):
                        if i == j:
                            continue
                        target = (teacher_view[b] / teacher_temp).softmax(dim=0)
                        log = (student_view[b] / 0.1).log_softmax(dim=0)
                        weight = views.weight[j, b]
                        sums[modality] = sums[modality] - weight * (target * log).sum()
                        counts[modality] += float(weight)
    return (sums["image"] / counts["image"] + sums["video"] / counts["video"]) / 2


def require_grad(views: Views) -> list[Tensor]:
    return [v.logits.requires_grad_() for roles in views.values() for v in roles.values()]


def test_is_the_dino_loss_of_lightly_with_gradients_and_centers() -> None:
    student = make_views({"image/coarse": 6}, seed=0)
    student["image"]["coarse"].weight.fill_(1.0)
    oracle = DINOLoss(K, teacher_temp=0.04, student_temp=0.1, center_momentum=0.9)
    loss_fn = FeatureLoss(["image/coarse"], K, student_temperature=0.1)
    leaves = require_grad(student)
    for step in range(3):
        teacher = make_views({"image/coarse": 2}, seed=10 + step)
        loss = loss_fn(student, teacher, teacher_temperature=0.04)
        expected = oracle(list(teacher["image"]["coarse"].logits), list(leaves[0]))
        loss_fn.update_centers(teacher)
        torch.testing.assert_close(loss, expected)
        own, theirs = (torch.autograd.grad(x, leaves[0])[0] for x in (loss, expected))
        torch.testing.assert_close(own, theirs)
    torch.testing.assert_close(get_centers(loss_fn)[0], oracle.center[0, 0])


def test_is_the_plain_loop_of_eq_8_over_sources_roles_and_missing_views() -> None:
    student, teacher = make_views(STUDENT_VIEWS, seed=2), make_views(TEACHER_VIEWS, seed=3)
    leaves = require_grad(student)
    loss = FeatureLoss(KEYS, K)(student, teacher, teacher_temperature=0.07)
    expected = loop_loss(student, teacher, teacher_temp=0.07)
    torch.testing.assert_close(loss, expected)
    for own, theirs in zip(
        torch.autograd.grad(loss, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-6)


def test_a_view_of_weight_zero_gets_no_gradient_and_gives_none() -> None:
    student, teacher = make_views({"image/head": 3}, seed=4), make_views({"image/head": 2}, seed=5)
    views = student["image"]["head"]
    views.weight[2, 1] = 0.0
    views.logits[2, 1] = 1e4
    (leaf,) = require_grad(student)
    loss = FeatureLoss(["image/head"], K)(student, teacher, teacher_temperature=0.04)
    (grad,) = torch.autograd.grad(loss, leaf)
    assert loss < 1e3
    assert not grad[2, 1].any()
    assert grad[2, 0].any() == bool(views.weight[2, 0])


def test_is_fp32_under_autocast() -> None:
    student, teacher = make_views(STUDENT_VIEWS, seed=2), make_views(TEACHER_VIEWS, seed=3)
    expected = FeatureLoss(KEYS, K)(student, teacher, teacher_temperature=0.04)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = FeatureLoss(KEYS, K)(student, teacher, teacher_temperature=0.04)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected)


def slice_rows(views: Views, rows: slice) -> Views:
    return {
        source: {role: Logits(v.logits[:, rows], v.weight[:, rows]) for role, v in roles.items()}
        for source, roles in views.items()
    }


def run_loss(student: Views, teacher: Views, centering: str) -> tuple[Tensor, list[Tensor], Tensor]:
    rows = local_slice(4)
    student, teacher = slice_rows(student, rows), slice_rows(teacher, rows)
    for roles in student.values():
        for views in roles.values():
            views.logits = views.logits.clone()
    leaves = require_grad(student)
    loss_fn = FeatureLoss(KEYS, K, centering=centering)
    for _ in range(2):
        loss = loss_fn(student, teacher, teacher_temperature=0.05)
        loss_fn.update_centers(teacher)
    grads = torch.autograd.grad(loss / distributed.get_world_size(), leaves)
    return distributed.reduce_mean(loss), list(grads), loss.detach()


@pytest.mark.slow
@pytest.mark.parametrize("centering", ["ema", "sinkhorn"])
def test_two_processes_equal_one(centering: str) -> None:
    # Rank 1 misses nearly all LSE views: a mean of ranks' means would differ.
    student, teacher = make_views(STUDENT_VIEWS, seed=6), make_views(TEACHER_VIEWS, seed=7)
    student["image"]["coarse"].weight[2:, 2:] = 0.0
    loss, grads, _ = run_loss(student, teacher, centering)
    ranks = run_ranks(run_loss, 2, student, teacher, centering)
    for mean, _, _ in ranks:
        torch.testing.assert_close(mean, loss, rtol=1e-5, atol=1e-6)
    for whole, *parts in zip(grads, *(own for _, own, _ in ranks), strict=True):
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-5, atol=1e-6)


TOKEN_K = 5


@dataclass
class Tokens:
    logits: Tensor
    weight: Tensor


def make_mask(seed: int, *, rows: int = 4) -> Tensor:
    mask = torch.rand(rows, 3, 2, generator=torch.Generator().manual_seed(seed)) > 0.5
    mask[:, 0, 0] = True
    return mask


def make_tokens(mask: Tensor, seed: int) -> Tokens:
    logits = torch.randn(*mask.shape, TOKEN_K, generator=torch.Generator().manual_seed(seed))
    weight = 1.0 / mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return Tokens(logits[mask], weight.expand(mask.shape)[mask])


def test_is_the_ibot_patch_loss_of_lightly_with_gradients_and_centers() -> None:
    mask = make_mask(0)
    student = make_tokens(mask, 1)
    student.logits.requires_grad_()
    oracle = IBOTPatchLoss(TOKEN_K, teacher_temp=0.04, student_temp=0.1)
    loss_fn = MaskedTokenLoss(["image"], TOKEN_K, student_temperature=0.1)
    for step in range(3):
        teacher = make_tokens(mask, 2 + step)
        loss = loss_fn({"image": student}, {"image": teacher}, teacher_temperature=0.04)
        loss_fn.update_centers({"image": teacher})
        expected = oracle(teacher.logits, student.logits, mask)
        torch.testing.assert_close(loss, expected)
        own, theirs = (torch.autograd.grad(x, student.logits)[0] for x in (loss, expected))
        torch.testing.assert_close(own, theirs)
    torch.testing.assert_close(loss_fn.centering.centers, oracle.center.value)


def test_is_the_plain_loop_of_eq_9_with_images_and_frames_pooled() -> None:
    masks = {"image": make_mask(3), "frame": make_mask(4, rows=2), "video": make_mask(5, rows=3)}
    student = {name: make_tokens(mask, 6) for name, mask in masks.items()}
    teacher = {name: make_tokens(mask, 7) for name, mask in masks.items()}
    loss = MaskedTokenLoss(list(masks), TOKEN_K)(student, teacher, teacher_temperature=0.07)
    sums, counts = {"image": 0.0, "video": 0.0}, {"image": 0, "video": 0}
    for name, mask in masks.items():
        modality = "video" if name == "video" else "image"
        start = 0
        for b in range(len(mask)):
            stop = start + int(mask[b].sum())
            entropies = []
            for m in range(start, stop):
                target = (teacher[name].logits[m] / 0.07).softmax(dim=0)
                log = (student[name].logits[m] / 0.1).log_softmax(dim=0)
                entropies.append(-float((target * log).sum()))
            sums[modality] += sum(entropies) / len(entropies)
            counts[modality] += 1
            start = stop
    expected = (sums["image"] / counts["image"] + sums["video"] / counts["video"]) / 2
    torch.testing.assert_close(float(loss), expected, rtol=1e-5, atol=1e-6)


def test_no_masked_token_anywhere_costs_nothing() -> None:
    empty = Tokens(torch.zeros(0, TOKEN_K, requires_grad=True), torch.zeros(0))
    loss = MaskedTokenLoss(["image"], TOKEN_K)(
        {"image": empty}, {"image": empty}, teacher_temperature=0.1
    )
    loss.backward()
    assert loss.item() == 0.0


def get_centers(loss_fn: FeatureLoss | MaskedTokenLoss) -> Tensor:
    centers = loss_fn.centering.centers
    assert isinstance(centers, Tensor)
    return centers


def run_masked(student: Tokens, teacher: Tokens, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    rank = distributed.get_rank()
    student, teacher = (
        Tokens(t.logits.split(sizes)[rank].clone(), t.weight.split(sizes)[rank])
        for t in (student, teacher)
    )
    student.logits.requires_grad_()
    loss_fn = MaskedTokenLoss(["image"], TOKEN_K)
    loss_fn.update_centers({"image": teacher})
    loss = loss_fn({"image": student}, {"image": teacher}, teacher_temperature=0.05)
    (grad,) = torch.autograd.grad(loss / distributed.get_world_size(), student.logits)
    return distributed.reduce_mean(loss), grad, get_centers(loss_fn)


@pytest.mark.slow
def test_two_processes_equal_one_even_if_one_has_no_masked_token() -> None:
    mask = make_mask(8)
    student, teacher = make_tokens(mask, 9), make_tokens(mask, 10)
    total = len(student.logits)
    loss, grad, centers = run_masked(student, teacher, [total])
    for sizes in ([3, total - 3], [0, total]):
        ranks = run_ranks(run_masked, 2, student, teacher, sizes)
        for own_loss, _, own_centers in ranks:
            torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(own_centers, centers)
        torch.testing.assert_close(torch.cat([g for _, g, _ in ranks]), grad, rtol=1e-5, atol=1e-6)
