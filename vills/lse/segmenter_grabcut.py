"""M by GrabCut: the embedded interactive segmenter, which needs no weights.

Shapes: H, W of a crop; h, w of the reduced image that is cut; n = 17 COCO keypoints.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vills.areas import AREA_KEYPOINTS, AREAS, KEYPOINTS
from vills.lse.body_shape import draw_area, draw_discs, draw_reach
from vills.lse.crop import Crop, Floats, Image, Labels, Mask, compute_mask_iou
from vills.lse.segmenter import AreaMask, AreaMasks, has_positive
from vills.lse.skeleton import Skeleton, build_skeleton

# Graph cuts grow faster than the image; masks of larger crops are cut small and enlarged.
WORK_SIDE = 128
# Factors on the body's usual radii: surely inside (legs are thin and swing, so only their axis is
# sure, while a head fills its place), probably inside, and not surely outside.
CORE = {"head": 0.75, "upper_body": 0.5, "lower_body": 0.15}
BODY = 1.05
REACH = {"head": 2.5, "upper_body": 2.0, "lower_body": 2.0}
PERSON_ROUNDS, AREA_ROUNDS = 2, 1


class GrabCutSegmenter:
    """Positive points and the limbs between them are foreground, negative ones background.

    Two cuts: the person against the surroundings, once per crop, with every positive keypoint of
    every area as foreground; then each area against the rest of the person. Radii come from the
    person's own scale (`vills.lse.body_shape`). GrabCut draws random numbers to start its colour
    models: they are seeded by record, so that a mask does not depend on what was cut before it.
    """

    def __init__(self) -> None:
        cv2.setNumThreads(1)  # more threads sum in another order

    def segment(
        self,
        crops: Sequence[Crop],
        *,
        points: Sequence[Floats],
        labels: Sequence[Mapping[str, Labels]],
    ) -> list[AreaMasks]:
        """Segment the areas of each crop; the score is the overlap with the expected shape."""
        return [
            _segment_one(crop, points=p, labels=v)
            for crop, p, v in zip(crops, points, labels, strict=True)
        ]


def _segment_one(crop: Crop, *, points: Floats, labels: Mapping[str, Labels]) -> AreaMasks:
    prompts = {area: v for area, v in labels.items() if has_positive(v)}
    if not prompts:
        return {}
    scale = min(1.0, WORK_SIDE / max(crop.height, crop.width))
    size = (max(1, round(crop.height * scale)), max(1, round(crop.width * scale)))
    resized = cv2.resize(crop.image, size[::-1], interpolation=cv2.INTER_AREA)
    # GrabCut's Gaussians sit better in a space where distance is visible difference.
    image = np.asarray(cv2.cvtColor(resized, cv2.COLOR_RGB2LAB), np.uint8)
    small = (points * scale).astype(np.float32)
    positive = np.any([v == 1 for v in prompts.values()], axis=0)
    body = build_skeleton(small, valid=positive, height=size[0])
    person = _cut_person(image, body, areas=list(prompts), seed=crop.seed)
    found: AreaMasks = {}
    for area, prompt in prompts.items():
        cut = _cut_area(image, small, area=area, labels=prompt, person=person, seed=crop.seed)
        large = cv2.resize(
            cut.mask.astype(np.float32),
            (crop.width, crop.height),
            interpolation=cv2.INTER_LINEAR,
        )
        found[area] = AreaMask(mask=large >= 0.5, score=cut.score)
    return found


def _cut_person(image: Image, body: Skeleton, *, areas: list[str], seed: int) -> Mask:
    """Separate the person from the surroundings, whatever the area."""
    size = (image.shape[0], image.shape[1])
    trimap = np.full(size, cv2.GC_BGD, np.uint8)
    for area in areas:
        trimap[draw_reach(body, area=area, size=size, grow=REACH[area])] = cv2.GC_PR_BGD
    for area in areas:
        trimap[draw_area(body, area=area, size=size, grow=BODY)] = cv2.GC_PR_FGD
    for area in areas:
        trimap[draw_area(body, area=area, size=size, grow=CORE[area])] = cv2.GC_FGD
    return _grab(image, trimap, rounds=PERSON_ROUNDS, seed=seed)


def _cut_area(
    image: Image, points: Floats, *, area: str, labels: Labels, person: Mask, seed: int
) -> AreaMask:
    """Separate an area from the rest of the person, from its own prompt v^a alone."""
    size = (image.shape[0], image.shape[1])
    inside = np.array([name in AREA_KEYPOINTS[area] for name in KEYPOINTS])
    # A keypoint of the area that the prompt denies (literal eq. 4) must not shape the area.
    skeleton = build_skeleton(
        points, valid=np.where(inside, labels == 1, labels == 0), height=size[0]
    )
    trimap = np.full(size, cv2.GC_BGD, np.uint8)
    trimap[draw_reach(skeleton, area=area, size=size, grow=REACH[area]) & person] = cv2.GC_PR_BGD
    expected = draw_area(skeleton, area=area, size=size, grow=BODY)
    trimap[expected & person] = cv2.GC_PR_FGD
    core = draw_area(skeleton, area=area, size=size, grow=CORE[area])
    trimap[core] = cv2.GC_FGD
    for other in AREAS:
        if other != area:
            away = draw_area(skeleton, area=other, size=size, grow=CORE[other])
            # An arm before the legs stays an arm: positive limbs win over negative ones.
            trimap[away & ~core] = cv2.GC_BGD
    trimap[draw_discs(skeleton, inside & (labels == 0), size=size, grow=CORE[area])] = cv2.GC_BGD
    mask = _keep_cores(_grab(image, trimap, rounds=AREA_ROUNDS, seed=seed), core)
    return AreaMask(mask=mask, score=compute_mask_iou(mask, expected))


def _grab(image: Image, trimap: np.ndarray, *, rounds: int, seed: int) -> Mask:
    """Run GrabCut from a map of sure and probable pixels."""
    foreground: Mask = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    # Its colour models need pixels of both kinds; without them the map itself is the answer.
    if foreground.all() or np.count_nonzero(foreground) < 8:
        return foreground
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    result = trimap.copy()
    cv2.grabCut(image, result, (0, 0, 1, 1), *models, rounds, cv2.GC_INIT_WITH_MASK)
    cut: Mask = (result == cv2.GC_FGD) | (result == cv2.GC_PR_FGD)
    return cut


def _keep_cores(mask: Mask, core: Mask) -> Mask:
    """Drop islands that hold no core, and fill holes of a few pixels."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(closed, connectivity=8)
    kept = np.unique(parts[core & closed.astype(bool)])
    result: Mask = np.isin(parts, kept[kept > 0])
    return result
