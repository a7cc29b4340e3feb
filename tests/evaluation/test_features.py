"""Features of records against the network called by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ddp import run_ranks
from tests.evaluation.curated import write_curated
from tests.evaluation.networks import SIZE, WIDTH, make_backbone, make_reid
from vills.config.checks import ConfigError
from vills.data.clips import build_clips, list_clip_frames
from vills.data.feature_loading import DamagedRecordError
from vills.data.frames import FrameReader
from vills.data.reid import load_reid_data
from vills.evaluation.entries import Entries
from vills.evaluation.features import NetworkFeatures, PixelFeatures, Sampling
from vills.evaluation.protocols import FeatureChoice
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

PLAIN = FeatureChoice()


def load_entries(folder: Path, modality: str) -> Entries:
    data = write_curated(folder / "set", modality=modality)
    return Entries(data.gallery, data.reader)


def load_pixels(entries: Entries, row: int) -> torch.Tensor:
    """[T, 3, H, W] of all frames."""
    reader = FrameReader(entries.manifest, entries.reader)
    crops = [reader.read(row, position) for position in range(reader.num_frames(row))]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 127.5 - 1


def build(network: Backbone | ReidModel, sampling: str = "all") -> NetworkFeatures:
    return NetworkFeatures(network, input_size=SIZE, batch_size=6, sampling=Sampling(sampling, 2))


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("neck", ["before", "after"])
def test_images_equal_one_forward_each(tmp_path: Path, flip: bool, neck: str) -> None:
    entries = load_entries(tmp_path, "image")
    model = make_reid("image")
    features = build(model).compute(entries, FeatureChoice(flip=flip, neck=neck))
    assert features.shape == (len(entries), 3 * WIDTH)
    for row in (0, 7, len(entries) - 1):
        pixels = load_pixels(entries, row)
        with torch.inference_mode():
            expected = model.compute_features(pixels, neck=neck)[0]
            if flip:
                expected = expected + model.compute_features(pixels.flip(-1), neck=neck)[0]
        np.testing.assert_allclose(features[row], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("sampling", ["all", "dense", "evenly", "begin"])
@pytest.mark.parametrize("kind", ["video model", "backbone"])
def test_a_tracklet_is_pooled_over_its_clips(
    tmp_path: Path, kind: str, sampling: str, pooling: str
) -> None:
    entries = load_entries(tmp_path, "video")
    network = make_reid("video") if kind == "video model" else make_backbone()
    features = build(network, sampling).compute(entries, FeatureChoice(pooling=pooling))
    for row in range(3):
        pixels = load_pixels(entries, row)
        each = []
        for clip in build_clips(len(pixels), 2, sampling=sampling):
            with torch.inference_mode():
                if isinstance(network, Backbone):
                    roles = network.encode_video(pixels[clip][None]).roles
                    each.append(network.compute_feature(roles, modality="video")[0])
                else:
                    each.append(network.compute_features(pixels[clip][None])[0])
        stacked = torch.stack(each)
        expected = stacked.amax(0) if pooling == "max" else stacked.mean(0)
        np.testing.assert_allclose(features[row], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("sampling", ["all", "begin"])
@pytest.mark.parametrize("kind", ["image model", "backbone"])
def test_a_model_of_images_describes_each_frame_once(
    tmp_path: Path, kind: str, sampling: str, pooling: str
) -> None:
    entries = load_entries(tmp_path, "video")
    network = make_reid("image") if kind == "image model" else make_backbone(video=False)
    features = build(network, sampling).compute(entries, FeatureChoice(pooling=pooling))
    for row in range(4):
        pixels = load_pixels(entries, row)
        pixels = pixels[list_clip_frames(len(pixels), 2, sampling=sampling)]
        with torch.inference_mode():
            if isinstance(network, Backbone):
                roles = network.encode_image(pixels).roles
                each = network.compute_feature(roles, modality="image")
            else:
                each = network.compute_features(pixels)
        expected = each.amax(0) if pooling == "max" else each.mean(0)
        np.testing.assert_allclose(features[row], expected, atol=1e-5)


def test_a_video_model_describes_images_as_clips_of_one_frame(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "image")
    model = make_reid("video")
    features = build(model).compute(entries, PLAIN)
    assert features.shape[1] == 4 * WIDTH
    with torch.inference_mode():
        expected = model.compute_features(load_pixels(entries, 3)[:, None])[0]
    np.testing.assert_allclose(features[3], expected, atol=1e-5)


def test_a_backbone_compares_images_and_videos_by_shared_roles(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")
    features = build(make_backbone())
    videos = features.compute(entries, PLAIN)
    images = features.compute(entries.take_frames(mode="first", seed=0), PLAIN)
    alone = replace(PLAIN, modalities=("video",))
    both = replace(PLAIN, modalities=("image", "video"))
    assert features.narrow(videos, alone).shape[1] == 4 * WIDTH
    assert np.array_equal(features.narrow(videos, both), videos[:, : 3 * WIDTH])
    assert np.array_equal(features.narrow(images, both), images)
    tuned = build(make_reid("video"))
    assert tuned.narrow(videos, both).shape[1] == 4 * WIDTH


@pytest.mark.slow
@pytest.mark.parametrize(
    ("roles", "columns"),
    [
        (("coarse",), [0]),
        (("areas",), [1, 2]),
        (("temporal",), [3]),
        (("coarse", "temporal"), [0, 3]),
        ((), [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("kind", ["video model", "backbone"])
def test_roles_are_parts_of_the_feature(
    tmp_path: Path, kind: str, roles: tuple[str, ...], columns: list[int]
) -> None:
    entries = load_entries(tmp_path, "video")
    features = build(make_reid("video") if kind == "video model" else make_backbone())
    whole = features.compute(entries, PLAIN).reshape(len(entries), 4, WIDTH)
    part = features.compute(entries, FeatureChoice(roles=roles))
    np.testing.assert_allclose(part, whole[:, columns].reshape(len(entries), -1), atol=1e-6)


def test_roles_that_a_network_lacks_are_refused(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "image")
    with pytest.raises(ConfigError, match="image this network has coarse, upper_body, head"):
        build(make_backbone()).compute(entries, FeatureChoice(roles=("temporal",)))
    with pytest.raises(ConfigError):
        build(make_reid("image")).compute(entries, FeatureChoice(roles=("temporal",)))
    kept = build(make_backbone()).compute(entries, FeatureChoice(roles=("coarse", "temporal")))
    assert kept.shape[1] == WIDTH


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pixel_features_pool_frames_and_flip(tmp_path: Path, pooling: str) -> None:
    entries = load_entries(tmp_path, "video")

    def left(crop: np.ndarray) -> np.ndarray:
        return crop[:, :8].mean(axis=(0, 1)).astype(np.float32)

    pixels = (load_pixels(entries, 0) + 1) * 127.5  # [T, 3, H, W]
    choice = FeatureChoice(flip=True, pooling=pooling)
    features = PixelFeatures(left).compute(entries, choice)
    each = 2 * pixels.mean(dim=(2, 3))
    expected = each.amax(0) if pooling == "max" else each.mean(0)
    np.testing.assert_allclose(features[0], expected, rtol=1e-4)
    sampled = PixelFeatures(left, sampling=Sampling("begin", 2)).compute(entries, choice)
    each = each[list_clip_frames(len(pixels), 2, sampling="begin")]
    expected = each.amax(0) if pooling == "max" else each.mean(0)
    np.testing.assert_allclose(sampled[0], expected, rtol=1e-4)


def compute_on_rank(folder: str, pooling: str) -> list[np.ndarray]:
    data = load_reid_data(Path(folder), modality="video")
    entries, choice = Entries(data.gallery, data.reader), FeatureChoice(pooling=pooling)
    pixels = PixelFeatures(lambda crop: crop.mean((0, 1)).astype(np.float32))
    return [
        build(make_reid("video")).compute(entries, choice),
        build(make_reid("image")).compute(entries.take(np.arange(1)), choice),
        pixels.compute(entries, choice),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_two_processes_describe_what_one_does(tmp_path: Path, pooling: str) -> None:
    load_entries(tmp_path, "video")
    alone = compute_on_rank(str(tmp_path / "set"), pooling)
    for ranks in run_ranks(compute_on_rank, 2, str(tmp_path / "set"), pooling):
        for features, expected in zip(ranks, alone, strict=True):
            np.testing.assert_allclose(features, expected, atol=1e-5)


def test_the_mode_of_the_network_is_restored(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "image")
    model = make_reid("image").train()
    before = model.neck.running_mean.clone()
    features = build(model).compute(entries, PLAIN)
    assert model.training
    assert torch.equal(model.neck.running_mean, before)
    assert np.array_equal(features, build(model.eval()).compute(entries, PLAIN))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "image")
    record = entries.manifest[3]
    shard = tmp_path / "set" / record.shard
    content = bytearray(shard.read_bytes())
    content[record.offsets[0] : record.offsets[0] + record.lengths[0]] = b"\0" * record.lengths[0]
    shard.write_bytes(content)
    for model in (build(make_reid("image")), PixelFeatures(lambda crop: crop.mean((0, 1)))):
        with pytest.raises(DamagedRecordError, match=f"record {record.record_id}, frame 0 cannot"):
            model.compute(entries, PLAIN)
