"""Names that the parameters of several stages share; vills.evaluation.protocols has the objects."""

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
