"""The ONNX baseline: layouts, and the published figure on real crops."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vills.evaluation import onnx_reid as module
from vills.evaluation.distance import FeatureDistance
from vills.evaluation.histogram import StripeHistogram
from vills.evaluation.metrics import RetrievalScores, compute_scores
from vills.evaluation.onnx_reid import OnnxReid
from vills.evaluation.ranking import Labels, rank_gallery


class MeanSession:
    """Stands for an opened model: the mean of each channel, or nothing but its input's shape."""

    def __init__(self, shape: list[int | str], axes: tuple[int, int]) -> None:
        self.input, self.axes = SimpleNamespace(name="crop", shape=shape), axes

    def get_inputs(self) -> list[SimpleNamespace]:
        return [self.input]

    def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        expected = [side if isinstance(side, int) else None for side in self.input.shape]
        found = feed["crop"].shape
        assert all(want in (None, got) for want, got in zip(expected, found, strict=True))
        return [feed["crop"].mean(self.axes)]


@pytest.mark.parametrize(
    ("shape", "axes"),
    [([1, 8, 4, 3], (1, 2)), ([1, 3, 8, 4], (2, 3)), (["N", "H", "W", 3], (1, 2))],
)
def test_layout_is_read_and_values_are_bgr(
    monkeypatch: pytest.MonkeyPatch, shape: list[int | str], axes: tuple[int, int]
) -> None:
    monkeypatch.setattr(module, "load_session", lambda path: MeanSession(shape, axes))
    image = np.full((20, 10, 3), (10, 20, 250), np.uint8)  # RGB
    np.testing.assert_allclose(OnnxReid(Path("mean.onnx"))(image), [250, 20, 10])


def test_models_of_other_inputs_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="VILLS_WEIGHTS"):
        OnnxReid(tmp_path / "absent.onnx")
    monkeypatch.setattr(module, "load_session", lambda path: MeanSession([1, 1, 8, 4], (2, 3)))
    with pytest.raises(ValueError, match=r"grey.onnx takes .*Allowed: one input"):
        OnnxReid(Path("grey.onnx"))


@pytest.mark.real
def test_real_crops_give_the_known_scores(real_data: Path) -> None:
    """PKU, camera 1 -> 2: all 8 views of camera 1 are queries, all 304 crops of camera 2 gallery.

    Measured with a plain script under this protocol: retail-0287 R-1 .793, mAP .592.
    """
    paths = sorted((real_data / "reid" / "pku").glob("*.jpg"))
    images = [np.asarray(Image.open(path).convert("RGB")) for path in paths]
    pids = np.array([int(path.name[:4]) for path in paths])
    camids = np.array([int(path.name[6]) for path in paths])

    def score(features: np.ndarray) -> RetrievalScores:
        query, gallery = np.flatnonzero(camids == 1), np.flatnonzero(camids == 2)
        ranking = rank_gallery(
            FeatureDistance(features[query], features[gallery], metric="cosine"),
            query=Labels(pids[query], camids[query]),
            gallery=Labels(pids[gallery], camids[gallery]),
            block_size=64,
        )
        return compute_scores(ranking.hit_ranks, ranks=[1], num_gallery=len(gallery))

    model = OnnxReid(real_data / "weights" / "person-reidentification-retail-0287.onnx")
    retail = score(np.stack([model(image) for image in images]))
    assert retail.cmc[1] == pytest.approx(0.793, abs=0.02)
    assert retail.mean_ap == pytest.approx(0.592, abs=0.02)
    histogram = score(np.stack([StripeHistogram()(image) for image in images]))
    random = score(np.random.default_rng(0).normal(size=(len(images), 64)).astype(np.float32))
    assert random.mean_ap < histogram.mean_ap < retail.mean_ap - 0.3
