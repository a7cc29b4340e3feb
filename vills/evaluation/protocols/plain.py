"""Protocols of any data set with query and gallery: the rule of Market-1501, nothing more."""

from vills.evaluation.protocols.retrieval import RetrievalProtocol

SAME_CAMERA = "same person in the same camera; pid -1"

IMAGE = RetrievalProtocol(
    name="image",
    title="Images",
    source="Market-1501's rule (Zheng et al. 2015)",
    query="images of the query split",
    gallery="images of the gallery split, distractors too",
    junk=SAME_CAMERA,
    needs_cameras=False,
)
VIDEO = RetrievalProtocol(
    name="video",
    title="Tracklets",
    source="Market-1501's rule on tracklets (torchreid's video data sets)",
    query="tracklets of the query split",
    gallery="tracklets of the gallery split, distractors too",
    junk=SAME_CAMERA,
    query_modality="video",
    gallery_modality="video",
    needs_cameras=False,
)
PROTOCOLS = (IMAGE, VIDEO)


def get_native_protocol(modality: str) -> RetrievalProtocol:
    """The protocol of a data set of images, or of tracklets (video)."""
    return VIDEO if modality == "video" else IMAGE
