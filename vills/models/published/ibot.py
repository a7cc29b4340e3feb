"""iBOT (Zhou et al. 2022): DINO's names under `state_dict`, and a mask token."""

from vills.models.published.layout import Layout

IBOT = Layout("ibot", source="bytedance/ibot", dropped=r"head\.|masked_embed$")
