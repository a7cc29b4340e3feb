import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torchvision.models import detection

from tests.curation.scenes import build_config, write_predictions
from tests.onnx_files import FLOAT, save_onnx
from vills.config.checks import ConfigError
from vills.config.convention import parse_convention
from vills.curation.detector import build_detector, compute_weights_digest
from vills.curation.detector_yolox import MIN_SCORE, NMS_IOU, YoloxDetector, select_boxes
from vills.curation.video import Frame, build_detections

RAW = "bgr 0-255 mean 0 std 1"


def _frame(height: int = 48, width: int = 96, number: int = 0) -> Frame:
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Frame("a.mp4", number, number / 25, image)


def _open(
    tmp_path: Path, output: np.ndarray, *, convention: str = RAW, side: int | str = 64
) -> tuple[YoloxDetector, list[np.ndarray]]:
    """A YOLOX-format model whose answer is given; and the list of what it will be asked."""
    path = save_onnx(
        tmp_path / "yolox.onnx",
        [("Add", ["half", "half"], ["output"], {})],
        inputs={"images": (FLOAT, [1, 3, side, side])},
        outputs={"output": (FLOAT, [1, *output.shape])},
        # weights are numbers; what is not comes of too large ones
        constants={"half": np.nan_to_num(output[None].astype(np.float32) / 2, nan=3e38)},
    )
    detector = YoloxDetector(path, convention=convention)
    asked: list[np.ndarray] = []
    model, run = detector._model, detector._model.run
    model.run = lambda values: asked.append(values) or run(values)  # type: ignore[method-assign, func-returns-value]
    return detector, asked


@pytest.mark.parametrize("convention", [RAW, "imagenet"])
def test_yolox_letterbox(tmp_path: Path, convention: str) -> None:
    frame = _frame(height=48, width=96)
    answer = np.zeros((84, 7), dtype=np.float32)
    detector, asked = _open(tmp_path, answer, convention=convention)
    assert len(detector.detect([frame])[0]) == 0
    (canvas,) = asked[0]
    assert canvas.shape == (64, 64, 3)
    small = cv2.resize(frame.image, (64, 32), interpolation=cv2.INTER_LINEAR)
    normalise = parse_convention("field", convention).normalise
    np.testing.assert_array_equal(canvas[:32], normalise(np.asarray(small, np.uint8)))
    np.testing.assert_array_equal(canvas[32:], normalise(np.full((32, 64, 3), 114, np.uint8)))


def test_yolox_needs_its_pixels_and_size_stated(tmp_path: Path) -> None:
    answer = np.zeros((84, 7), dtype=np.float32)
    with pytest.raises(ConfigError, match=r"curate.detector_convention says: colour order"):
        _open(tmp_path, answer, convention="")
    with pytest.raises(ConfigError, match=r"curate.detector_convention says: size"):
        _open(tmp_path, answer, side="S")
    detector, _ = _open(tmp_path, answer, side="S", convention=f"{RAW} 64x64")
    assert len(detector.detect([_frame()])[0]) == 0


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (2, 80.0, "box sides of 80: px"),  # decoded
        (4, 3.0, "scores from 0 to 3"),  # no sigmoid
        (0, np.nan, "not finite"),
    ],
)
def test_yolox_that_gives_something_else_is_refused(
    tmp_path: Path, column: int, value: float, reason: str
) -> None:
    answer = np.zeros((84, 7), dtype=np.float32)
    answer[:, 4:6] = 0.9
    answer[:, column] = value
    if column == 2:
        answer[:, 3] = value
    detector, _ = _open(tmp_path, answer)
    with pytest.raises(ConfigError, match=f"yolox.onnx gives .*{reason}.*decode_in_inference"):
        detector.detect([_frame()])


