"""Image to video: one frame of a query tracklet, or a query image, searches tracklets.

The paper only says that single frames are taken from the query videos; TKP takes the first. Which
one is a parameter, and stands in the title.
"""

from vills.evaluation.protocols.plain import SAME_CAMERA
from vills.evaluation.protocols.retrieval import RetrievalProtocol

PROTOCOLS = (
    RetrievalProtocol(
        name="image_to_video",
        title="Image to video",
        source="TKP (Gu et al., ICCV 2019); VILLS Table 1c",
        query="images of the query split, or one frame of each of its tracklets",
        gallery="tracklets of the gallery split, distractors too",
        junk=SAME_CAMERA,
        gallery_modality="video",
        needs_cameras=False,
        from_frames=True,
    ),
)
