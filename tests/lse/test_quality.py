"""Gates of quality: blurred, turned, of somebody else, or beside its keypoints."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest

from vills.areas import KEYPOINTS
from vills.config.lse import LseConfig
from vills.lse.crop import Crop, Image
from vills.lse.keypoints import Keypoints
from vills.lse.quality import (
    check_crops,
    compute_sharpness,
    find_mask_fault,
    find_pose_fault,
)

SIZE = (128, 64)
HEIGHTS = {"nose": 10, "eye": 8, "ear": 9, "shoulder": 28, "elbow": 44, "wrist": 58}
HEIGHTS |= {"hip": 62, "knee": 90, "ankle": 118}


def _stand(*, score: float = 0.8) -> Keypoints:
    """A person who faces the camera in a crop of 128 x 64."""
    points = []
    for name in KEYPOINTS:
        side, _, part = name.rpartition("_")
        x = 32 + {"left": 8, "right": -8, "": 0}[side]
        points.append((x, HEIGHTS[part]))
    return Keypoints(np.array(points, np.float32), np.full(17, score, np.float32))


def _turn(k: Keypoints) -> Keypoints:
    return Keypoints(np.array([63, 127], np.float32) - k.points, k.scores)


def _draw() -> Image:
    rng = np.random.default_rng(0)
    image = np.full((*SIZE, 3), 90, np.uint8)
    image[20:62, 16:48] = rng.integers(60, 200, (42, 32, 1), dtype=np.uint8)
    image[62:120, 20:44] = (30, 40, 120)
    return image


def _blur(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), len(image) / 25), np.uint8)


@pytest.mark.parametrize("height", [64, 128, 400])
def test_sharpness_tells_blurred_crops_at_any_size(height: int) -> None:
    size = (height // 2, height)
    image: Image = np.asarray(cv2.resize(_draw(), size, interpolation=cv2.INTER_AREA), np.uint8)
    dim = (image // 3 + 60).astype(np.uint8)
    least = LseConfig().min_sharpness
    assert compute_sharpness(image) > 2 * least
    assert compute_sharpness(dim) == pytest.approx(compute_sharpness(image), rel=0.1)
    assert compute_sharpness(_blur(image)) < least
    assert compute_sharpness(np.full_like(image, 7)) == 0


def _find(k: Keypoints) -> str:
    return find_pose_fault(k, tau=0.5, least=0.25, size=SIZE)


def test_faults_of_a_pose() -> None:
    stand = _stand()
    assert _find(stand) == ""
    assert _find(_turn(stand)) == "upside_down"
    assert _find(Keypoints(stand.points + np.float32(60), stand.scores)) == "outside"
    assert _find(Keypoints(stand.points, np.where(np.arange(17) < 4, 0.8, 0.1))) == "few_keypoints"


def test_who_lies_bends_or_is_cut_off_is_no_fault() -> None:
    stand = _stand()
    lying = (stand.points - [32, 64])[:, ::-1] * [0.5, -1] + [32, 64]
    assert _find(Keypoints(lying.astype(np.float32), stand.scores)) == ""
    bent = stand.points.copy()
    bent[:5, 1] = 80  # a head below the hips, above the feet
    assert _find(Keypoints(bent, stand.scores)) == ""
    upper = np.array([not name.endswith(("hip", "knee", "ankle")) for name in KEYPOINTS])
    assert _find(Keypoints(stand.points, np.where(upper, 0.8, 0.1))) == ""


@dataclass
class _Network:
    """K that knows upright people: sure of `answers[0]`, and of turned crops of `answers[1]`."""

    answers: tuple[float, float]
    asked: list[Image] = field(default_factory=list)

    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        self.asked += [crop.image for crop in crops]
        return [_stand(score=self.answers[1]) for _ in crops]


@pytest.mark.parametrize(
    ("answers", "fault", "asked"),
    [
        ((0.3, 0.7), "upside_down", 1),
        ((0.3, 0.35), "", 1),  # unsure both ways
        ((0.44, 0.5), "", 1),
        ((0.7, 0.9), "", 0),  # sure enough: not asked
    ],
)
def test_a_network_is_asked_about_the_turned_crop(
    answers: tuple[float, float], fault: str, asked: int
) -> None:
    crop = Crop(_draw(), "r", 0, "p", 0, (0, 0, 64, 128))
    network = _Network(answers)
    config = LseConfig(area_threshold=dict.fromkeys(LseConfig().area_threshold, 0.2))
    found = [_stand(score=answers[0])]
    assert check_crops([crop], found=found, detector=network, config=config) == [fault]
    assert len(network.asked) == asked
    for image in network.asked:
        np.testing.assert_array_equal(image, crop.image[::-1, ::-1])


def test_a_blurred_crop_has_no_masks_whatever_segments_it() -> None:
    image = _blur(_draw())
    crop = Crop(image, "r", 0, "p", 0, (0, 0, 64, 128))
    for segmenter in ("grabcut", "parsing"):
        config = LseConfig(segmenter=segmenter)
        found = check_crops([crop], found=[_stand()], detector=_Network((0, 0)), config=config)
        assert found == ["blurred"]
    nobody = check_crops(
        [Crop(image, "r", 0, "p", 0, (0, 0, 64, 128))],
        found=[Keypoints.missing()],
        detector=_Network((0, 0)),
        config=LseConfig(),
    )
    assert nobody == [""]


def test_a_mask_beside_its_keypoints_is_not_kept() -> None:
    k = _stand()
    inside = np.array([name.endswith(("hip", "knee", "ankle")) for name in KEYPOINTS])
    labels = inside.astype(np.int8)
    mask = np.zeros(SIZE, np.bool_)
    mask[60:120, 20:44] = True
    assert find_mask_fault(mask, points=k.points, labels=labels) == ""
    assert find_mask_fault(np.roll(mask, 30, axis=1), points=k.points, labels=labels) != ""
    assert find_mask_fault(mask[::-1], points=k.points, labels=labels) == "off_keypoints"
    body = np.zeros(SIZE, np.bool_)
    body[4:120, 18:46] = True  # the whole person for the legs
    assert find_mask_fault(body, points=k.points, labels=labels) == "off_keypoints"
    assert find_mask_fault(~body, points=k.points, labels=labels) == "off_keypoints"
    everything = np.ones(SIZE, np.bool_)
    assert find_mask_fault(everything, points=k.points, labels=labels) == "too_large"
