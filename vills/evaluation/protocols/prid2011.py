"""PRID2011 (Hirzer et al., SCIA 2011) as a video set: 178 people, ten splits of 89 and 89.

One split is scored at a time; the evaluate stage adds mean and deviation over the splits. One
gallery tracklet per person, so that AP is one over its rank and rank-1 a multiple of 1/89.
"""

from vills.evaluation.protocols.plain import SAME_CAMERA
from vills.evaluation.protocols.retrieval import RetrievalProtocol

PROTOCOLS = (
    RetrievalProtocol(
        name="prid2011",
        title="PRID2011, multi-shot",
        source="Hirzer et al., SCIA 2011; splits of Wang et al., ECCV 2014 (torchreid prid2011.py)",
        query="camera a, test people of the split",
        gallery="camera b, test people of the split",
        junk=SAME_CAMERA,
        query_modality="video",
        gallery_modality="video",
        query_cameras=(0,),
        gallery_cameras=(1,),
    ),
)
