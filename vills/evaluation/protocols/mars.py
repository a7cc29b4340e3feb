"""MARS (Zheng et al., ECCV 2016): official, and as torchreid scores it.

The official package searches all test tracks, queries included: a query is junk to itself, but
other people's queries, and a person's queries in other cameras, count. torchreid leaves all queries
out of the gallery, after which 140 of the 1,980 queries have no true match and are passed over.
"""

from vills.evaluation.protocols.plain import SAME_CAMERA
from vills.evaluation.protocols.retrieval import RetrievalProtocol

QUERY = "1,980 tracklets, one per person and camera"
WITH_QUERIES = "all test tracklets, queries too"

PROTOCOLS = (
    RetrievalProtocol(
        name="mars",
        title="MARS, official (queries stay in the gallery)",
        source="Zheng et al., ECCV 2016; MARS-evaluation utils/evaluation_mars.m; SINet, PSTA",
        query=QUERY,
        gallery=WITH_QUERIES,
        junk=SAME_CAMERA,
        query_modality="video",
        gallery_modality="video",
        gallery_with_queries=True,
    ),
    RetrievalProtocol(
        name="mars_torchreid",
        title="MARS, torchreid's (queries not in the gallery)",
        source="torchreid data/datasets/video/mars.py; Video-Person-ReID",
        query=QUERY,
        gallery="test tracklets without the queries",
        junk=SAME_CAMERA,
        query_modality="video",
        gallery_modality="video",
    ),
    RetrievalProtocol(
        name="mars_image_to_video",
        title="MARS, image to video (queries stay in the gallery)",
        source="TKP (Gu et al., ICCV 2019)",
        query="one frame of each query tracklet",
        gallery=WITH_QUERIES,
        junk=SAME_CAMERA,
        gallery_modality="video",
        gallery_with_queries=True,
        from_frames=True,
    ),
)
