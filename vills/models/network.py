"""The one module that an engine wraps: backbone and all heads, one forward per step.

Its output holds everything that the losses need, and no loss.

Legend: B rows of a source on this rank (B images, V videos), N patches, L role tokens, D width,
K prototypes, A areas; S views of a role, of which the first two are the global ones; M masked
tokens. Sources: image, frame (z^vi) and video; image and frame share the image heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vills.config.model import MODALITY_SOURCES, HeadConfig, ModelConfig
from vills.config.pretrain import PretrainConfig
from vills.data.loading import PretrainBatch
from vills.models.alignment import AlignmentHeads, AlignmentPairs, IndexLogits
from vills.models.backbone import Backbone
from vills.models.encoder import COARSE, build_all_roles, build_roles
from vills.models.heads import MaskedLatents, ProjectionHead, convert_mask
from vills.models.layers import convert_rows
from vills.models.views import SourceTokens, ViewEncoder

TERMS = ("feature", "masking", "koleo", "alignment")
"""Loss terms of eq. 12; a head is built only for a term that is on, so that none is inert."""


@dataclass(frozen=True, slots=True)
class RoleViews:
    """Feature logits of one role in all views (eq. 8)."""

    logits: Tensor
    """[S, B, K]: two global views, then (student only) the LSE views matched with this role."""
    weight: Tensor
    """float [S, B], 0 where a view does not exist."""


@dataclass(frozen=True, slots=True)
class MaskedTokens:
    """Masking-head logits of the masked patches of both global views (eq. 9).

    In the literal reading: of all L tokens of the masked views.
    """

    logits: Tensor
    """[M, K], the same tokens in the same order for student and teacher."""
    weight: Tensor
    """float [M], 1 / number of tokens of that view in `logits`: a masked view weighs 1."""


@dataclass(frozen=True)  # no slots: ZeRO-3's forward hooks look into the output with vars()
class NetworkOutput:
    """Output of VillsNetwork for one role, student or teacher."""

    tokens: dict[str, Tensor]
    """Source -> [2, B, L, D], tokens of the global views after R (the student's as masked)."""
    features: dict[str, dict[str, RoleViews]] = field(default_factory=dict)
    """Source -> role name -> logits; empty if the feature term is off."""
    masked: dict[str, MaskedTokens] = field(default_factory=dict)
    """Source -> masked tokens; empty if the masking term is off."""
    alignment: AlignmentPairs | None = None
    """Student only; None if the alignment term, or its reading in pairs, is off."""
    index: IndexLogits | None = None
    """Student only; None if the alignment term, or its index reading, is off."""


class VillsNetwork(nn.Module):
    """Student or teacher: E, R and the heads h^f, h^m, h^v, h^i (paper section 3.2).

    Default reading: the student's global image views and the frame z^vi are masked at patch
    embedding, and h^m predicts masked patches before R; a coarse token is matched in all views, an
    area's token in the global and that area's LSE views, the temporal token in the global views of
    a video. Literal reading: h^f and LSE views serve all L tokens (eq. 8), masking comes after R
    (eq. 9).
    """

    def __init__(
        self,
        model: ModelConfig,
        *,
        heads: HeadConfig,
        areas: Sequence[str],
        modalities: Sequence[str] = ("image", "video"),
        terms: Sequence[str] = TERMS,
        literal: bool = False,
        drop_path: float = 0.0,
        frame_in_clip: bool = True,
        alignment: Mapping[str, Any] | None = None,
    ) -> None:
        """Build what the loss `terms` need; the backbone first, so that its start ignores them.

        `alignment` holds keywords of `AlignmentHeads`; default: pairs of coarse tokens.
        """
        super().__init__()
        self.literal = literal
        self.drop_path = drop_path
        self.frame_in_clip = frame_in_clip
        self.masks_patches = "masking" in terms and not literal
        self.backbone = Backbone(
            model, areas=areas, video="video" in modalities, masking=self.masks_patches
        )
        self.feature_heads = nn.ModuleDict()
        self.masking_heads = nn.ModuleDict()
        if "feature" in terms:
            for name in modalities:
                self.feature_heads[name] = ProjectionHead(
                    model.width,
                    heads,
                    num_prototypes=heads.feature_prototypes,
                    roles=list(self.get_roles(name)),
                )
        if "masking" in terms:
            for name in modalities if literal else ("image",):
                self.masking_heads[name] = ProjectionHead(
                    model.width, heads, num_prototypes=heads.masking_prototypes, roles=["patch"]
                )
        self.masked_latents = MaskedLatents(model.width) if literal and "masking" in terms else None
        self.alignment_heads: AlignmentHeads | None = None
        if "alignment" in terms:
            chosen = {"tokens": [COARSE], **(alignment or {})}
            self.alignment_heads = AlignmentHeads(model.width, heads, **chosen)

    def get_roles(self, modality: str) -> dict[str, int]:
        """Role -> token index of the tokens that enter L^f, for `image` or `video`."""
        if self.literal:
            return build_all_roles(self.backbone.num_roles)
        return self.backbone.get_roles(modality)

    def get_feature_keys(self) -> list[str]:
        """Return `source/role` of all logits of `features`: what has a center of its own."""
        return [
            f"{source}/{role}"
            for modality in self.feature_heads
            for source in self._get_sources(modality)
            for role in self.get_roles(modality)
        ]

    def get_masking_keys(self) -> list[str]:
        """Return the sources of `masked`: what has a center of its own."""
        return [source for modality in self.masking_heads for source in self._get_sources(modality)]

    def _get_sources(self, modality: str) -> list[str]:
        """Return sources of a modality; without videos there is no frame z^vi."""
        sources = MODALITY_SOURCES[modality]
        return [name for name in sources if name != "frame" or self.backbone.video]

    def forward(self, batch: PretrainBatch, role: str = "student") -> NetworkOutput:
        """Encode a batch and project its tokens.

        Args:
            batch: this rank's rows of a step.
            role: `student` sees masks, LSE views and drop path; `teacher` only the global views.
        """
        assert role in ("student", "teacher")
        student = role == "student"
        sources = ViewEncoder(
            self.backbone,
            student=student,
            masked=self.masks_patches,
            lse=bool(self.feature_heads),
            drop_path=self.drop_path if self.training else 0.0,
            frame_in_clip=self.frame_in_clip,
        ).encode(batch)
        alignment = index = None
        if student and self.alignment_heads is not None:
            video, frame = (sources[name].roles for name in ("video", "frame"))
            alignment, index = self.alignment_heads(video, frame, batch)
        return NetworkOutput(
            tokens={name: source.roles for name, source in sources.items()},
            features=self._project_features(sources),
            masked=self._project_masked(sources, student=student),
            alignment=alignment,
            index=index,
        )

    def _project_features(
        self, sources: dict[str, SourceTokens]
    ) -> dict[str, dict[str, RoleViews]]:
        """h^f: one head call per modality and role, over the rows of all its sources."""
        features: dict[str, dict[str, RoleViews]] = {name: {} for name in sources}
        for modality, head in self.feature_heads.items():
            names = [name for name in MODALITY_SOURCES[modality] if name in sources]
            for role, index in self.get_roles(modality).items() if names else ():
                views = [self._collect_views(sources[name], role, index) for name in names]
                logits = head(
                    torch.cat([tokens.flatten(0, 1) for tokens, _ in views]),
                    role=role,
                    row_weight=torch.cat([weight.flatten() for _, weight in views]),
                )
                parts = torch.split(logits, [weight.numel() for _, weight in views])
                for name, part, (_, weight) in zip(names, parts, views, strict=True):
                    features[name][role] = RoleViews(convert_rows(part, weight.shape), weight)
        return features if self.feature_heads else {}

    def _collect_views(self, source: SourceTokens, role: str, index: int) -> tuple[Tensor, Tensor]:
        """Tokens [S, B, D] of a role and weights [S, B]: global views, then matched LSE views."""
        tokens = source.roles[:, :, index]
        weight = tokens.new_ones(tokens.shape[:2], dtype=torch.float32)
        if source.lse_roles is None or source.lse_weight is None:
            return tokens, weight
        areas = self._match_areas(role)
        if not areas:
            return tokens, weight
        lse = source.lse_roles[areas, :, :, index].flatten(0, 1)  # [A * K, B, D]
        lse_weight = source.lse_weight[areas].flatten(0, 1).float()
        return torch.cat([tokens, lse]), torch.cat([weight, lse_weight])

    def _match_areas(self, role: str) -> list[int]:
        """Areas (as places in the batch) whose LSE views are matched with a role."""
        areas = self.backbone.areas
        if role == "coarse" or self.literal:
            return list(range(len(areas)))
        return [areas.index(role)] if role in areas else []

    def _project_masked(
        self, sources: dict[str, SourceTokens], *, student: bool
    ) -> dict[str, MaskedTokens]:
        """h^m on the masked tokens of both global views."""
        masked: dict[str, MaskedTokens] = {}
        for modality, head in self.masking_heads.items():
            names = [name for name in MODALITY_SOURCES[modality] if name in sources]
            if not names:
                continue
            rows = [self._collect_masked(sources[name], student=student) for name in names]
            logits = head(torch.cat([tokens for tokens, _ in rows]), role="patch")
            parts = torch.split(logits, [len(weight) for _, weight in rows])
            for name, part, (_, weight) in zip(names, parts, rows, strict=True):
                masked[name] = MaskedTokens(part, weight)
        return masked

    def _collect_masked(self, source: SourceTokens, *, student: bool) -> tuple[Tensor, Tensor]:
        """Tokens [M, D] that L^m compares and their weights [M]; a masked view weighs 1.

        Literally, all L tokens of a masked view: eq. 9 sums over mask(z), not over what it hides.
        """
        mask = source.mask
        assert mask is not None, "the masking term needs the masks of the batch"
        if self.masked_latents is None:
            assert source.patches is not None
            weight = 1.0 / mask.sum(dim=-1, keepdim=True).clamp(min=1)
            return source.patches[mask], weight.expand(mask.shape)[mask]
        tokens = source.roles
        if student:
            tokens = self.masked_latents(tokens, convert_mask(mask, tokens.shape[2]))
        rows = tokens[mask.any(dim=-1)].flatten(0, 1)
        return rows, rows.new_full((len(rows),), 1.0 / tokens.shape[2])


def build_network(config: PretrainConfig, *, num_videos: int = 0) -> VillsNetwork:
    """Return the network of a pretrain stage: heads only for terms whose weight is not 0.

    `num_videos` is the number of classes of `alignment=index`.
    """
    roles = build_roles(config.areas, temporal=False)
    alignment = {
        "tokens": list(roles.values()) if config.alignment_tokens == "roles" else [COARSE],
        "pairs": config.alignment_pairs if config.aligns_pairs else "",
        "num_videos": num_videos if config.aligns_index else 0,
        "num_samples": config.alignment_samples,
        "seed": config.seed,
    }
    return VillsNetwork(
        config.model,
        heads=config.heads,
        areas=config.areas,
        modalities=config.modalities.split("+"),
        terms=[term for term in TERMS if getattr(config, f"{term}_weight") > 0],
        literal=config.reading == "literal",
        drop_path=config.drop_path,
        frame_in_clip=config.views.frame_in_clip,
        alignment=alignment,
    )
