"""Gates of quality: which crops and masks are too bad to teach anything, and why.

Shapes: H, W of a crop; n = 17 COCO keypoints.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from vills.config.lse import LseConfig
from vills.lse.crop import Crop, Floats, Image, Labels, Mask
from vills.lse.keypoints import NEGATIVE, POSITIVE, KeypointDetector, Keypoints
from vills.lse.skeleton import HEAD, HIPS, INDEX, SHOULDERS

CROP_FAULTS = ("blurred", "few_keypoints", "outside", "upside_down")
"""Why a crop gets no mask at all, in the order in which it is asked."""
MASK_FAULTS = ("off_keypoints", "too_large")
"""Why a mask is not kept."""
SHARPNESS_HEIGHT = 128
SHARPNESS_SIGMA = 2.0  # px at that height
LEAST_INSIDE = 0.5
"""Of confident keypoints, the share that must lie in the crop; of an area's, in its mask."""
ERROR = 0.04
"""Share of the crop's height by which a keypoint may lie beside the part that it names."""
LARGEST_MASK = 0.75
"""Share of the crop; an upper body fills at most half of one."""
WEAK = 0.45
"""Mean confidence below which K is asked again, about the crop turned by half."""
SURER = 1.3
"""How much surer K must be of the turned crop."""
_TOPS = (HEAD, SHOULDERS)
_ENDS = ([INDEX["left_ankle"], INDEX["right_ankle"]], [INDEX["left_knee"], INDEX["right_knee"]])
_BOTTOMS = (*_ENDS, HIPS)


def compute_sharpness(image: Image) -> float:
    """Compute the share of an image's contrast that lies in its fine detail, 0 to 1.

    The same at any size and contrast: the deviation of what a Gaussian of 1/64 of the height takes
    away, over the deviation of all. Crops of street cameras have .18 and more, the same crops
    smoothed by 1/25 of their height at most .1. [H, W, 3] uint8.
    """
    height, width = image.shape[:2]
    scale = SHARPNESS_HEIGHT / height
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    size = (max(8, round(width * scale)), SHARPNESS_HEIGHT)
    small = cv2.resize(grey, size, interpolation=method).astype(np.float32)
    detail = small - cv2.GaussianBlur(small, (0, 0), SHARPNESS_SIGMA)
    return float(detail.std() / max(float(small.std()), 1.0))


def check_crops(
    crops: Sequence[Crop],
    *,
    found: Sequence[Keypoints],
    detector: KeypointDetector,
    config: LseConfig,
) -> list[str]:
    """Name the fault of each crop with its keypoints, one of CROP_FAULTS, or nothing.

    A crop in which K found nobody has no fault. Parsing maps need no keypoints.
    """
    tau = min(config.area_threshold.values())
    faults = []
    for crop, k in zip(crops, found, strict=True):
        fault = "blurred" if compute_sharpness(crop.image) < config.min_sharpness else ""
        if not fault and config.segmenter != "parsing" and not k.is_missing:
            size = (crop.height, crop.width)
            fault = find_pose_fault(k, tau=tau, least=config.min_keypoints, size=size)
        faults.append("" if k.is_missing else fault)
    if config.segmenter != "parsing":
        _check_turned(crops, found=found, detector=detector, faults=faults)
    return faults


def find_pose_fault(k: Keypoints, *, tau: float, least: float, size: tuple[int, int]) -> str:
    """Name the fault of a pose in a crop of `size` (H, W), or nothing.

    Keypoints count from a confidence above `tau`; at least the share `least` of all has to.
    """
    confident = k.scores > tau
    if confident.mean() < least:
        return "few_keypoints"
    inside = ((k.points >= 0) & (k.points <= np.array(size[::-1]) - 1)).all(axis=1)
    if np.count_nonzero(inside & confident) < LEAST_INSIDE * np.count_nonzero(confident):
        return "outside"
    top, bottom = (_find_middle(k.points, confident, parts) for parts in (_TOPS, _BOTTOMS))
    if top is not None and bottom is not None:
        across, down = bottom - top
        if down < -0.5 * float(np.hypot(across, down)):
            return "upside_down"
    return ""


def find_mask_fault(mask: Mask, *, points: Floats, labels: Labels) -> str:
    """Name the fault of an area's mask [H, W] that `points` [n, 2] prompted, or nothing.

    Most of the positive keypoints lie in it, or beside it by no more than K errs; most of the
    negative ones do not. Refused heads of the rendered world have an overlap with the truth of .13
    to .22 on average, kept ones .61 to .64.
    """
    if mask.mean() > LARGEST_MASK:
        return "too_large"
    height, width = mask.shape
    x, y = (
        np.clip(np.round(points[:, i]), 0, side - 1).astype(int)
        for i, side in ((0, width), (1, height))
    )
    reach = 2 * max(1, round(ERROR * height)) + 1
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    for label, is_good in ((POSITIVE, grown[y, x]), (NEGATIVE, ~mask[y, x])):
        chosen = labels == label
        if chosen.any() and is_good[chosen].mean() < LEAST_INSIDE:
            return "off_keypoints"
    return ""


def _find_middle(points: Floats, confident: Mask, parts: Sequence[list[int]]) -> Floats | None:
    """Average the confident keypoints of the first of some parts that has any."""
    for part in parts:
        chosen = [i for i in part if confident[i]]
        if chosen:
            return np.asarray(points[chosen].mean(axis=0), dtype=np.float32)
    return None


def _check_turned(
    crops: Sequence[Crop],
    *,
    found: Sequence[Keypoints],
    detector: KeypointDetector,
    faults: list[str],
) -> None:
    """Name the crops that K knows better when they are turned by half.

    A network that learned from upright people puts a head on the feet of one who is not, or finds
    nothing: it is unsure then, as it is seldom of others.
    """
    weak = [i for i, k in enumerate(found) if faults[i] != "blurred" and k.scores.mean() < WEAK]
    turned = [
        replace(crops[i], image=np.ascontiguousarray(crops[i].image[::-1, ::-1])) for i in weak
    ]
    for i, k in zip(weak, detector.detect(turned) if turned else [], strict=True):
        if k.scores.mean() > max(SURER * float(found[i].scores.mean()), WEAK):
            faults[i] = "upside_down"
