"""Which parameter decays, freezes, and learns how fast."""

from typing import Any

import pytest
from torch import nn

from vills.train.param_groups import (
    build_finetune_groups,
    build_param_groups,
    compute_depth,
    set_schedule,
)


def test_matrices_decay_and_vectors_tokens_and_prototypes_stand_apart() -> None:
    module = nn.Module()
    module.linear = nn.Linear(3, 2)
    module.queries = nn.Parameter(nn.init.zeros_(nn.Linear(4, 2).weight.detach().clone()))
    module.prototypes = nn.ModuleDict({"coarse": nn.Linear(2, 5, bias=False)})
    groups = {g["name"]: g["params"] for g in build_param_groups(module.named_parameters())}
    assert [p.shape for p in groups["decay"]] == [(2, 3)]
    assert {tuple(p.shape) for p in groups["no_decay"]} == {(2,), (2, 4)}
    assert [p.shape for p in groups["prototypes"]] == [(5, 2)]


def test_frozen_parameters_are_left_out_and_empty_groups_too() -> None:
    module = nn.Linear(3, 2, bias=False)
    assert [g["name"] for g in build_param_groups(module.named_parameters())] == ["decay"]
    module.weight.requires_grad_(False)
    assert build_param_groups(module.named_parameters()) == []


def test_schedule_freezes_prototypes_by_their_rate_and_never_decays_vectors() -> None:
    groups: list[dict[str, Any]] = [{"name": name} for name in ("decay", "no_decay", "prototypes")]
    set_schedule(groups, lr=0.1, prototype_lr=0.0, weight_decay=0.3)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(0.1, 0.3), (0.1, 0.0), (0.0, 0.3)]


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("backbone.encoder.vit.patch_embed.proj.weight", 0),
        ("backbone.encoder.vit.cls_token", 0),
        ("backbone.encoder.vit.pos_embed", 0),
        ("backbone.encoder.vit.blocks.0.attn.qkv.weight", 1),
        ("backbone.encoder.vit.blocks.3.mlp.fc1.bias", 4),
        ("backbone.encoder.vit.norm.weight", 5),
        ("backbone.resampler.queries", 5),
        ("backbone.resampler.layers.0.query.weight", 5),
        ("classifier.weight", 5),
    ],
)
def test_depth_counts_layers_from_the_input(name: str, depth: int) -> None:
    assert compute_depth(name, num_blocks=4) == depth


def test_layer_decay_shrinks_the_rate_towards_the_input() -> None:
    module = nn.Module()
    module.blocks = nn.ModuleList([nn.Linear(2, 2) for _ in range(2)])
    module.classifier = nn.Linear(2, 3)
    groups = build_finetune_groups(module, num_blocks=2, layer_decay=0.5, weight_decay=0.1)
    table = {(g["lr_scale"], g["weight_decay"]): len(g["params"]) for g in groups}
    assert table == {
        (0.25, 0.1): 1,
        (0.25, 0.0): 1,
        (0.5, 0.1): 1,
        (0.5, 0.0): 1,
        (1.0, 0.1): 1,
        (1.0, 0.0): 1,
    }
