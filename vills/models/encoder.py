"""Shared encoder E (eq. 6): a timm ViT with one prefix token per spatial role.

The paper says which semantics its tokens hold (section 3.2: coarse, LSE-derived, temporal) but not
which token holds what. Here the prefix of E and the first queries of R have fixed roles, so that
exports and heads agree on them, and the other queries are free.

Legend: B rows (images or frames), N patches, P = 4 prefix tokens (coarse, one per area), S = P + N,
D width, H x W pixels.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from vills.areas import AREAS
from vills.config.model import ModelConfig
from vills.models.layers import DropPathNoise

COARSE = 0
AREA_ROLES: dict[str, int] = {area: 1 + index for index, area in enumerate(AREAS)}
TEMPORAL = 1 + len(AREAS)
NUM_SPATIAL = 1 + len(AREAS)
"""Roles that an image has: coarse and the areas; also the prefix tokens of the encoder."""


def build_roles(areas: Sequence[str], *, temporal: bool) -> dict[str, int]:
    """Return role name -> token index, in the order of a feature vector."""
    roles = {"coarse": COARSE, **{area: AREA_ROLES[area] for area in areas}}
    return {**roles, "temporal": TEMPORAL} if temporal else roles


def build_all_roles(num_tokens: int) -> dict[str, int]:
    """Return every token as a role of its own, the free ones too (literal reading of eq. 8)."""
    names = ("coarse", *AREAS, "temporal")
    return {names[i] if i < len(names) else f"free_{i}": i for i in range(num_tokens)}


def build_timm_arguments(config: ModelConfig) -> dict[str, Any]:
    """Keyword arguments with which timm's own VisionTransformer is this encoder."""
    return {
        "img_size": list(config.image_size),
        "patch_size": config.patch_size,
        "embed_dim": config.width,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "reg_tokens": NUM_SPATIAL - 1,
        "no_embed_class": True,
        "num_classes": 0,
        "global_pool": "",
    }


class Encoder(nn.Module):
    """ViT over the patches of one picture; a clip is encoded frame by frame.

    The class token is the coarse role, timm's register tokens are the area roles (PASS's part
    tokens), so that the weights load into plain timm. The position table covers patches only.
    """

    def __init__(self, config: ModelConfig, *, masking: bool = False) -> None:
        """Build; the mask token exists only if `masking`, since an unused one gets no gradient."""
        super().__init__()
        self.patch_size = config.patch_size
        self.num_heads = config.num_heads
        self.grid = (
            config.image_size[0] // config.patch_size,
            config.image_size[1] // config.patch_size,
        )
        self.vit = VisionTransformer(**build_timm_arguments(config))
        # timm starts them at 1e-6, nearly the same token four times; PASS's .02 tells them apart.
        for token in self._get_prefix():
            nn.init.trunc_normal_(token, std=0.02)
        self._maps: dict[tuple[tuple[int, int], torch.device], Tensor] = {}
        self.mask_token: nn.Parameter | None = None
        if masking:
            self.mask_token = nn.Parameter(torch.empty(1, 1, config.width))
            nn.init.trunc_normal_(self.mask_token, std=0.02)

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.vit.blocks)

    def forward(
        self, images: Tensor, mask: Tensor | None = None, drop: DropPathNoise | None = None
    ) -> Tensor:
        """Encode pictures of any size that is a multiple of the patch.

        Args:
            images: [B, 3, H, W], normalised.
            mask: bool [B, N], True where the learned mask token replaces the patch.
            drop: stochastic depth of this pass.

        Returns:
            [B, S, D] tokens after the final norm, the prefix first.

        Raises:
            ValueError: if H or W is no multiple of the patch size.
        """
        x = self._embed(images, mask)
        for layer, block in enumerate(self._get_blocks()):
            x = block(x) if drop is None else _run_block(block, x, drop, layer=layer)
        tokens: Tensor = self.vit.norm(x)
        return tokens

    def compute_attention(self, images: Tensor) -> Tensor:
        """[B, heads, S, S] attention of the last block, rows sum to 1."""
        x = self._embed(images, None)
        *blocks, last = self._get_blocks()
        for block in blocks:
            x = block(x)
        x = last.norm1(x)
        rows, num_tokens, width = x.shape
        head_width = width // self.num_heads
        qkv = last.attn.qkv(x).reshape(rows, num_tokens, 3, self.num_heads, head_width)
        q, k, _ = qkv.permute(2, 0, 3, 1, 4)
        weights: Tensor = (q @ k.transpose(-2, -1) * head_width**-0.5).softmax(dim=-1)
        return weights

    def get_grid(self, height: int, width: int) -> tuple[int, int]:
        """Patches down and across a picture.

        Raises:
            ValueError: if a side is no multiple of the patch size.
        """
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"image of {height}x{width} px is not allowed. Allowed: sides that are multiples "
                f"of the patch size {self.patch_size}. What to do: pad or resize the image."
            )
        return height // self.patch_size, width // self.patch_size

    def _get_blocks(self) -> list[Any]:
        return list(self.vit.blocks)

    def _get_prefix(self) -> list[Tensor]:
        """Learned tokens of the coarse and the area roles, [1, 1, D] and [1, 3, D]."""
        coarse, areas = self.vit.cls_token, self.vit.reg_token
        assert coarse is not None
        assert areas is not None
        return [coarse, areas]

    def _embed(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """[B, 3, H, W] -> [B, S, D]: patches, mask token, positions, prefix."""
        grid = self.get_grid(images.shape[-2], images.shape[-1])
        patches = self.vit.patch_embed.proj(images).flatten(2).transpose(1, 2)  # [B, N, D]
        if mask is not None:
            assert self.mask_token is not None, "this encoder was built without masking"
            patches = torch.where(mask[..., None], self.mask_token.to(patches.dtype), patches)
        patches = patches + self._resample_positions(grid)
        prefix = torch.cat(self._get_prefix(), dim=1)
        return torch.cat([prefix.expand(len(patches), -1, -1), patches], dim=1)

    def _resample_positions(self, grid: tuple[int, int]) -> Tensor:
        """[1, N, D] position table for `grid`: a fixed linear map of the learned table.

        The map is cached per grid, its product with the table is not: the table learns. A product
        also has a deterministic gradient on a GPU, which torch's own bicubic kernel has not.
        """
        table = self.vit.pos_embed
        assert table is not None
        if grid == self.grid:
            return table
        if (grid, table.device) not in self._maps:
            with torch.inference_mode(False):  # evaluation may come first, training must use it too
                resampling = build_resampling(self.grid, grid).to(table.device)
            self._maps[grid, table.device] = resampling
        with torch.autocast(table.device.type, enabled=False):
            return self._maps[grid, table.device] @ table.float()


@torch.no_grad()
def build_resampling(old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """[N_new, N_old] matrix of bicubic resampling with antialias from one patch grid to another."""
    count = old[0] * old[1]
    pictures = torch.eye(count).reshape(count, 1, *old)
    resampled: Tensor = functional.interpolate(pictures, size=new, mode="bicubic", antialias=True)
    return resampled.flatten(1).T.contiguous()


def _run_block(block: Any, x: Tensor, drop: DropPathNoise, *, layer: int) -> Tensor:
    """Return a pre-norm block whose two branches are scaled per row."""
    attention, mlp = (drop.compute_scale(layer=layer, branch=branch) for branch in (0, 1))
    branch = block.ls1(block.attn(block.norm1(x)))
    x = x + (branch if attention is None else branch * attention)
    branch = block.ls2(block.mlp(block.norm2(x)))
    out: Tensor = x + (branch if mlp is None else branch * mlp)
    return out
