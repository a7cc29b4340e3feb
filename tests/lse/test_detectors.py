from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torchvision.models.detection import keypointrcnn_resnet50_fpn

from tests.onnx_files import FLOAT, save_onnx
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.data.predictions import DETECTIONS_SCHEMA
from vills.lse.crop import Crop
from vills.lse.detector_heatmap import HeatmapDetector, convert_image, decode_heatmaps
from vills.lse.detector_torchvision import TorchvisionDetector, convert_logits
from vills.lse.keypoints import PredictionDetector
from vills.lse.parts import build_keypoint_detector


def make_crop(
    *,
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    path: str = "a.mp4",
    frame: int = 0,
) -> Crop:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    return Crop(image, "r", 0, path, frame, box)


def write_predictions(root: Path, rows: list[tuple[object, ...]]) -> None:
    columns = list(zip(*rows, strict=True))
    table = pa.table(
        {n: list(c) for n, c in zip(DETECTIONS_SCHEMA.names, columns, strict=True)},
        schema=DETECTIONS_SCHEMA,
    )
    (root / "predictions").mkdir()
    pq.write_table(table, root / "predictions" / "detections.parquet")


def test_predicted_person_of_best_overlap_is_mapped_into_the_crop(tmp_path: Path) -> None:
    def keypoints(x: float, y: float) -> list[float]:
        return [x, y, 0.75] * 17

    write_predictions(
        tmp_path,
        [
            ("a.mp4", 3, 10.0, 20.0, 50.0, 100.0, 0.9, keypoints(30, 60)),
            ("a.mp4", 3, 200.0, 20.0, 240.0, 100.0, 0.95, keypoints(220, 60)),
            ("a.mp4", 4, 10.0, 20.0, 50.0, 100.0, 0.9, None),
        ],
    )
    detector = PredictionDetector(tmp_path)
    box = (12.0, 20.0, 52.0, 100.0)
    found, elsewhere, unknown, boxes_only = detector.detect(
        [
            make_crop(box=box, size=(40, 20), frame=3),  # half the size of its box
            make_crop(box=(120.0, 20.0, 160.0, 100.0), size=(80, 40), frame=3),
            make_crop(box=box, size=(80, 40), frame=9),
            make_crop(box=box, size=(80, 40), frame=4),
        ]
    )
    np.testing.assert_allclose(found.points, np.tile([[9.0, 20.0]], (17, 1)))
    np.testing.assert_allclose(found.scores, 0.75)
    assert elsewhere.is_missing
    assert unknown.is_missing
    assert boxes_only.is_missing


def test_of_two_people_in_one_box_the_pose_decides(tmp_path: Path) -> None:
    """One box holds the neighbour's keypoints, as a pose network that looks around gives them."""

    def keypoints(x: float) -> list[float]:
        return [value for i in range(17) for value in (x, 22.0 + 4 * i, 0.75)]

    box = (10.0, 20.0, 50.0, 100.0)
    write_predictions(
        tmp_path,
        [
            ("a.mp4", 0, *box, 0.95, keypoints(70)),
            ("a.mp4", 0, 8.0, 20, 52, 100, 0.5, keypoints(30)),
        ],
    )
    found = PredictionDetector(tmp_path).detect([make_crop(box=box, size=(80, 40))])[0]
    np.testing.assert_allclose(found.points[:, 0], 20)


def test_missing_predictions_name_field_and_remedy(tmp_path: Path) -> None:
    for root in (tmp_path, None):
        with pytest.raises(ConfigError, match="keypoint_detector.*detections.parquet.*What to do"):
            build_keypoint_detector(LseConfig(), root=root, weights=None)


def test_decoding_finds_peaks_through_the_placement() -> None:
    image = np.zeros((90, 40, 3), np.float32)
    placed, affine = convert_image(image, size=(256, 192))
    assert placed.shape == (256, 192, 3)
    rng = np.random.default_rng(0)
    points = rng.uniform((3, 3), (36, 86), (17, 2))
    cells = (points * affine[[0, 1], [0, 1]] + affine[:, 2]) / 4
    rows, columns = np.mgrid[:64, :48]
    distance = (columns - cells[:, 0, None, None]) ** 2 + (rows - cells[:, 1, None, None]) ** 2
    maps = (0.8 * np.exp(-distance / 8)).astype(np.float32)
    found = decode_heatmaps(maps, size=(256, 192), affine=affine)
    # A quarter of a cell is the largest error that the offset leaves.
    assert np.abs(found.points - points).max() <= 0.26 * 4 / affine[0, 0]
    assert (found.scores > 0.7).all()
    assert (found.scores <= 0.8).all()


def save_heatmaps(path: Path, *, channels: int = 17, batch: int | str = 1) -> Path:
    """A network whose every heatmap is the first colour of its input, at its size."""
    nodes = [
        ("Split", ["crop"], ["first", "second", "third"], {"axis": 1}),
        ("Concat", ["first"] * channels, ["heatmaps"], {"axis": 1}),
    ]
    inputs = {"crop": (FLOAT, [batch, 3, 32, 24])}
    return save_onnx(
        path, nodes, inputs=inputs, outputs={"heatmaps": (FLOAT, [batch, channels, 32, 24])}
    )


