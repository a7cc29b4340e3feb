"""The usable keypoints of a person, and what follows from them: scale, pelvis, middle of the skull.

Shapes: n = 17 COCO keypoints.
"""

from dataclasses import dataclass

import numpy as np

from vills.areas import AREA_KEYPOINTS, KEYPOINTS
from vills.lse.crop import Floats, Mask

INDEX = {name: i for i, name in enumerate(KEYPOINTS)}
HEAD = [INDEX[name] for name in AREA_KEYPOINTS["head"]]
SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
EARS = [INDEX["left_ear"], INDEX["right_ear"]]
EYES = [INDEX["left_eye"], INDEX["right_eye"]]


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The keypoints of one crop that may be trusted, and the scale of the person."""

    points: Floats
    """[n, 2] px."""
    valid: Mask
    """[n] whether the keypoint may be used."""
    torso: float
    """Torso length, px."""

    def middle(self, indices: list[int]) -> Floats | None:
        """Average the usable ones of some keypoints."""
        chosen = [i for i in indices if self.valid[i]]
        result: Floats | None = self.points[chosen].mean(axis=0) if chosen else None
        return result

    def find_pelvis(self) -> Floats | None:
        """Average the hips, or look for them a torso length below the shoulders."""
        hips, shoulders = self.middle(HIPS), self.middle(SHOULDERS)
        if hips is not None or shoulders is None:
            return hips
        result: Floats = shoulders + np.array([0.0, self.torso], np.float32)
        return result

    def find_head(self) -> Floats | None:
        """Estimate the middle of the skull, which the face is in front of when seen from the side.

        Both ears have it between them. With fewer, the turn of the head is unknown, and the axis
        of the body helps out; the weights were fitted on rendered walkers seen from all sides.
        """
        face, ears, eyes = (self.middle(part) for part in (HEAD, EARS, EYES))
        if face is None:
            return None
        if self.valid[EARS].all():
            return ears
        shoulders = self.middle(SHOULDERS)
        axis = face if shoulders is None else np.array([shoulders[0], face[1]], np.float32)
        if ears is None or self.valid[EYES].all():
            return 0.72 * face + 0.28 * axis
        if eyes is None:
            return 0.5 * ears + 0.5 * axis
        return 0.75 * np.array([ears[0], face[1]], np.float32) + 0.25 * axis


def build_skeleton(points: Floats, *, valid: Mask, height: int) -> Skeleton:
    """Estimate the person's scale from whichever keypoints are usable.

    Args:
        points: [n, 2] px.
        valid: [n] usable keypoints.
        height: height of the crop, px; the last resort for the scale.
    """
    draft = Skeleton(points=points, valid=valid, torso=1.0)
    guesses = []
    shoulders, hips = draft.middle(SHOULDERS), draft.middle(HIPS)
    knees = draft.middle([INDEX["left_knee"], INDEX["right_knee"]])
    ankles = draft.middle([INDEX["left_ankle"], INDEX["right_ankle"]])
    face = draft.middle(HEAD)
    # Vertical extents of an upright adult, in torso lengths; the median forgives one bad keypoint.
    for above, below, extent in (
        (shoulders, hips, 1.0),
        (hips, knees, 0.8),
        (knees, ankles, 0.8),
        (face, shoulders, 0.45),
    ):
        if above is not None and below is not None:
            guesses.append(float(np.linalg.norm(below - above)) / extent)
    torso = float(np.median(guesses)) if guesses else 0.28 * height
    return Skeleton(points=points, valid=valid, torso=float(np.clip(torso, 4.0, 0.5 * height)))
