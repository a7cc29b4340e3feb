"""Real people (skipped without VILLS_REAL_DATA): a real K on real crops."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from vills.areas import AREAS
from vills.config.lse import LseConfig
from vills.data.images import decode_image
from vills.lse.crop import Crop
from vills.lse.keypoints import KeypointDetector, build_prompt
from vills.lse.parts import build_keypoint_detector
from vills.lse.quality import check_crops
from vills.lse.segmenter_grabcut import GrabCutSegmenter

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not os.environ.get("VILLS_REAL_DATA"), reason="VILLS_REAL_DATA names no folder"
    ),
]
# Falloff of each keypoint in COCO's object keypoint similarity.
SIGMAS = np.array(
    [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89], np.float64
)
SIGMAS /= 1000


@pytest.fixture(scope="module")
def real() -> Path:
    return Path(os.environ["VILLS_REAL_DATA"]).resolve()


@pytest.fixture(scope="module")
def detector(real: Path) -> KeypointDetector:
    config = LseConfig(
        keypoint_detector="onnx",
        keypoint_weights="ultralight_simplepose_coco17.onnx",
        keypoint_convention="imagenet",
    )
    return build_keypoint_detector(config, root=None, weights=real / "weights")


def compute_oks(found: np.ndarray, truth: np.ndarray, area: float) -> float:
    seen = truth[:, 2] > 0
    distance = ((found - truth[:, :2]) ** 2).sum(axis=1)
    return float(np.exp(-distance / (2 * area * (2 * SIGMAS) ** 2))[seen].mean())


def test_simplepose_on_coco_people(real: Path, detector: KeypointDetector) -> None:
    folder = real / "keypoints" / "mmpose" / "coco"
    labels = json.loads((folder / "test_coco.json").read_text())
    names = {image["id"]: image["file_name"] for image in labels["images"]}
    crops, people = [], []
    for person in labels["annotations"]:
        if not person["num_keypoints"]:
            continue
        image = decode_image((folder / names[person["image_id"]]).read_bytes())
        x, y, width, height = person["bbox"]
        x1, y1 = max(0, round(x)), max(0, round(y))
        cut = image[y1 : round(y + height), x1 : round(x + width)]
        box = (x1, y1, x1 + cut.shape[1], y1 + cut.shape[0])
        crops.append(Crop(cut, "r", 0, "p", 0, box))
        people.append(person)
    similarities = []
    for crop, found, person in zip(crops, detector.detect(crops), people, strict=True):
        points = found.points + np.array(crop.box[:2])
        truth = np.array(person["keypoints"], np.float64).reshape(17, 3)
        similarities.append(compute_oks(points, truth, person["area"]))
    assert len(similarities) == 12
    assert np.mean(similarities) >= 0.749  # the figure of a plain script; .83 here


def test_real_crops_pass_and_bad_ones_are_refused(real: Path, detector: KeypointDetector) -> None:
    images = [decode_image(f.read_bytes()) for f in sorted((real / "reid/pku").glob("*.jpg"))[::16]]
    config = LseConfig(area_threshold=dict.fromkeys(AREAS, 0.3))

    def find(images: list[np.ndarray]) -> list[str]:
        crops = [
            Crop(np.ascontiguousarray(image, np.uint8), "r", 0, "p", 0, (0, 0, 48, 128))
            for image in images
        ]
        found = detector.detect(crops)
        return check_crops(crops, found=found, detector=detector, config=config)

    num = len(images)
    assert find([*images]).count("") >= 0.95 * num
    assert find([image[::-1, ::-1] for image in images]).count("upside_down") >= 0.8 * num
    blurred = [cv2.GaussianBlur(image, (0, 0), 128 / 25) for image in images]
    assert find([np.asarray(image) for image in blurred]).count("blurred") >= 0.9 * num


def test_masks_of_surveillance_crops(real: Path, detector: KeypointDetector) -> None:
    files = sorted((real / "reid" / "pku").glob("*.jpg"))[::40]
    crops = [
        Crop(decode_image(f.read_bytes()), f.stem, 0, f.name, 0, (0, 0, 48, 128)) for f in files
    ]
    keypoints = detector.detect(crops)
    labels = [
        {
            area: build_prompt(
                k.points,
                scores=k.scores,
                area=area,
                threshold=0.3,
                low_confidence="ignore",
                size=(crop.height, crop.width),
            )
            for area in AREAS
        }
        for crop, k in zip(crops, keypoints, strict=True)
    ]
    found = GrabCutSegmenter().segment(crops, points=[k.points for k in keypoints], labels=labels)
    for area, (low, high) in {
        "head": (0.02, 0.16),
        "upper_body": (0.10, 0.45),
        "lower_body": (0.08, 0.45),
    }.items():
        shares = [masks[area].mask.mean() for masks in found if area in masks]
        assert len(shares) >= 0.9 * len(files)
        assert low < np.median(shares) < high
    heights = {
        area: np.median([np.nonzero(m[area].mask)[0].mean() for m in found if area in m])
        for area in AREAS
    }
    assert heights["head"] < heights["upper_body"] < heights["lower_body"]
