"""Names that every floor shares: COCO-17 keypoints and the body areas built from them.

The paper does not name its three areas (supplement, reference 11 of our recipe notes): head,
upper body with arms, and lower body with legs are the reading taken here. AREAS is ordered so that
its prefixes are the nested sets of Table 2(a): |A| = 1, 2, 3.
"""

KEYPOINTS: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
NUM_KEYPOINTS = len(KEYPOINTS)

AREAS: tuple[str, ...] = ("upper_body", "lower_body", "head")

# Hips bound both halves of the body, so they prompt the lower body only: a prompt that is positive
# for two areas would make their masks overlap.
AREA_KEYPOINTS: dict[str, tuple[str, ...]] = {
    "head": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    "upper_body": (
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
        "left_wrist",
        "right_wrist",
    ),
    "lower_body": (
        "left_hip",
        "right_hip",
        "left_knee",
        "right_knee",
        "left_ankle",
        "right_ankle",
    ),
}
