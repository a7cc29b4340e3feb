"""What one forward of the network returns: everything the losses need, and no loss.

Legend: source = image, frame (z^vi, through the image heads) or video; B rows of that source on
this rank, L role tokens, D width, K prototypes, S views of which the first two are the global ones,
M masked tokens, E bottleneck.
"""

from dataclasses import dataclass, field

from torch import Tensor


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


@dataclass(frozen=True)  # no slots, as below
class AlignmentPairs:
    """Unit vectors of videos and of one frame of each (eq. 11)."""

    video: Tensor
    """[2, V, E], global views."""
    frame: Tensor
    """[2, V, E]."""
    scale: Tensor | None
    """[], what cosines are multiplied with, at most 100; None where hardest pairs alone count."""
    labels: Tensor
    """long [V], index of each video; those of a global batch are distinct."""


@dataclass(frozen=True)  # no slots, as below
class IndexLogits:
    """Logits of the index of the video (eq. 11 as printed)."""

    video: Tensor
    """[2, V, C], global views."""
    frame: Tensor
    """[2, V, C]."""
    labels: Tensor
    """long [V], places of this rank's videos among the C."""


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