@pytest.mark.parametrize("batch", [1, 2, "N"])
@pytest.mark.parametrize("convention", ["imagenet", "bgr 0-255 mean 0 std 1"])
def test_heatmaps_see_the_stated_pixels(tmp_path: Path, convention: str, batch: int | str) -> None:
    image = np.full((32, 24, 3), 20, np.uint8)
    image[10:12, 5:7, 0], image[20:22, 15:17, 2] = 250, 250  # a red and a blue spot
    path = save_heatmaps(tmp_path / "k.onnx", batch=batch)
    detector = HeatmapDetector(path, convention=convention)
    crops = [Crop(image, "r", 0, "a", 0, (0, 0, 24, 32))] * 3
    spot = (5.5, 10.5) if convention == "imagenet" else (15.5, 20.5)
    for found in detector.detect(crops):
        np.testing.assert_allclose(found.points, [spot] * 17, atol=1)


def test_heatmaps_need_their_pixels_stated(tmp_path: Path) -> None:
    path = save_heatmaps(tmp_path / "k.onnx")
    with pytest.raises(ConfigError, match=r"lse.keypoint_convention says: colour order"):
        HeatmapDetector(path, convention="")
    path = save_heatmaps(tmp_path / "k.onnx", channels=16)
    with pytest.raises(ConfigError, match=r"gives \[1, 16, 32, 24\]. Allowed: heatmaps"):
        HeatmapDetector(path, convention="imagenet")


@pytest.mark.parametrize("shape", [(60, 30), (600, 300), (100, 200)])
def test_placement_keeps_the_picture_where_the_affine_says(shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), -1.8, np.float32)
    y, x = shape[0] // 3, shape[1] // 4
    size = max(2, shape[0] // 20)
    image[y - size : y + size, x - size : x + size] = 2.2
    placed, affine = convert_image(image, size=(256, 192))
    placed = placed[:, :, 0]
    weight = np.clip(placed - placed[128, 96], 0, None)
    rows, columns = np.mgrid[:256, :192]
    centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    # The border has the mean colour, 0, which is brighter: look at the spot alone.
    near = (np.abs(columns - centre[0]) < 60) & (np.abs(rows - centre[1]) < 60)
    weight = np.where(near & (placed > 1.0), weight, 0)
    centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    expected = affine[[0, 1], [0, 1]] * (np.array([x, y]) - 0.5) + affine[:, 2]
    np.testing.assert_allclose(centre, expected, atol=0.6)


def test_logits_become_scores_in_the_same_order() -> None:
    logits = np.array([-5.0, 0.0, 2.0, 7.0, 30.0])
    scores = convert_logits(logits)
    assert (np.diff(scores) >= 0).all()
    assert scores[2] == 0.5
    assert scores.min() > 0
    assert scores.max() <= 1


class FakeRcnn(torch.nn.Module):
    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        empty = {"scores": torch.zeros(0), "boxes": torch.zeros(0, 4)}
        # the neighbour is surer, and fills a quarter of the crop
        two = {
            "scores": torch.tensor([0.9, 0.6]),
            "boxes": torch.tensor([[0.0, 0, 10, 20], [1, 2, 19, 40]]),
            "keypoints": torch.stack([torch.zeros(17, 3), torch.full((17, 3), 5.0)]),
            "keypoints_scores": torch.stack([torch.full((17,), 9.0), torch.full((17,), 2.0)]),
        }
        assert all(image.max() <= 1 for image in images)
        return [empty, two][: len(images)]


def test_the_person_who_fills_the_crop_is_taken() -> None:
    detector = TorchvisionDetector(FakeRcnn(), device=torch.device("cpu"))
    crops = [make_crop(box=(0, 0, 20, 40), size=(40, 20)) for _ in range(2)]
    nobody, person = detector.detect(crops)
    assert nobody.is_missing
    np.testing.assert_array_equal(person.points, np.full((17, 2), 5.0))
    np.testing.assert_array_equal(person.scores, np.full(17, 0.5))


@pytest.mark.slow
def test_keypoint_rcnn_runs_from_its_published_layout(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    torch.save(model.state_dict(), tmp_path / "rcnn.pth")
    config = LseConfig(keypoint_detector="torchvision", keypoint_weights="rcnn.pth")
    detector = build_keypoint_detector(config, root=None, weights=tmp_path)
    assert isinstance(detector, TorchvisionDetector)
    detector._model.transform.min_size = (64,)  # it enlarges to 800 px, which takes seconds
    found = detector.detect([make_crop(box=(0, 0, 32, 64), size=(64, 32))])
    assert found[0].points.shape == (17, 2)
    assert found[0].scores.shape == (17,)


@pytest.mark.slow
def test_weights_of_another_model_or_hash_are_refused(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no weights")

    def build(name: str, sha256: str = "", folder: Path | None = tmp_path) -> None:
        config = LseConfig(
            keypoint_detector="torchvision", keypoint_weights=name, keypoint_sha256=sha256
        )
        build_keypoint_detector(config, root=None, weights=folder)

    with pytest.raises(ConfigError, match="missing keys.*1 unexpected keys.*What to do"):
        build("other.pth")
    with pytest.raises(ConfigError, match="cannot be read as weights"):
        build("text.pth")
    with pytest.raises(ConfigError, match="SHA-256"):
        build("other.pth", "0" * 64)
    with pytest.raises(ConfigError, match="is not a file"):
        build("absent.pth")
    with pytest.raises(ConfigError, match="VILLS_WEIGHTS"):
        build("other.pth", folder=None)
    with pytest.raises(ConfigError, match="keypoint_weights = ''"):
        build("")
