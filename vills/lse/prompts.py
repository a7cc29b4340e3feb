"""Prompts of the interactive segmenter: the indicator v^a of eq. 2, filtered by tau^a (eq. 4).

Shapes: n = 17 COCO keypoints.
"""

import numpy as np

from vills.areas import AREA_KEYPOINTS, KEYPOINTS
from vills.lse.crop import Floats, Labels

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def build_prompt(
    points: Floats,
    *,
    scores: Floats,
    area: str,
    threshold: float,
    low_confidence: str,
    size: tuple[int, int],
) -> Labels:
    """Label every keypoint for one area: 1 positive, 0 negative, -1 not a point (eq. 2, 4).

    Eq. 4 read to the letter gives v = 0 to a keypoint at or below tau, and M takes 0 for a negative
    point: an uncertain left wrist would then push the left wrist OUT of the upper body. The default
    (`low_confidence` = ignore) leaves such points out of the prompt, which is what the paper's
    text asks for ("filter"); `negative` is the literal reading. A point outside the image, or not
    finite, has no pixel to speak for and is left out in both.

    Args:
        points: [n, 2] px of the crop.
        scores: [n] confidence of K.
        area: one of `vills.areas.AREAS`.
        threshold: tau^a; a keypoint counts when its score is greater.
        low_confidence: ignore or negative.
        size: (height, width) of the crop.

    Returns:
        int8 [n].
    """
    inside = np.array([name in AREA_KEYPOINTS[area] for name in KEYPOINTS])
    confident = scores > threshold
    uncertain = NEGATIVE if low_confidence == "negative" else IGNORED
    labels = np.where(confident, np.where(inside, POSITIVE, NEGATIVE), uncertain)
    height, width = size
    # NaN compares false with everything, so a non-finite point is not on the image either.
    x, y = points[:, 0], points[:, 1]
    on_image = (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    result: Labels = np.where(on_image, labels, IGNORED).astype(np.int8)
    return result
