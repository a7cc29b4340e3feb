"""The one forward: what it returns, which parts of a batch it depends on, and every gradient."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.ddp import local_slice, run_ranks
from tests.models.batches import (
    HEADS,
    IMAGES,
    TINY,
    VIDEOS,
    compute_terms,
    make_batch,
    slice_batch,
)
from vills import distributed
from vills.areas import AREAS
from vills.config.pretrain import PretrainConfig
from vills.models.encoder import AREA_ROLES
from vills.models.heads import convert_mask
from vills.models.network import TERMS, VillsNetwork, build_network

ROLES = ["coarse", *AREAS]


def build(*, areas: Sequence[str] = AREAS, model: Any = TINY, **changes: Any) -> VillsNetwork:
    torch.manual_seed(0)
    return VillsNetwork(model, heads=HEADS, areas=areas, **changes)


def test_shapes_of_the_output() -> None:
    network, batch = build(), make_batch()
    student, teacher = network(batch, role="student"), network(batch, role="teacher")
    assert {name: list(roles) for name, roles in student.features.items()} == {
        "image": ROLES,
        "frame": ROLES,
        "video": [*ROLES, "temporal"],
    }
    views = {"coarse": 2 + 3 * 2, "head": 2 + 2}
    for role, count in views.items():
        assert student.features["image"][role].logits.shape == (count, IMAGES, 40)
    assert student.features["video"]["coarse"].logits.shape == (2 + 3, VIDEOS, 40)
    assert student.features["video"]["head"].logits.shape == (2 + 1, VIDEOS, 40)
    assert student.features["video"]["temporal"].logits.shape == (2, VIDEOS, 40)
    for roles in teacher.features.values():
        assert all(views.logits.shape[0] == 2 for views in roles.values())
    for name, mask in (("image", batch.image_masks), ("frame", batch.frame_masks)):
        assert mask is not None
        assert student.masked[name].logits.shape == (int(mask.sum()), 24)
        assert teacher.masked[name].logits.shape == (int(mask.sum()), 24)
        masked_views = mask.any(dim=-1).sum().float()
        torch.testing.assert_close(student.masked[name].weight.sum(), masked_views)
    assert student.tokens["video"].shape == (2, VIDEOS, 8, 32)
    assert student.alignment is not None
    assert student.alignment.video.shape == (2, VIDEOS, 16)
    assert teacher.alignment is None


def test_keys_name_every_source_and_role() -> None:
    network = build()
    output = network(make_batch(), role="teacher")
    keys = [f"{source}/{role}" for source, roles in output.features.items() for role in roles]
    assert sorted(network.get_feature_keys()) == sorted(keys)
    assert network.get_masking_keys() == list(output.masked)
    assert build(modalities=["image"], terms=["feature", "masking"]).get_masking_keys() == ["image"]


@pytest.mark.parametrize(
    ("changes", "batch"),
    [
        ({}, {}),
        ({"literal": True}, {}),
        ({"drop_path": 0.5}, {}),
        ({"areas": []}, {"areas": 0}),
        ({"areas": ["upper_body"]}, {"areas": 1}),
        ({"model": replace(TINY, resampler=False)}, {}),
        ({"modalities": ["image"], "terms": TERMS[:3]}, {"video": False}),
        ({"terms": ["feature"]}, {}),
        ({"terms": ["masking", "alignment"]}, {}),
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(changes: dict[str, Any], batch: dict[str, Any]) -> None:
    network = build(**changes)
    rows = make_batch(**batch)
    with torch.no_grad():
        teacher = network(rows, role="teacher")
    terms = compute_terms(network, network(rows, role="student"), teacher)
    torch.stack(list(terms.values())).sum().backward()
    silent = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert silent == []
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_each_term_reaches_its_own_heads_only() -> None:
    network, batch = build(), make_batch()
    with torch.no_grad():
        teacher = network(batch, role="teacher")
    terms = compute_terms(network, network(batch, role="student"), teacher)
    heads = {
        "feature": network.feature_heads,
        "masking": network.masking_heads,
        "alignment": network.alignment_heads,
    }
    for name, term in terms.items():
        network.zero_grad()
        term.backward(retain_graph=True)
        reached = {
            other
            for other, head in heads.items()
            if head is not None and any(p.grad is not None for p in head.parameters())
        }
        assert reached == {name} - {"koleo"}
        assert network.backbone.encoder.vit.pos_embed.grad.abs().sum() > 0


def test_a_term_that_is_off_has_no_head_and_leaves_the_start_of_the_backbone_alone() -> None:
    full, bare = build(), build(terms=["koleo", "masking"])
    assert not bare.feature_heads
    assert bare.alignment_heads is None
    assert not bare(make_batch(), role="student").features
    for name, value in bare.backbone.state_dict().items():
        assert torch.equal(value, full.backbone.state_dict()[name])
    assert build(terms=["feature"]).backbone.encoder.mask_token is None


def test_one_encoder_pass_per_resolution() -> None:
    network = build()
    shapes: list[tuple[int, ...]] = []
    network.backbone.encoder.register_forward_pre_hook(
        lambda module, args: shapes.append(tuple(args[0].shape))
    )
    batch = make_batch()
    network(batch, role="student")
    assert batch.image_lse_weight is not None
    assert batch.clip_lse_weight is not None
    existing = int(batch.image_lse_weight.sum() + batch.clip_lse_weight.sum())
    assert sorted(shapes) == sorted(
        [(existing, 3, 32, 16), (2 * IMAGES, 3, 64, 32), (2 * VIDEOS * 4, 3, 32, 32)]
    )
    shapes.clear()
    network(batch, role="teacher")
    assert len(shapes) == 2


def test_masks_change_masked_samples_only_and_never_the_teacher() -> None:
    network = build().eval()  # batch norm would couple samples in training
    batch = make_batch()
    assert batch.image_masks is not None
    masks = batch.image_masks.clone()
    masks[:, 1:] = False
    masks[:, 0, 3] = True
    some = replace(batch, image_masks=masks)
    none = replace(batch, image_masks=torch.zeros_like(masks))
    changed, plain = (network(b, role="student").tokens["image"] for b in (some, none))
    assert torch.equal(changed[:, 1:], plain[:, 1:])
    assert not torch.allclose(changed[:, 0], plain[:, 0])
    teachers = [network(b, role="teacher").tokens["image"] for b in (some, none)]
    assert torch.equal(*teachers)


def test_missing_lse_views_are_ignored_and_present_ones_matter() -> None:
    network, batch = build(), make_batch()
    assert batch.image_lse is not None
    assert batch.clip_lse is not None
    assert batch.image_lse_weight is not None
    assert batch.clip_lse_weight is not None
    garbage = replace(
        batch,
        image_lse=torch.where(
            batch.image_lse_weight[..., None, None, None] > 0, batch.image_lse, float("nan")
        ),
        clip_lse=torch.where(
            batch.clip_lse_weight[..., None, None, None] > 0, batch.clip_lse, float("nan")
        ),
    )
    with torch.no_grad():
        teacher = network(batch, role="teacher")
    losses = [
        compute_terms(network, network(b, role="student"), teacher)["feature"]
        for b in (batch, garbage, replace(batch, image_lse=batch.image_lse + 1.0))
    ]
    torch.testing.assert_close(losses[0], losses[1])
    assert abs(losses[0] - losses[2]) > 1e-6
    fewer = batch.clip_lse_weight.clone()
    fewer[:, :, 0] = 0.0
    fewer[:, :, 1] = 1.0
    every = replace(batch, clip_lse_weight=torch.ones_like(fewer))
    keyed = replace(batch, clip_lse_weight=fewer)
    one, all_ = (network(b, role="student").features["video"]["head"] for b in (keyed, every))
    assert torch.equal(one.weight, all_.weight)
    assert not torch.allclose(one.logits[2], all_.logits[2])


def test_a_batch_without_any_lse_view_is_one_without_lse() -> None:
    network, batch = build(), make_batch()
    assert batch.image_lse_weight is not None
    assert batch.clip_lse_weight is not None
    none = replace(
        batch,
        image_lse_weight=torch.zeros_like(batch.image_lse_weight),
        clip_lse_weight=torch.zeros_like(batch.clip_lse_weight),
    )
    bare = replace(batch, image_lse=None, clip_lse=None)
    with torch.no_grad():
        teacher = network(batch, role="teacher")
    first, second = (
        compute_terms(network, network(b, role="student"), teacher) for b in (none, bare)
    )
    torch.testing.assert_close(first, second)


def test_area_views_reach_their_own_role_and_the_coarse_one() -> None:
    network = build().eval()
    batch = make_batch()
    assert batch.image_lse is not None
    assert batch.image_lse_weight is not None
    batch = replace(batch, image_lse_weight=torch.ones_like(batch.image_lse_weight))
    moved = batch.image_lse.clone()
    place = AREAS.index("head")
    moved[place] += 1.0
    before, after = (
        network(replace(batch, image_lse=lse), role="student").features["image"]
        for lse in (batch.image_lse, moved)
    )
    changed = {}
    for role, views in after.items():
        pairs = zip(views.logits, before[role].logits, strict=True)
        changed[role] = [s for s, (a, b) in enumerate(pairs) if not torch.equal(a, b)]
    assert changed == {
        "coarse": [2 + 2 * place, 3 + 2 * place],
        "upper_body": [],
        "lower_body": [],
        "head": [2, 3],
    }
    assert AREA_ROLES["head"] == 1 + place


def test_the_literal_reading_masks_after_the_resampler_and_matches_all_tokens() -> None:
    network, batch = build(literal=True), make_batch()
    assert network.backbone.encoder.mask_token is None
    student = network(batch, role="student")
    assert len(student.features["image"]) == len(student.features["video"]) == 8
    assert student.features["image"]["free_7"].logits.shape == (2 + 6, IMAGES, 40)
    assert set(student.masked) == {"image", "frame", "video"}
    assert batch.frame_masks is not None
    views = batch.frame_masks.any(dim=-1)
    latents = convert_mask(batch.frame_masks, 8)[views]
    assert len(student.masked["video"].logits) == 8 * int(views.sum())
    # Nothing after R mixes tokens: all hidden ones are the mask token, and look alike.
    rows = student.masked["video"].logits[latents.flatten()]
    torch.testing.assert_close(rows, rows[:1].expand_as(rows))


def test_drop_path_is_the_students_in_training_only() -> None:
    still, noisy = build(), build(drop_path=0.9)
    batch = make_batch()
    outputs = [n(batch, role="teacher").tokens["video"] for n in (still, noisy)]
    torch.testing.assert_close(*outputs)
    assert not torch.allclose(*(n(batch, role="student").tokens["video"] for n in (still, noisy)))
    other = replace(batch, video_keys=torch.arange(VIDEOS) + 7000)
    first, again, moved = (noisy(b, role="student").tokens["video"] for b in (batch, batch, other))
    assert torch.equal(first, again)
    assert not torch.allclose(first, moved)


def test_build_honours_the_parameters() -> None:
    config = PretrainConfig(model=TINY, heads=HEADS, areas=["upper_body"], masking_weight=0.0)
    network = build_network(config)
    assert network.backbone.areas == ("upper_body",)
    assert network.drop_path == config.drop_path
    assert not network.masking_heads
    assert network.alignment_heads is not None
    images = PretrainConfig(
        model=TINY, heads=HEADS, modalities="image", alignment_weight=0.0, reading="literal"
    )
    network = build_network(images)
    assert list(network.feature_heads) == ["image"]
    assert network.backbone.frame_embedding is None
    assert network.literal


def run_step(literal: bool) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """Terms, gradients averaged over ranks, and batch-norm buffers of one step."""
    batch = slice_batch(make_batch(), local_slice(IMAGES))
    network = build(drop_path=0.3, literal=literal)
    with torch.no_grad():
        teacher = network(batch, role="teacher")
    terms = compute_terms(network, network(batch, role="student"), teacher)
    torch.stack(list(terms.values())).sum().backward()
    grads = {
        name: distributed.reduce_mean(p.grad)
        for name, p in network.named_parameters()
        if p.grad is not None
    }
    means = {name: distributed.reduce_mean(term) for name, term in terms.items()}
    return means, grads, dict(network.named_buffers())


@pytest.mark.slow
@pytest.mark.parametrize("literal", [False, True])
def test_two_processes_equal_one(literal: bool) -> None:
    terms, grads, buffers = run_step(literal)
    for own_terms, own_grads, own_buffers in run_ranks(run_step, 2, literal):
        torch.testing.assert_close(own_terms, terms, rtol=1e-5, atol=1e-5)
        assert own_grads.keys() == grads.keys()
        for name, grad in grads.items():  # batch norm over four rows amplifies rounding
            assert (own_grads[name] - grad).norm() < 1e-4 * grad.norm(), name
        torch.testing.assert_close(own_buffers, buffers, rtol=1e-5, atol=1e-5)


def test_a_step_is_bit_identical_to_itself() -> None:
    first, second = run_step(literal=False), run_step(literal=False)
    for own, other in zip(first, second, strict=True):
        assert own.keys() == other.keys()
        assert all(torch.equal(own[name], other[name]) for name in own)


@pytest.mark.slow
def test_a_few_steps_teach_which_frame_belongs_to_which_video() -> None:
    network, batch = build(terms=["alignment"]), make_batch()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        output = network(batch, role="student")
        loss = compute_terms(network, output, output)["alignment"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