def test_yolox_decoding_equals_a_plain_loop(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    output = rng.uniform(-1, 1, (84, 7)).astype(np.float32)
    output[:, 4:] = rng.uniform(0, 1, (84, 3))
    frame = _frame(height=48, width=96)
    found = _open(tmp_path, output)[0].detect([frame])[0]

    boxes, scores, row = [], [], 0
    for stride in (8, 16, 32):
        for y in range(64 // stride):
            for x in range(64 // stride):
                dx, dy, w, h, objectness, person, _ = output[row]
                row += 1
                if objectness * person >= MIN_SCORE:
                    cx, cy = (dx + x) * stride, (dy + y) * stride
                    w, h = np.exp(w) * stride, np.exp(h) * stride
                    corners = np.array([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
                    boxes.append(corners / (64 / 96))
                    scores.append(objectness * person)
    order = _suppress_plainly(np.array(boxes), np.array(scores))
    expected = build_detections(np.array(boxes)[order], scores=np.array(scores)[order], frame=frame)
    assert 0 < len(expected) < len(boxes)
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def _suppress_plainly(boxes: np.ndarray, scores: np.ndarray) -> list[int]:
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(_iou(boxes[i], boxes[j]) <= NMS_IOU for j in kept):
            kept.append(int(i))
    return kept


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return float(both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both))


def test_suppression_of_nothing() -> None:
    assert select_boxes(np.empty((0, 4)), scores=np.empty(0), iou=0.5).tolist() == []


def test_another_format_is_refused(tmp_path: Path) -> None:
    detector, _ = _open(tmp_path, np.zeros((86, 7), dtype=np.float32))
    with pytest.raises(ValueError, match="strides 8, 16, 32"):
        detector.detect([_frame()])


def test_detections_are_clipped_sorted_and_finite() -> None:
    boxes = [[-5, -5, 10, 10], [90, 40, 120, 60], [5, 5, 5, 9], [0, 0, np.nan, 5], [1, 1, 3, 9]]
    found = build_detections(
        np.array(boxes), scores=np.array([0.3, 0.9, 1, 1, 0.9]), frame=_frame()
    )
    assert found.boxes.tolist() == [[90, 40, 96, 48], [1, 1, 3, 9], [0, 0, 10, 10]]
    assert found.scores == pytest.approx([0.9, 0.9, 0.3])
    assert len(found.above(0.9)) == 2


def test_supplied_predictions_are_found_by_path_and_frame(tmp_path: Path) -> None:
    write_predictions(tmp_path, [("a.mp4", 1, (1, 2, 30, 40), 0.7), ("b.mp4", 0, (0, 0, 9, 9), 1)])
    detector = build_detector(build_config(), folder=tmp_path)
    first, second = detector.detect([_frame(number=0), _frame(number=1)])
    assert len(first) == 0
    assert second.boxes.tolist() == [[1, 2, 30, 40]]
    assert second.scores == pytest.approx([0.7])


def test_missing_predictions_and_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"detections\.parquet.*yolox"):
        build_detector(build_config(), folder=tmp_path)
    config = build_config(detector="yolox", detector_weights="x.onnx")
    with pytest.raises(ConfigError, match="VILLS_WEIGHTS"):
        build_detector(config, folder=tmp_path, weights_root=tmp_path)
    with pytest.raises(ConfigError, match="VILLS_WEIGHTS"):
        compute_weights_digest(config, weights_root=None)
    with pytest.raises(ConfigError, match="detector_weights"):
        build_config(detector="torchvision")


def test_weights_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_text("no model")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name, kind in (
        ("x.onnx", "yolox"),
        ("x.onnx", "torchvision"),
        ("other.pth", "torchvision"),
    ):
        config = build_config(detector=kind, detector_weights=name)
        with pytest.raises(ValueError, match=name):
            build_detector(config, folder=tmp_path, weights_root=tmp_path)


def test_weights_digest(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"abc")
    config = build_config(detector="yolox", detector_weights="x.onnx")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert compute_weights_digest(config, weights_root=tmp_path) == expected
    assert compute_weights_digest(build_config(), weights_root=None) == ""


@pytest.mark.slow
def test_torchvision_network_is_found_by_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=4
    ).eval()
    # A fresh network finds nothing; this bias makes it see people.
    network.roi_heads.box_predictor.cls_score.bias.data[1] = 2.0
    torch.save(network.state_dict(), tmp_path / "fasterrcnn_mobilenet_v3_large_320_fpn-0.pth")
    config = build_config(
        detector="torchvision", detector_weights="fasterrcnn_mobilenet_v3_large_320_fpn-0.pth"
    )
    detector = build_detector(config, folder=tmp_path, weights_root=tmp_path)
    frames = [_frame(height=96, width=96, number=i) for i in range(2)]
    found = detector.detect(frames)
    assert len(found) == 2
    for frame, detections in zip(frames, found, strict=True):
        image = torch.from_numpy(frame.image).permute(2, 0, 1) / 255
        with torch.inference_mode():
            expected = network([image])[0]
        people = (expected["labels"] == 1) & (expected["scores"] >= MIN_SCORE)
        assert len(detections) == int(people.sum()) > 0
        np.testing.assert_allclose(
            detections.scores, expected["scores"][people].sort(descending=True)[0], atol=1e-4
        )
