"""Optimizer groups: what decays, what is frozen at first, and rates by depth in fine-tuning."""

import re
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

NO_DECAY_NAMES = re.compile(
    r"(^|\.)(cls_token|reg_token|mask_token|pos_embed|queries|frame_embedding\.table)$"
)
"""Tokens and tables: learned inputs, not maps, so shrinking them has no regularising sense."""
PROTOTYPE_NAMES = re.compile(r"(^|\.)prototypes\.")
EMBEDDING_NAMES = re.compile(r"(^|\.)(patch_embed\..*|cls_token|reg_token|mask_token|pos_embed)$")
BLOCK_NAMES = re.compile(r"(^|\.)blocks\.(\d+)\.")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices do, 1-D parameters, tokens and tables do not."""
    return parameter.ndim > 1 and NO_DECAY_NAMES.search(name) is None


def build_param_groups(named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Group the trainable parameters: `decay`, `no_decay` and `prototypes`, without empty ones.

    Prototypes stand alone since under ZeRO `p.grad = None` cannot freeze them, a rate of 0 can.
    """
    groups: dict[str, list[nn.Parameter]] = {"decay": [], "no_decay": [], "prototypes": []}
    for name, parameter in named:
        if not parameter.requires_grad:
            continue
        if PROTOTYPE_NAMES.search(name):
            groups["prototypes"].append(parameter)
        else:
            groups["decay" if is_decayed(name, parameter) else "no_decay"].append(parameter)
    return [{"params": params, "name": name} for name, params in groups.items() if params]


def set_schedule(
    groups: Iterable[dict[str, Any]], *, lr: float, prototype_lr: float, weight_decay: float
) -> None:
    """Write this step's rate and decay into the groups of `build_param_groups`."""
    for group in groups:
        group["lr"] = prototype_lr if group["name"] == "prototypes" else lr
        group["weight_decay"] = 0.0 if group["name"] == "no_decay" else weight_decay


def compute_depth(name: str, *, num_blocks: int) -> int:
    """Layer number from the input: 0 for embeddings, 1 + i for block i, num_blocks + 1 above it.

    The resampler, its queries and frame embeddings count as above the encoder.
    """
    block = BLOCK_NAMES.search(name)
    if block is not None:
        return 1 + int(block.group(2))
    return 0 if EMBEDDING_NAMES.search(name) else num_blocks + 1


def build_finetune_groups(
    module: nn.Module,
    *,
    num_blocks: int,
    layer_decay: float,
    weight_decay: float,
    bias_lr_factor: float = 1.0,
) -> list[dict[str, Any]]:
    """One group per rate and decay; `lr_scale` = layer_decay ** (layers above it), biases apart.

    Args:
        module: the model; parameters without gradient are left out.
        num_blocks: transformer blocks of the encoder.
        layer_decay: factor from a layer to the one below it; 1 = the same rate everywhere.
        weight_decay: on matrices only.
        bias_lr_factor: rate of biases over that of the other parameters of their layer.
    """
    groups: dict[tuple[int, bool, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = compute_depth(name, num_blocks=num_blocks)
        decayed = is_decayed(name, parameter)
        is_bias = bias_lr_factor != 1.0 and name.rsplit(".", 1)[-1] == "bias"
        group = groups.setdefault(
            (depth, decayed, is_bias),
            {
                "params": [],
                "lr_scale": layer_decay ** (num_blocks + 1 - depth)
                * (bias_lr_factor if is_bias else 1.0),
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]
