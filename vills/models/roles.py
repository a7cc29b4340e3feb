"""Roles of the first resampled tokens: fixed indices, so that exports and heads agree on them.

The paper says which semantics its tokens hold (section 3.2: coarse, LSE-derived, temporal) but not
which token holds what. Here the first queries of R have fixed roles and the others are free.
"""

from collections.abc import Sequence

from vills.areas import AREAS

COARSE = 0
AREA_ROLES: dict[str, int] = {area: 1 + index for index, area in enumerate(AREAS)}
TEMPORAL = 1 + len(AREAS)
NUM_SPATIAL = 1 + len(AREAS)
"""Roles that an image has: coarse and the areas; also the prefix tokens of the encoder."""


def build_roles(areas: Sequence[str], *, temporal: bool) -> dict[str, int]:
    """Role name -> token index, in the order of a feature vector."""
    roles = {"coarse": COARSE, **{area: AREA_ROLES[area] for area in areas}}
    return {**roles, "temporal": TEMPORAL} if temporal else roles


def build_all_roles(num_tokens: int) -> dict[str, int]:
    """Every token as a role of its own, the free ones too (the literal reading of eq. 8)."""
    names = ("coarse", *AREAS, "temporal")
    return {names[i] if i < len(names) else f"free_{i}": i for i in range(num_tokens)}
