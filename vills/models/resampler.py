"""Resampler R (eq. 7): a Perceiver that lets L learned queries pick from any number of tokens.

Legend: B rows, T frames, S tokens of a picture (prefix and patches), L queries, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vills.config.model import ModelConfig


class FrameEmbedding(nn.Module):
    """Learned embedding of a frame's place in its clip: the encoder is per frame, time enters here.

    The table spans a clip of any length: a longer one interpolates its rows linearly, a shorter
    one takes means of neighbouring rows. So every row is trained whatever the clip length, and a
    clip longer than in training uses no row that was never trained.
    """

    def __init__(self, max_frames: int, width: int) -> None:
        """Build a table of `max_frames` rows."""
        super().__init__()
        self._maps: dict[int, Tensor] = {}
        self.table = nn.Parameter(torch.empty(max_frames, width))
        # Tokens leave the encoder with unit variance: the customary .02 would leave time unheard
        # (shuffled frames then move a new temporal token by .05 %). Flamingo starts at 1.
        nn.init.trunc_normal_(self.table, std=0.5)

    def forward(self, tokens: Tensor, positions: Tensor | None, num_frames: int) -> Tensor:
        """Add to [B, T, S, D] tokens the rows of `positions` long [B, T] in a clip of `num_frames`.

        Without `positions` the tokens are the whole clip in order.
        """
        rows = self.compute_rows(num_frames)
        chosen = rows if positions is None else rows[positions]  # [(B,) T, D]
        return tokens + chosen[..., None, :]

    def compute_rows(self, num_frames: int) -> Tensor:
        """[num_frames, D] embeddings of the frames of a clip: a fixed linear map of the table."""
        size = len(self.table)
        if num_frames == size:
            return self.table
        if num_frames not in self._maps:
            with torch.inference_mode(False):  # evaluation may come first, training must use it too
                self._maps[num_frames] = _build_stretch(size, num_frames)
        with torch.autocast(self.table.device.type, enabled=False):
            return self._maps[num_frames].to(self.table.device) @ self.table.float()


@torch.no_grad()
def _build_stretch(size: int, num_frames: int) -> Tensor:
    """[num_frames, size] matrix: means of rows for a short clip, interpolation for a long one."""
    rows = torch.eye(size)[None]
    stretched: Tensor
    if num_frames < size:
        stretched = functional.adaptive_avg_pool1d(rows, num_frames)
    else:
        stretched = functional.interpolate(rows, size=num_frames, mode="linear", align_corners=True)
    return stretched[0].T.contiguous()


class ResamplerLayer(nn.Module):
    """Pre-norm cross-attention of the latents to [tokens; latents], then a feed-forward of x4."""

    def __init__(self, width: int, num_heads: int) -> None:
        """Build one layer."""
        super().__init__()
        self.num_heads = num_heads
        self.norm_latents = nn.LayerNorm(width, eps=1e-6)
        self.norm_tokens = nn.LayerNorm(width, eps=1e-6)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, latents: Tensor, tokens: Tensor, key_mask: Tensor | None) -> Tensor:
        """[B, L, D] latents, [B, S, D] tokens, bool [B, S + L] keys that exist -> [B, L, D]."""
        query, key, value = self._split(latents, tokens)
        allowed = None if key_mask is None else key_mask[:, None, None]
        picked = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        latents = latents + self.project(picked.transpose(1, 2).flatten(2))
        update: Tensor = self.mlp(self.norm_mlp(latents))
        return latents + update

    def compute_attention(self, latents: Tensor, tokens: Tensor, key_mask: Tensor | None) -> Tensor:
        """[B, heads, L, S + L] attention weights."""
        query, key, _ = self._split(latents, tokens)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[:, None, None], float("-inf"))
        weights: Tensor = scores.softmax(dim=-1)
        return weights

    def _split(self, latents: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each [B, heads, rows, D / heads]."""
        normal = self.norm_latents(latents)
        keys = torch.cat([self.norm_tokens(tokens), normal], dim=1)
        rows, width = len(latents), latents.shape[-1]
        shape = (rows, -1, self.num_heads, width // self.num_heads)
        query = self.query(normal).reshape(shape).transpose(1, 2)
        key, value = self.key_value(keys).chunk(2, dim=-1)
        return query, key.reshape(shape).transpose(1, 2), value.reshape(shape).transpose(1, 2)


class Resampler(nn.Module):
    """Eq. 7; images, frames and videos share its queries. Anchor: Flamingo's resampler."""

    def __init__(self, config: ModelConfig) -> None:
        """Build `resampler_depth` layers over `num_queries` queries."""
        super().__init__()
        self.queries = nn.Parameter(torch.empty(config.num_queries, config.width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.layers = nn.ModuleList(
            ResamplerLayer(config.width, config.num_heads) for _ in range(config.resampler_depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """[B, S, D] tokens (of a clip: all frames', flattened) -> [B, L, D].

        Args:
            tokens: what the queries pick from.
            key_mask: bool [B, S], False for tokens that do not exist.
        """
        latents, full_mask = self._start(tokens, key_mask)
        for layer in self.layers:
            latents = layer(latents, tokens, full_mask)
        resampled: Tensor = self.norm(latents)
        return resampled

    def compute_attention(self, tokens: Tensor, key_mask: Tensor | None = None) -> Tensor:
        """[B, L, S] attention of the last layer to the tokens, mean over heads.

        Rows sum to less than 1: the rest looks at the latents themselves.
        """
        latents, full_mask = self._start(tokens, key_mask)
        *layers, last = self.layers
        for layer in layers:
            latents = layer(latents, tokens, full_mask)
        assert isinstance(last, ResamplerLayer)
        weights = last.compute_attention(latents, tokens, full_mask).mean(dim=1)
        return weights[..., : tokens.shape[1]]

    def _start(self, tokens: Tensor, key_mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return queries [B, L, D] and mask bool [B, S + L]: a query always sees the queries."""
        latents = self.queries.expand(len(tokens), -1, -1)
        if key_mask is None:
            return latents, None
        own = key_mask.new_ones(len(tokens), latents.shape[1])
        return latents, torch.cat([key_mask, own], dim=1)
