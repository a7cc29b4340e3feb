"""Protocols by key: what params.yaml names, in the order of a table, data set by data set."""

from dataclasses import replace

from vills.evaluation.entries import TestData
from vills.evaluation.protocols.base import (
    ComputeFeatures,
    FeatureChoice,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
)
from vills.evaluation.protocols.retrieval import RetrievalProtocol, SingleShotProtocol
from vills.evaluation.protocols.sigset import SigsetProtocol
from vills.evaluation.ranking import find_ltcc_cloth_changing, find_ltcc_same_clothes
from vills.evaluation.rows import Row

__all__ = [
    "PROTOCOLS",
    "ComputeFeatures",
    "FeatureChoice",
    "Protocol",
    "ProtocolError",
    "ProtocolResult",
    "ProtocolSettings",
    "Row",
    "TestData",
    "get_native_protocol",
]

# Any data set with query and gallery: the rule of Market-1501, nothing more.
_ANY = (
    RetrievalProtocol(
        name="image",
        title="Images",
        source="Market-1501's rule (Zheng et al. 2015)",
        query="images of the query split",
        gallery="images of the gallery split, distractors too",
        needs_cameras=False,
    ),
    RetrievalProtocol(
        name="video",
        title="Tracklets",
        source="Market-1501's rule on tracklets (torchreid's video data sets)",
        query="tracklets of the query split",
        gallery="tracklets of the gallery split, distractors too",
        query_modality="video",
        gallery_modality="video",
        needs_cameras=False,
    ),
    # The paper only says that single frames are taken from the query videos; TKP takes the first.
    # Which one is a parameter, and stands in the title.
    RetrievalProtocol(
        name="image_to_video",
        title="Image to video",
        source="TKP (Gu et al., ICCV 2019); VILLS Table 1c",
        query="images of the query split, or one frame of each of its tracklets",
        gallery="tracklets of the gallery split, distractors too",
        gallery_modality="video",
        needs_cameras=False,
        from_frames=True,
    ),
)

# As torchreid, fast-reid, PASS and TransReID score it.
_MARKET1501 = RetrievalProtocol(
    name="market1501",
    title="Market-1501, single query",
    source="Zheng et al., ICCV 2015; torchreid metrics/rank.py",
    query="query",
    gallery="bounding_box_test with distractors (pid 0)",
)

# PRCC (Yang et al., TPAMI 2021). Cameras: A = 0 (gallery), B = 1 (same clothes as in A), C = 2
# (other clothes). CAL searches all images of A; the data set's authors draw one per person, ten
# times. Numbers of the two do not compare: with one image per person AP is one over its rank, so
# that mAP >= rank-1.
_PRCC = tuple(
    kind(
        name=f"prcc_{clothes.replace('-', '_').replace(' ', '_')}{suffix}",
        title=f"PRCC, {clothes}, {shots}",
        source=source,
        query=query,
        gallery=gallery,
        feature=FeatureChoice(flip=True),
        query_cameras=(camera,),
        gallery_cameras=(0,),
    )
    for kind, suffix, shots, source, gallery in (
        (
            RetrievalProtocol,
            "",
            "all gallery images (CAL)",
            "CAL (Gu et al., CVPR 2022) test.py",
            "A: all images",
        ),
        (
            SingleShotProtocol,
            "_single_shot",
            f"single-shot, mean of {SingleShotProtocol.num_draws} draws",
            "Yang et al., TPAMI 2021, sec. 5.1",
            "A: one random image per person",
        ),
    )
    for clothes, query, camera in (
        ("same clothes", "B: same clothes as in A", 1),
        ("cloth-changing", "C: other clothes than in A", 2),
    )
)

# The three modes of CAL's `evaluate_with_clothes`. All queries and the whole gallery take part in
# each; what differs is which images of the query's own person are junk.
_STANDARD = RetrievalProtocol(
    name="ltcc_standard",
    title="LTCC, standard (general)",
    source="Qian et al., ACCV 2020; CAL (Gu et al., CVPR 2022) tools/eval_metrics.py",
    query="query, all",
    gallery="test, all",
    feature=FeatureChoice(flip=True),
)
_LTCC = (
    _STANDARD,
    replace(
        _STANDARD,
        name="ltcc_cloth_changing",
        title="LTCC, cloth-changing (CAL)",
        junk="same person in the same camera or the same clothes; pid -1",
        junk_rule=find_ltcc_cloth_changing,
        needs_clothes=True,
    ),
    replace(
        _STANDARD,
        name="ltcc_same_clothes",
        title="LTCC, same clothes (CAL)",
        junk="same person in the same camera or other clothes; pid -1",
        junk_rule=find_ltcc_same_clothes,
        needs_clothes=True,
    ),
)

# The official package searches all test tracks, queries included: a query is junk to itself, but
# other people's queries, and a person's queries in other cameras, count. torchreid leaves all
# queries out of the gallery, after which 140 of the 1,980 queries have no true match and are
# passed over.
_OFFICIAL = RetrievalProtocol(
    name="mars",
    title="MARS, official (queries stay in the gallery)",
    source="Zheng et al., ECCV 2016; MARS-evaluation utils/evaluation_mars.m; SINet, PSTA",
    query="1,980 tracklets, one per person and camera",
    gallery="all test tracklets, queries too",
    query_modality="video",
    gallery_modality="video",
    gallery_with_queries=True,
)
_MARS = (
    _OFFICIAL,
    replace(
        _OFFICIAL,
        name="mars_torchreid",
        title="MARS, torchreid's (queries not in the gallery)",
        source="torchreid data/datasets/video/mars.py; Video-Person-ReID",
        gallery="test tracklets without the queries",
        gallery_with_queries=False,
    ),
    replace(
        _OFFICIAL,
        name="mars_image_to_video",
        title="MARS, image to video (queries stay in the gallery)",
        source="TKP (Gu et al., ICCV 2019)",
        query="one frame of each query tracklet",
        query_modality="image",
        from_frames=True,
    ),
)

# 178 people as video, ten splits of 89 and 89. One split is scored at a time; the evaluate stage
# adds mean and deviation over the splits. One gallery tracklet per person, so that AP is one over
# its rank and rank-1 a multiple of 1/89.
_PRID2011 = RetrievalProtocol(
    name="prid2011",
    title="PRID2011, multi-shot",
    source="Hirzer et al., SCIA 2011; splits of Wang et al., ECCV 2014 (torchreid prid2011.py)",
    query="camera a, test people of the split",
    gallery="camera b, test people of the split",
    query_modality="video",
    gallery_modality="video",
    query_cameras=(0,),
    gallery_cameras=(1,),
)

_SIGSET = SigsetProtocol(
    name="sigset",
    title="Sigset, closed-set identification and verification",
    source="ORNL/briar-api doc/HowToDevelopBriarService.md; NIST sigset XML",
    query="probes: one medium (image or video) each",
    gallery="templates of subjects from many media, distractors too; each gallery apart",
    junk="none; pid -1 is left out",
    query_modality="any",
    gallery_modality="any",
)

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (*_ANY, _MARKET1501, *_PRCC, *_LTCC, *_MARS, _PRID2011, _SIGSET)
}


def get_native_protocol(modality: str) -> Protocol:
    """Return the protocol of a data set of images, or of tracklets (video)."""
    return PROTOCOLS["video" if modality == "video" else "image"]
