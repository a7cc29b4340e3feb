"""M by GrabCut: the embedded interactive segmenter, which needs no weights.

Shapes: H, W of a crop; h, w of the reduced image that is cut; n = 17 COCO keypoints.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from vills.areas import AREA_KEYPOINTS, AREAS, KEYPOINTS
from vills.lse.body_shape import Places
from vills.lse.crop import Crop, Floats, Image, Labels, Mask, compute_mask_iou
from vills.lse.segmenter import AreaMask, AreaMasks, has_positive

# Graph cuts grow faster than the image; masks of larger crops are cut small and enlarged.
WORK_SIDE = 128
# Factors on the body's usual radii: surely inside (legs are thin and swing, so only their axis is
# sure, while a head fills its place), probably inside, and not surely outside.
CORE = {"head": 0.75, "upper_body": 0.5, "lower_body": 0.15}
BODY = 1.05
REACH = {"head": 2.5, "upper_body": 2.0, "lower_body": 2.0}
ROUNDS = 1  # more find nothing better


class GrabCutSegmenter:
    """Positive points and the limbs between them are foreground, negative ones background.

    Two cuts: the person against the surroundings, once per crop, with every positive keypoint of
    every area as foreground; then each area against the rest of the person, whose colour models it
    starts from. Radii come from the person's own scale (`vills.lse.body_shape`). GrabCut draws
    random numbers to start the first models: they are seeded by record, so that a mask does not
    depend on what was cut before it.
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
    places = Places((points * scale).astype(np.float32), size=size)
    positive: Mask = np.any([v == 1 for v in prompts.values()], axis=0)
    person = _cut_person(image, places, valid=positive, areas=list(prompts), seed=crop.seed)
    found: AreaMasks = {}
    for area, prompt in prompts.items():
        cut = _cut_area(image, places, area=area, labels=prompt, person=person, seed=crop.seed)
        large = cv2.resize(
            cut.mask.astype(np.float32),
            (crop.width, crop.height),
            interpolation=cv2.INTER_LINEAR,
        )
        found[area] = AreaMask(mask=large >= 0.5, score=cut.score)
    return found


_Models = tuple[np.ndarray, np.ndarray]
"""GrabCut's colours of background and foreground, [1, 65] each; zeros before they are learned."""


def _cut_person(
    image: Image, places: Places, *, valid: Mask, areas: list[str], seed: int
) -> tuple[Mask, _Models]:
    """Separate the person from the surroundings: its mask, and the colours that tell them apart."""
    trimap = np.full(places.size, cv2.GC_BGD, np.uint8)
    for area in areas:
        trimap[places.draw(area, valid=valid, grow=REACH[area], reach=True)] = cv2.GC_PR_BGD
    for area in areas:
        trimap[places.draw(area, valid=valid, grow=BODY)] = cv2.GC_PR_FGD
    for area in areas:
        trimap[places.draw(area, valid=valid, grow=CORE[area])] = cv2.GC_FGD
    models = np.zeros((1, 65)), np.zeros((1, 65))
    return _grab(image, trimap, models=models, seed=seed), models


def _cut_area(
    image: Image,
    places: Places,
    *,
    area: str,
    labels: Labels,
    person: tuple[Mask, _Models],
    seed: int,
) -> AreaMask:
    """Separate an area from the rest of the person, from its own prompt v^a alone."""
    body, colours = person
    inside = np.array([name in AREA_KEYPOINTS[area] for name in KEYPOINTS])
    # A keypoint of the area that the prompt denies (literal eq. 4) must not shape the area.
    valid: Mask = np.where(inside, labels == 1, labels == 0)
    trimap = np.full(places.size, cv2.GC_BGD, np.uint8)
    reach = places.draw(area, valid=valid, grow=REACH[area], reach=True)
    trimap[reach & body] = cv2.GC_PR_BGD
    expected = places.draw(area, valid=valid, grow=BODY)
    trimap[expected & body] = cv2.GC_PR_FGD
    core = places.draw(area, valid=valid, grow=CORE[area])
    trimap[core] = cv2.GC_FGD
    for other in AREAS:
        if other != area:
            away = places.draw(other, valid=valid, grow=CORE[other])
            # An arm before the legs stays an arm: positive limbs win over negative ones.
            trimap[away & ~core] = cv2.GC_BGD
    denied = inside & (labels == 0)
    trimap[places.draw_discs(denied, valid=valid, grow=CORE[area])] = cv2.GC_BGD
    # The person's colours sort the pixels; the area's own are then learned from its map.
    models = colours[0].copy(), colours[1].copy()
    mask = _keep_cores(_grab(image, trimap, models=models, seed=seed), core)
    return AreaMask(mask=mask, score=compute_mask_iou(mask, expected))


def _grab(image: Image, trimap: np.ndarray, *, models: _Models, seed: int) -> Mask:
    """Run GrabCut from a map of sure and probable pixels.

    Args:
        image: [H, W, 3].
        trimap: [H, W].
        models: where to start from; learned in place.
        seed: for models that are zeros and have to be found first.
    """
    foreground = _is_foreground(trimap)
    # Its colour models need pixels of both kinds; without them the map itself is the answer.
    if foreground.all() or np.count_nonzero(foreground) < 8:
        return foreground
    mode = cv2.GC_EVAL if models[0].any() else cv2.GC_INIT_WITH_MASK
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    result = trimap.copy()
    cv2.grabCut(image, result, (0, 0, 1, 1), *models, ROUNDS, mode)
    return _is_foreground(result)


def _is_foreground(trimap: np.ndarray) -> Mask:
    foreground: Mask = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return foreground


def _keep_cores(mask: Mask, core: Mask) -> Mask:
    """Drop islands that hold no core, and fill holes of a few pixels."""
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, parts = cv2.connectedComponents(closed, connectivity=8)
    kept = np.zeros(count, np.bool_)
    kept[parts[core]] = True
    kept[0] = False  # what is not in the mask
    result: Mask = kept[parts]
    return result
