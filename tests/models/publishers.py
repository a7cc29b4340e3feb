"""Small random checkpoints in every published layout, and the publishers' forward in plain steps.

Written from the publishers' code, with none of ours: names, wrappers and heads as they save them.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WIDTH, DEPTH, HEADS = 32, 3, 2
State = dict[str, Tensor]
Grid = tuple[int, int]


def build_vit(
    grid: Grid, *, slots: int = 1, patch: int = 16, seed: int = 0, scale: bool = False
) -> State:
    """Tensors that all layouts share, none zero or one: a part that is ignored must show."""
    noise = torch.Generator().manual_seed(seed)

    def draw(*shape: int, mean: float = 0.0) -> Tensor:
        return mean + 0.15 * torch.randn(*shape, generator=noise)

    state = {
        "cls_token": draw(1, 1, WIDTH),
        "pos_embed": draw(1, grid[0] * grid[1] + slots, WIDTH),
        "patch_embed.proj.weight": draw(WIDTH, 3, patch, patch) / 4,
        "patch_embed.proj.bias": draw(WIDTH),
        "norm.weight": draw(WIDTH, mean=1.0),
        "norm.bias": draw(WIDTH),
    }
    for block in range(DEPTH):
        for norm in ("norm1", "norm2"):
            state[f"blocks.{block}.{norm}.weight"] = draw(WIDTH, mean=1.0)
            state[f"blocks.{block}.{norm}.bias"] = draw(WIDTH)
        for name, out, width in (
            ("attn.qkv", 3 * WIDTH, WIDTH),
            ("attn.proj", WIDTH, WIDTH),
            ("mlp.fc1", 4 * WIDTH, WIDTH),
            ("mlp.fc2", WIDTH, 4 * WIDTH),
        ):
            state[f"blocks.{block}.{name}.weight"] = draw(out, width)
            state[f"blocks.{block}.{name}.bias"] = draw(out)
        if scale:
            state[f"blocks.{block}.ls1.gamma"] = draw(WIDTH, mean=0.5)
            state[f"blocks.{block}.ls2.gamma"] = draw(WIDTH, mean=0.5)
    return state


def build_head(prefix: str = "") -> State:
    """DINO's projection head."""
    names = [f"mlp.{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")]
    names += ["last_layer.weight_g", "last_layer.weight_v"]
    return {f"{prefix}head.{name}": torch.ones(2, 2) for name in names}


def build_dino(grid: Grid, *, seed: int = 0) -> tuple[State, Any]:
    """A backbone, and the full checkpoint of two networks with it as the teacher."""
    teacher, student = build_vit(grid, seed=seed), build_vit(grid, seed=seed + 1)
    file = {
        "student": {f"module.backbone.{k}": v for k, v in student.items()} | build_head("module."),
        "teacher": {f"backbone.{k}": v for k, v in teacher.items()} | build_head(),
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        "epoch": 100,
        "args": Namespace(arch="vit_small", patch_size=16, local_crops_scale=(0.05, 0.4)),
        "dino_loss": {"center": torch.zeros(1, 4)},
        "fp16_scaler": {"scale": 65536.0},
    }
    return teacher, file


def build_ibot(grid: Grid, *, seed: int = 0) -> tuple[State, Any]:
    """The extracted backbone of a student, with its mask token."""
    state = build_vit(grid, seed=seed)
    return state, {"state_dict": {**state, "masked_embed": torch.ones(1, WIDTH)}}


def build_transreid_ssl(grid: Grid, *, seed: int = 0) -> tuple[State, Any]:
    """What the publisher's conversion writes: the teacher's backbone, flat."""
    state = build_vit(grid, seed=seed)
    return state, state


def build_pass(grid: Grid, *, seed: int = 0) -> tuple[State, Any]:
    """Part tokens and positions of their own; the full checkpoint has a head per token."""
    state = build_vit(grid, slots=0, seed=seed)
    noise = torch.Generator().manual_seed(seed + 9)
    for name in ("part_token1", "part_token2", "part_token3"):
        state[name] = 0.2 * torch.randn(1, 1, WIDTH, generator=noise)
    for name in ("cls_pos", "part1_pos", "part2_pos", "part3_pos"):
        state[name] = 0.2 * torch.randn(1, 1, WIDTH, generator=noise)
    heads = {f"head.mlp_{t}.0.weight": torch.ones(2, 2) for t in ("cls", "pt1", "pt2", "pt3")}
    heads |= {f"head.last_layer_{t}.weight_g": torch.ones(2, 1) for t in ("cls", "pt1")}
    return state, {"teacher": {f"backbone.{k}": v for k, v in state.items()} | heads, "epoch": 99}


def build_dinov2(
    grid: Grid, *, seed: int = 0, registers: int = 0, patch: int = 16
) -> tuple[State, Any]:
    """The released backbone, flat, with layer scale and a mask token."""
    state = build_vit(grid, seed=seed, scale=True, patch=patch)
    if registers:
        noise = torch.Generator().manual_seed(seed + 9)
        state["register_tokens"] = torch.randn(1, registers, WIDTH, generator=noise)
    return state, {**state, "mask_token": torch.ones(1, WIDTH)}


