"""Market-1501 (Zheng et al., ICCV 2015), as torchreid, fast-reid, PASS and TransReID score it."""

from vills.evaluation.protocols.plain import SAME_CAMERA
from vills.evaluation.protocols.retrieval import RetrievalProtocol

PROTOCOLS = (
    RetrievalProtocol(
        name="market1501",
        title="Market-1501, single query",
        source="Zheng et al., ICCV 2015; torchreid metrics/rank.py",
        query="query",
        gallery="bounding_box_test with distractors (pid 0)",
        junk=SAME_CAMERA,
    ),
)
