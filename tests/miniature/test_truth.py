"""Truth fits the pictures; predictions fit the truth as a detector's would."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pycocotools.mask as coco
import pytest

from vills.areas import AREA_KEYPOINTS, AREAS, KEYPOINTS
from vills.config.miniature import MiniatureConfig
from vills.miniature import sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.canvas import Instance
from vills.miniature.people import build_actor
from vills.miniature.person import Group
from vills.miniature.predictions import parse, sample_clutter, sample_predictions
from vills.miniature.scene import HEIGHT, WIDTH, render_frame, sample_walkers

pytestmark = pytest.mark.slow

DATASETS = MiniatureConfig().datasets
Frames = list[list[Instance]]


def decode(row: dict[str, Any], area: str) -> np.ndarray:
    size = [row["height"], row["width"]]
    return coco.decode({"size": size, "counts": row[f"mask_{area}"]}).astype(bool)


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Instances of a few scenes in which people pass each other."""
    found: Frames = []
    for scene in range(4):
        rng = sample_rng(7, scene)
        actors = [build_actor(0, Group.PRETRAIN, scene * 3 + k, k, person=k) for k in range(3)]
        walkers, camera = sample_walkers(actors, rng), build_camera(0, 300 + scene)
        for time in np.linspace(-1.2, 1.2, 8):
            found.append(render_frame(camera, walkers, rng, time=float(time))[1])
    return found


@pytest.mark.parametrize("name", DATASETS)
def test_areas_are_disjoint_and_inside_the_box(world: Path, name: str) -> None:
    rows = pq.read_table(world / "truth" / f"{name}.parquet").to_pylist()
    assert rows
    for row in rows:
        masks = [decode(row, area) for area in AREAS]
        assert np.sum(masks, axis=0).max() <= 1
        union = np.any(masks, axis=0)
        y, x = np.nonzero(union)
        if len(x):
            assert x.min() >= row["x1"] - 1
            assert y.min() >= row["y1"] - 1
            assert x.max() <= row["x2"]
            assert y.max() <= row["y2"]
        assert 0 <= row["visible"] <= 1
        assert 0 <= row["x1"] < row["x2"] <= row["width"]
        assert 0 <= row["y1"] < row["y2"] <= row["height"]


@pytest.mark.parametrize("name", DATASETS)
def test_rows_name_files_that_exist_in_order(world: Path, name: str) -> None:
    tables = {
        "truth": world / "truth" / f"{name}.parquet",
        "detections": world / name / "predictions" / "detections.parquet",
        "parsing": world / name / "predictions" / "parsing.parquet",
    }
    for path in tables.values():
        rows = pq.read_table(path, columns=["path", "frame"]).to_pylist()
        keys = [(row["path"], row["frame"]) for row in rows]
        assert keys == sorted(keys)
        assert all((world / name / file).is_file() for file, _ in set(keys))


def test_seen_keypoints_lie_on_their_area(frames: Frames) -> None:
    hits = []
    for instance in (i for found in frames for i in found):
        for area, names in AREA_KEYPOINTS.items():
            mask = instance.areas[area]
            for name in names:
                x, y, seen = instance.keypoints[KEYPOINTS.index(name)]
                if seen and not name.endswith("hip"):  # hips lie under the hem of the shirt
                    near = mask[max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3]
                    hits.append(near.any())
    assert len(hits) > 200
    assert np.mean(hits) > 0.97


def test_who_is_behind_is_less_visible(frames: Frames) -> None:
    shares = [i.visible for found in frames for i in found]
    assert min(shares) < 0.6
    assert np.median(shares) > 0.9


def test_faces_are_hidden_from_behind() -> None:
    from vills.miniature.crop import render_crop, sample_shot

    actor = build_actor(0, Group.TEST, 0, 0, person=1)
    seen = {}
    for index, side in ((0, "front"), (3, "back")):
        rng = sample_rng(1, index)
        shot = sample_shot(build_camera(0, index), (128, 64), rng, spread=0.0)
        _, instances = render_crop(shot, actor, rng, time=0.0, jitter=0.0)
        seen[side] = instances[0].keypoints[KEYPOINTS.index("nose"), 2]
    assert seen == {"front": 1.0, "back": 0.0}


def score_detections(frames: Frames, threshold: float) -> tuple[float, float]:
    """Recall of people in plain view, and false alarms per frame."""
    hits, false, people = 0, 0, 0
    clutter = sample_clutter(sample_rng(3), height=HEIGHT, width=WIDTH, count=2)
    for number, found in enumerate(frames * 4):
        rng = sample_rng(4, number)
        said = sample_predictions(found, rng, height=HEIGHT, width=WIDTH, clutter=clutter)
        boxes = np.array([d.box for d in said if d.score >= threshold]).reshape(-1, 4)
        true = np.array([i.box for i in found]).reshape(-1, 4)
        wide, to_wide = boxes.copy(), true.copy()
        for box in (wide, to_wide):
            box[:, 2:] -= box[:, :2]
        overlap = np.zeros((len(boxes), len(true)))
        if len(boxes) and len(true):
            overlap = np.asarray(coco.iou(wide, to_wide.astype(float), [0] * len(true)))
        plain = [k for k, i in enumerate(found) if i.visible > 0.85]
        people += len(plain)
        hits += int((overlap[:, plain].max(axis=0, initial=0) > 0.5).sum())
        false += int((overlap.max(axis=1, initial=0) < 0.3).sum())
    return hits / people, false / (len(frames) * 4)


def test_threshold_of_the_paper_keeps_people_and_drops_clutter(frames: Frames) -> None:
    recall, false = score_detections(frames, 0.8)
    loose_recall, loose_false = score_detections(frames, 0.3)
    strict_recall, _ = score_detections(frames, 0.97)
    assert recall > 0.9
    assert false < 0.1
    assert loose_recall >= recall
    assert loose_false > 5 * max(false, 0.02)
    assert strict_recall < 0.5


def test_scores_and_keypoints_tell_hidden_from_seen(frames: Frames) -> None:
    error: dict[bool, list[float]] = {True: [], False: []}
    scores: dict[bool, list[float]] = {True: [], False: []}
    for number, found in enumerate(frames):
        for k, instance in enumerate(found):
            said = sample_predictions(
                [instance], sample_rng(5, number, k), height=HEIGHT, width=WIDTH
            )
            if not said:
                continue
            tall = instance.box[3] - instance.box[1]
            for true, guess in zip(instance.keypoints, said[0].keypoints, strict=True):
                if not (0 <= true[0] < WIDTH and 0 <= true[1] < HEIGHT):
                    continue
                seen = bool(true[2])
                error[seen].append(float(np.hypot(*(true[:2] - guess[:2])) / tall))
                scores[seen].append(float(guess[2]))
    assert np.mean(scores[True]) > 0.8
    assert np.mean(scores[False]) < 0.5
    assert np.median(error[False]) > 3 * np.median(error[True])


def test_parsing_is_close_but_not_exact(frames: Frames) -> None:
    overlaps = []
    for number, found in enumerate(frames):
        masks = parse(found, sample_rng(6, number), height=HEIGHT, width=WIDTH)
        for area in AREAS:
            true = np.any([i.areas[area] for i in found], axis=0)
            overlaps.append(np.sum(true & masks[area]) / max(1, np.sum(true | masks[area])))
    assert 0.55 < np.mean(overlaps) < 0.9
