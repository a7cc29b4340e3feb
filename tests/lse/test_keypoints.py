import numpy as np
import pytest

from vills.areas import AREA_KEYPOINTS, AREAS, KEYPOINTS, NUM_KEYPOINTS
from vills.lse.keypoints import build_prompt

SIZE = (128, 64)


def build(
    scores: np.ndarray,
    *,
    area: str,
    tau: float = 0.5,
    points: np.ndarray | None = None,
    low_confidence: str = "ignore",
) -> np.ndarray:
    inside = np.full((NUM_KEYPOINTS, 2), 10.0, np.float32)
    return build_prompt(
        inside if points is None else points,
        scores=scores.astype(np.float32),
        area=area,
        threshold=tau,
        low_confidence=low_confidence,
        size=SIZE,
    )


@pytest.mark.parametrize("area", AREAS)
def test_prompt_equals_the_plain_loop_of_eq_4(area: str) -> None:
    scores = np.linspace(0.1, 0.9, NUM_KEYPOINTS)
    for low_confidence, uncertain in (("ignore", -1), ("negative", 0)):
        expected = []
        for name, score in zip(KEYPOINTS, scores, strict=True):
            if score <= 0.5:
                expected.append(uncertain)
            else:
                expected.append(1 if name in AREA_KEYPOINTS[area] else 0)
        labels = build(scores, area=area, low_confidence=low_confidence)
        assert labels.tolist() == expected
        assert labels.dtype == np.int8


def test_areas_share_no_positive_point() -> None:
    prompts = np.stack([build(np.ones(NUM_KEYPOINTS), area=area) for area in AREAS])
    assert ((prompts == 1).sum(axis=0) == 1).all()
    assert not (prompts == -1).any()


def test_score_equal_to_tau_does_not_pass() -> None:
    assert (build(np.full(NUM_KEYPOINTS, 0.5), area="head") == -1).all()
    assert (build(np.full(NUM_KEYPOINTS, 0.5), area="head", tau=0.49) >= 0).all()


@pytest.mark.parametrize("low_confidence", ["ignore", "negative"])
def test_points_off_the_image_or_not_finite_are_not_points(low_confidence: str) -> None:
    points = np.full((NUM_KEYPOINTS, 2), 10.0, np.float32)
    points[0] = (-0.5, 10)
    points[1] = (10, 127.5)
    points[2] = (63.5, 10)
    points[3] = (np.nan, 10)
    points[4] = (63, 127)
    scores = np.ones(NUM_KEYPOINTS)
    labels = build(scores, area="head", points=points, low_confidence=low_confidence)
    assert labels[:5].tolist() == [-1, -1, -1, -1, 1]
