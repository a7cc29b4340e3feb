"""Names that the parameters of several stages share; vills.evaluation.protocols has the objects."""

from vills.config.checks import build_error

PROTOCOLS = (
    "image",
    "video",
    "image_to_video",
    "market1501",
    "prcc_same_clothes",
    "prcc_cloth_changing",
    "prcc_same_clothes_single_shot",
    "prcc_cloth_changing_single_shot",
    "ltcc_standard",
    "ltcc_cloth_changing",
    "ltcc_same_clothes",
    "mars",
    "mars_torchreid",
    "mars_image_to_video",
    "prid2011",
    "sigset",
)
"""Keys of vills.evaluation.protocols.PROTOCOLS, in the order of a table."""
DATA_SETS = ("market1501", "prcc", "ltcc", "mars", "prid2011", "sigset")
"""Layouts with protocols of their own, whose keys start with the layout's name."""
ANY_LAYOUT = "folder"
"""May hold any data set, so that every protocol may be asked for."""


def check_layout(field: str, protocol: str, layout: str) -> None:
    """Refuse one data set's protocol for another: its name would stand above other numbers."""
    allowed = [name for name in PROTOCOLS if get_data_set(name) in ("", layout)]
    if layout != ANY_LAYOUT and protocol not in allowed:
        remedy = "choose one of them; image and video apply Market-1501's rule to any data set"
        raise build_error(field, protocol, ", ".join(allowed), remedy, when=f"with layout {layout}")


def get_data_set(protocol: str) -> str:
    """Layout of the data set that a protocol belongs to; empty: any."""
    return next((name for name in DATA_SETS if f"{protocol}_".startswith(f"{name}_")), "")
