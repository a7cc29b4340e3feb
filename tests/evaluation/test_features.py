"""Features of records against the network called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ddp import run_ranks

from tests.evaluation.curated import write_curated
from tests.evaluation.networks import SIZE, WIDTH, make_backbone, make_reid
from vills.data.clips import spread_clips
from vills.data.frames import FrameReader
from vills.data.reid import load_reid_data
from vills.evaluation.entries import Entries
from vills.evaluation.features import FeatureCache, NetworkFeatures, PixelFeatures
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel


def load_entries(folder: Path, modality: str) -> Entries:
    data = write_curated(folder / "set", modality=modality)
    return Entries(data.gallery, data.reader)


def load_pixels(entries: Entries, row: int) -> torch.Tensor:
    """[T, 3, H, W] of all frames."""
    reader = FrameReader(entries.manifest, entries.reader)
    crops = [reader.read(row, position) for position in range(reader.num_frames(row))]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2) / 127.5 - 1


def build(network: Backbone | ReidModel, *, flip: bool = False) -> NetworkFeatures:
    return NetworkFeatures(network, input_size=SIZE, num_frames=2, batch_size=6, flip=flip)


@pytest.mark.parametrize("flip", [False, True])
def test_images_equal_one_forward_each(tmp_path: Path, flip: bool) -> None:
    entries = load_entries(tmp_path, "image")
    model = make_reid("image")
    features = build(model, flip=flip).compute(entries, "image")
    assert features.shape == (len(entries), 3 * WIDTH)
    for row in (0, 7, len(entries) - 1):
        pixels = load_pixels(entries, row)
        with torch.inference_mode():
            expected = model.compute_feature(pixels)[0]
            if flip:
                expected = expected + model.compute_feature(pixels.flip(-1))[0]
        np.testing.assert_allclose(features[row], expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["video model", "image model", "backbone"])
def test_a_tracklet_is_the_mean_of_its_clips(tmp_path: Path, kind: str) -> None:
    entries = load_entries(tmp_path, "video")
    networks = {
        "video model": make_reid("video"),
        "image model": make_reid("image"),
        "backbone": make_backbone(),
    }
    network = networks[kind]
    features = build(network).compute(entries, "video")
    for row in range(3):
        pixels = load_pixels(entries, row)
        each = []
        for clip in spread_clips(len(pixels), 2):
            with torch.inference_mode():
                if isinstance(network, Backbone):
                    roles = network.encode_video(pixels[clip][None]).roles
                    each.append(network.compute_feature(roles, modality="video")[0])
                else:
                    each.append(network.compute_feature(pixels[clip][None])[0])
        np.testing.assert_allclose(features[row], torch.stack(each).mean(0), atol=1e-5)


def test_an_image_model_scores_a_clip_frame_by_frame(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")
    backbone = make_backbone(video=False)
    row = int(entries.manifest.column("num_frames").argmin())
    features = build(backbone).compute(entries, "video")
    with torch.inference_mode():
        roles = backbone.encode_image(load_pixels(entries, row)).roles
    expected = backbone.compute_feature(roles, modality="image").mean(0)
    np.testing.assert_allclose(features[row], expected, atol=1e-5)


def test_a_backbone_compares_images_and_videos_by_shared_roles(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")
    frames = entries.take_frames(mode="first", seed=0)
    cache = FeatureCache(build(make_backbone()))
    assert cache(entries, "video", "video").shape[1] == 4 * WIDTH
    narrow = cache(entries, "video", "image")
    assert narrow.shape[1] == cache(frames, "image", "video").shape[1] == 3 * WIDTH
    assert np.array_equal(narrow, cache(entries, "video", "video")[:, : 3 * WIDTH])
    video = FeatureCache(build(make_reid("video")))
    assert video(frames, "image", "video").shape[1] == 4 * WIDTH


def test_the_cache_describes_the_same_entries_once(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")
    calls: list[int] = []

    def describe(crop: np.ndarray) -> np.ndarray:
        calls.append(1)
        return crop.mean(axis=(0, 1)).astype(np.float32)

    cache = FeatureCache(PixelFeatures(describe))
    first = cache(entries, "video", "video")
    num_frames = entries.manifest.column("num_frames").sum()
    assert len(calls) == num_frames
    assert np.array_equal(cache(entries, "video", "image"), first)
    assert len(calls) == num_frames
    # A frame of a tracklet is another entry than the tracklet.
    cache(entries.take_frames(mode="middle", seed=0), "image", "video")
    assert len(calls) == num_frames + len(entries)


def test_pixel_features_average_frames_and_flip(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")

    def left(crop: np.ndarray) -> np.ndarray:
        return crop[:, :8].mean(axis=(0, 1)).astype(np.float32)

    features = PixelFeatures(left, flip=True).compute(entries, "video")
    pixels = load_pixels(entries, 0)
    expected = 2 * ((pixels.mean(dim=(0, 2, 3)) + 1) * 127.5)
    np.testing.assert_allclose(features[0], expected, rtol=1e-4)


def compute_on_rank(folder: str) -> np.ndarray:
    data = load_reid_data(Path(folder), modality="video")
    return build(make_reid("video")).compute(Entries(data.gallery, data.reader), "video")


def test_two_processes_describe_what_one_does(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "video")
    alone = build(make_reid("video")).compute(entries, "video")
    for features in run_ranks(compute_on_rank, 2, str(tmp_path / "set")):
        np.testing.assert_allclose(features, alone, atol=1e-5)


def test_the_mode_of_the_network_is_restored(tmp_path: Path) -> None:
    entries = load_entries(tmp_path, "image")
    model = make_reid("image").train()
    before = model.neck.running_mean.clone()
    features = build(model).compute(entries, "image")
    assert model.training
    assert torch.equal(model.neck.running_mean, before)
    assert np.array_equal(features, build(model.eval()).compute(entries, "image"))
