"""L^m against lightly's iBOT patch loss and against a plain loop of eq. 9."""

from dataclasses import dataclass

import torch
from lightly.loss import IBOTPatchLoss
from torch import Tensor

from tests.ddp import run_ranks
from vills import distributed
from vills.losses.masked import MaskedTokenLoss

K = 5


@dataclass
class Tokens:
    logits: Tensor
    weight: Tensor


def make_mask(seed: int, *, rows: int = 4) -> Tensor:
    mask = torch.rand(rows, 3, 2, generator=torch.Generator().manual_seed(seed)) > 0.5
    mask[:, 0, 0] = True
    return mask


def make_tokens(mask: Tensor, seed: int) -> Tokens:
    logits = torch.randn(*mask.shape, K, generator=torch.Generator().manual_seed(seed))
    weight = 1.0 / mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    return Tokens(logits[mask], weight.expand(mask.shape)[mask])


def test_is_the_ibot_patch_loss_of_lightly_with_gradients_and_centers() -> None:
    mask = make_mask(0)
    student = make_tokens(mask, 1)
    student.logits.requires_grad_()
    oracle = IBOTPatchLoss(K, teacher_temp=0.04, student_temp=0.1)
    loss_fn = MaskedTokenLoss(["image"], K, student_temperature=0.1)
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
    loss = MaskedTokenLoss(list(masks), K)(student, teacher, teacher_temperature=0.07)
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
    empty = Tokens(torch.zeros(0, K, requires_grad=True), torch.zeros(0))
    loss = MaskedTokenLoss(["image"], K)(
        {"image": empty}, {"image": empty}, teacher_temperature=0.1
    )
    loss.backward()
    assert loss.item() == 0.0


def run_loss(student: Tokens, teacher: Tokens, sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    rank = distributed.get_rank()
    student, teacher = (
        Tokens(t.logits.split(sizes)[rank].clone(), t.weight.split(sizes)[rank])
        for t in (student, teacher)
    )
    student.logits.requires_grad_()
    loss_fn = MaskedTokenLoss(["image"], K)
    loss_fn.update_centers({"image": teacher})
    loss = loss_fn({"image": student}, {"image": teacher}, teacher_temperature=0.05)
    (grad,) = torch.autograd.grad(loss / distributed.get_world_size(), student.logits)
    return distributed.reduce_mean(loss), grad, loss_fn.centering.centers


def test_two_processes_equal_one_even_if_one_has_no_masked_token() -> None:
    mask = make_mask(8)
    student, teacher = make_tokens(mask, 9), make_tokens(mask, 10)
    total = len(student.logits)
    loss, grad, centers = run_loss(student, teacher, [total])
    for sizes in ([3, total - 3], [0, total]):
        ranks = run_ranks(run_loss, 2, student, teacher, sizes)
        for own_loss, _, own_centers in ranks:
            torch.testing.assert_close(own_loss, loss, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(own_centers, centers)
        torch.testing.assert_close(torch.cat([g for _, g, _ in ranks]), grad, rtol=1e-5, atol=1e-6)
