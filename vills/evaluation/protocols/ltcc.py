"""LTCC (Qian et al., ACCV 2020), its three modes as CAL's `evaluate_with_clothes` has them.

All queries and the whole gallery take part in each mode; what differs is which images of the
query's own person are junk.
"""

from vills.evaluation.protocols.base import FeatureChoice
from vills.evaluation.protocols.plain import SAME_CAMERA
from vills.evaluation.protocols.retrieval import RetrievalProtocol
from vills.evaluation.ranking import ltcc_cloth_changing, ltcc_same_clothes

SOURCE = "Qian et al., ACCV 2020; CAL (Gu et al., CVPR 2022) tools/eval_metrics.py"
QUERY, GALLERY = "query, all", "test, all"
FEATURE = FeatureChoice(flip=True)

PROTOCOLS = (
    RetrievalProtocol(
        name="ltcc_standard",
        title="LTCC, standard (general)",
        source=SOURCE,
        query=QUERY,
        gallery=GALLERY,
        junk=SAME_CAMERA,
        feature=FEATURE,
    ),
    RetrievalProtocol(
        name="ltcc_cloth_changing",
        title="LTCC, cloth-changing (CAL)",
        source=SOURCE,
        query=QUERY,
        gallery=GALLERY,
        junk="same person in the same camera or the same clothes; pid -1",
        feature=FEATURE,
        junk_rule=ltcc_cloth_changing,
        needs_clothes=True,
    ),
    RetrievalProtocol(
        name="ltcc_same_clothes",
        title="LTCC, same clothes (CAL)",
        source=SOURCE,
        query=QUERY,
        gallery=GALLERY,
        junk="same person in the same camera or other clothes; pid -1",
        feature=FEATURE,
        junk_rule=ltcc_same_clothes,
        needs_clothes=True,
    ),
)