def chunk_blocks(state: State, chunk: int = 2) -> State:
    """Names with `block_chunks`: a block's place in its chunk counts through all chunks."""

    def move(name: str) -> str:
        if not name.startswith("blocks."):
            return name
        _, block, rest = name.split(".", 2)
        return f"blocks.{int(block) // chunk}.{block}.{rest}"

    return {move(name): tensor for name, tensor in state.items()}


def build_mae(grid: Grid, *, seed: int = 0) -> tuple[State, Any]:
    """Encoder and decoder of pre-training."""
    state = build_vit(grid, seed=seed)
    rows = state["pos_embed"].shape[1]
    decoder = {
        "mask_token": torch.ones(1, 1, 16),
        "decoder_pos_embed": torch.ones(1, rows, 16),
        "decoder_embed.weight": torch.ones(16, WIDTH),
        "decoder_blocks.0.attn.qkv.weight": torch.ones(48, 16),
        "decoder_norm.weight": torch.ones(16),
        "decoder_pred.bias": torch.ones(768),
    }
    return state, {"model": {**state, **decoder}, "epoch": 1, "args": Namespace(lr=None)}


BUILDERS: dict[str, Callable[..., tuple[State, Any]]] = {
    "dino": build_dino,
    "ibot": build_ibot,
    "transreid_ssl": build_transreid_ssl,
    "pass": build_pass,
    "dinov2": build_dinov2,
    "mae": build_mae,
}


def embed_patches(state: State, images: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, N, D]."""
    weight = state["patch_embed.proj.weight"]
    patches = functional.conv2d(
        images, weight, state["patch_embed.proj.bias"], stride=weight.shape[-1]
    )
    return patches.flatten(2).transpose(1, 2)


def resample_table(table: Tensor, old: Grid, new: Grid) -> Tensor:
    """[1, N, D] of one grid for another, as a picture of D colours."""
    if old == new:
        return table
    picture = table.reshape(1, *old, WIDTH).permute(0, 3, 1, 2)
    picture = functional.interpolate(
        picture, size=new, mode="bicubic", antialias=True, align_corners=False
    )
    return picture.permute(0, 2, 3, 1).flatten(1, 2)


def prepare_tokens(
    state: State, images: Tensor, *, old: Grid, new: Grid, extra: Tensor | None = None
) -> Tensor:
    """Tokens before the first block, with the publisher's prefix and positions.

    `extra` [1, R, D] are tokens that a publisher does not have, after the class token.
    """
    patches, rows = embed_patches(state, images), len(images)
    if "part_token1" in state:
        names = [("cls_token", "cls_pos"), *((f"part_token{p}", f"part{p}_pos") for p in (1, 2, 3))]
        prefix = torch.cat([state[token] + state[position] for token, position in names], dim=1)
        table = state["pos_embed"]
    else:
        prefix = state["cls_token"] + state["pos_embed"][:, :1]
        table = state["pos_embed"][:, 1:]
        for tokens in (state.get("register_tokens"), extra):
            if tokens is not None:
                prefix = torch.cat([prefix, tokens], dim=1)
    patches = patches + resample_table(table, old, new)
    return torch.cat([prefix.expand(rows, -1, -1), patches], dim=1)


def run_blocks(state: State, x: Tensor) -> Tensor:
    """Pre-norm blocks with attention written out; no final norm."""
    for block in range(DEPTH):
        part = {
            name.removeprefix(f"blocks.{block}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"blocks.{block}.")
        }
        y = _norm(x, part["norm1.weight"], part["norm1.bias"])
        qkv = y @ part["attn.qkv.weight"].T + part["attn.qkv.bias"]
        heads = []
        for query, key, value in zip(
            *(each.chunk(HEADS, dim=-1) for each in qkv.chunk(3, dim=-1)), strict=True
        ):
            scores = query @ key.transpose(1, 2) / (WIDTH // HEADS) ** 0.5
            heads.append(scores.softmax(dim=-1) @ value)
        y = torch.cat(heads, dim=-1) @ part["attn.proj.weight"].T + part["attn.proj.bias"]
        x = x + y * part.get("ls1.gamma", torch.ones(WIDTH))
        y = _norm(x, part["norm2.weight"], part["norm2.bias"])
        y = functional.gelu(y @ part["mlp.fc1.weight"].T + part["mlp.fc1.bias"])
        y = y @ part["mlp.fc2.weight"].T + part["mlp.fc2.bias"]
        x = x + y * part.get("ls2.gamma", torch.ones(WIDTH))
    return x


def forward(
    state: State, images: Tensor, *, old: Grid, new: Grid, extra: Tensor | None = None
) -> Tensor:
    """[B, S, D] tokens after the final norm."""
    x = run_blocks(state, prepare_tokens(state, images, old=old, new=new, extra=extra))
    return _norm(x, state["norm.weight"], state["norm.bias"])


def forward_pooled(state: State, images: Tensor, *, grid: Grid, extra: Tensor) -> Tensor:
    """MAE with global pooling: [B, D], the mean of the patches and then the norm."""
    x = run_blocks(state, prepare_tokens(state, images, old=grid, new=grid, extra=extra))
    patches = x[:, 1 + extra.shape[1] :].mean(dim=1)
    return _norm(patches, state["fc_norm.weight"], state["fc_norm.bias"])


def _norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-6).sqrt() * weight + bias
