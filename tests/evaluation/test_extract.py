"""Extraction from files as people have them, good and bad."""

from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from av.video.stream import VideoStream
from PIL import Image

from tests.evaluation.networks import SIZE, make_backbone
from vills.config.checks import ConfigError
from vills.data.clips import build_spread_clips
from vills.evaluation import extract as module
from vills.evaluation.extract import ROLES, ExtractReport, extract_path, find_media, read_frames
from vills.models.backbone import Backbone
from vills.models.weights import save_backbone


@pytest.fixture
def backbone(tmp_path: Path) -> Backbone:
    backbone = make_backbone()
    save_backbone(backbone, tmp_path / "weights")
    return backbone


def make_frames(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, *SIZE, 3)).astype(np.uint8)


def save_video(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width = frames.shape[1:3]
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))


def make_folder(root: Path) -> Path:
    """Two images, a tracklet of five frames, a video, and every kind of bad file."""
    (root / "walk").mkdir(parents=True)
    for index, pixels in enumerate(make_frames(7)):
        name = f"walk/{index:03d}.png" if index < 5 else f"still_{index}.png"
        Image.fromarray(pixels).save(root / name)
    save_video(root / "clip.mp4", make_frames(6, seed=1))
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.jpg").write_text("no image")
    (root / "notes.txt").write_text("passed over")
    (root / "cut.png").write_bytes((root / "still_5.png").read_bytes()[:200])
    (root / "broken.mp4").write_bytes(b"no video at all")
    return root


def test_every_file_is_described_or_named(tmp_path: Path, backbone: Backbone) -> None:
    root = make_folder(tmp_path / "in")
    out = tmp_path / "out.parquet"
    report = extract_path(root, weights=tmp_path / "weights", out=out, num_frames=3, batch_size=2)
    assert (report.num_images, report.num_videos) == (7, 1)
    assert sorted(path for path, _ in report.bad) == [
        "broken.mp4",
        "cut.png",
        "empty.jpg",
        "text.jpg",
    ]
    assert "bad: empty.jpg: the file is empty" in report.format()
    rows = pq.read_table(out).to_pylist()
    assert [row["path"] for row in rows] == [
        "still_5.png",
        "still_6.png",
        *(f"walk/{index:03d}.png" for index in range(5)),
        "clip.mp4",
    ]
    assert [row["num_frames"] for row in rows] == [1] * 7 + [6]
    assert rows[0]["temporal"] is None
    assert rows[0]["lower_body"] is None
    assert len(rows[0]["feature"]) == 3 * 16
    assert len(rows[-1]["feature"]) == 4 * 16
    for row in rows:  # the parts side by side, as they are
        parts = [row[name] for name in ROLES if row[name] is not None]
        assert np.concatenate(parts).tolist() == row["feature"]


def test_frames_have_their_natural_order_and_links_are_followed(
    tmp_path: Path, backbone: Backbone
) -> None:
    """Named 1 to 11 in folders that are linked, a tracklet is as one of zero-padded names."""
    (tmp_path / "far").mkdir()
    (tmp_path / "padded/walk").mkdir(parents=True)
    for index, pixels in enumerate(make_frames(11), start=1):
        Image.fromarray(pixels).save(tmp_path / f"far/{index}.PNG", "PNG")
        Image.fromarray(pixels).save(tmp_path / f"padded/walk/{index:03d}.png")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/walk").symlink_to(tmp_path / "far")
    (tmp_path / "far/up").symlink_to(tmp_path / "linked")
    (tmp_path / "far/._1.png").write_bytes(b"a resource fork")
    rows = []
    for name in ("linked", "padded"):
        out = tmp_path / f"{name}.parquet"
        report = extract_path(
            tmp_path / name, weights=tmp_path / "weights", out=out, num_frames=3, tracklets=True
        )
        assert (report.num_videos, report.bad) == (1, [])
        rows += pq.read_table(out).to_pylist()
    assert rows[0] == rows[1]
    assert [medium.path for medium in find_media(tmp_path / "linked", tracklets=False)[0]] == [
        f"walk/{index}.PNG" for index in range(1, 12)
    ]


def test_what_is_passed_over_is_counted_by_suffix(tmp_path: Path, backbone: Backbone) -> None:
    root = make_folder(tmp_path / "in")
    (root / "still_5 (1).png").write_bytes((root / "still_5.png").read_bytes())
    (root / "walk/x.heic").touch()
    report = extract_path(root, weights=tmp_path / "weights", out=tmp_path / "a.npz")
    assert report.format().splitlines()[-2:] == [
        "note: .: 2 other files ignored (1 .heic, 1 .txt): notes.txt, walk/x.heic",
        "note: 1 of 13 names look like copies: still_5 (1).png",
    ]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        *((s, "mpeg4") for s in (".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".avi", ".mts")),
        *((s, "mpeg2video") for s in (".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mxf", ".m2v")),
        *((s, "h264") for s in (".flv", ".f4v", ".h264", ".264")),
        (".wmv", "wmv2"),
        (".asf", "wmv2"),
        (".webm", "vp9"),
        (".ogv", "libvpx"),
        (".mjpeg", "mjpeg"),
    ],
)
def test_each_kind_of_video_file_can_be_read(suffix: str, codec: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = 64, 128
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for value in range(6):
            pixels = np.full((128, 64, 3), 40 * value, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    (medium,), notes = find_media(path, tracklets=False)
    report = ExtractReport()
    assert (len(list(read_frames(medium, report))), report.bad, notes) == (6, [], ())


def test_turned_images_stand_upright_and_are_counted(tmp_path: Path, backbone: Backbone) -> None:
    root = tmp_path / "in"
    root.mkdir()
    tags = Image.Exif()
    tags[0x0112] = 6
    upright = make_frames(1)[0]
    Image.fromarray(upright).save(root / "a.png")
    Image.fromarray(np.rot90(upright)).save(root / "b.png", exif=tags)
    for tracklets in (False, True):
        report = extract_path(
            root, weights=tmp_path / "weights", out=tmp_path / "o.parquet", tracklets=tracklets
        )
        assert "note: 1 image turned upright by their EXIF orientation" in report.format()
        rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
        np.testing.assert_allclose(rows[0]["feature"], rows[-1]["feature"], atol=1e-6)
    assert [row["num_frames"] for row in rows] == [2]


def test_tokens_equal_the_backbone(tmp_path: Path, backbone: Backbone) -> None:
    root = make_folder(tmp_path / "in") / "walk"
    frames = make_frames(7)[:5]
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    extract_path(root, weights=tmp_path / "weights", out=tmp_path / "a.parquet", num_frames=3)
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    with torch.inference_mode():
        images = backbone.encode_image(pixels).roles
        clips = build_spread_clips(5, 3)
        video = backbone.encode_video(pixels[torch.from_numpy(clips)]).roles.mean(0)
    for index, row in enumerate(rows):
        np.testing.assert_allclose(row["coarse"], images[index, 0], atol=1e-5)
        np.testing.assert_allclose(row["head"], images[index, 3], atol=1e-5)
    # The folder itself is one tracklet.
    extract_path(
        root, weights=tmp_path / "weights", out=tmp_path / "b.parquet", num_frames=3, tracklets=True
    )
    (row,) = pq.read_table(tmp_path / "b.parquet").to_pylist()
    assert (row["path"], row["kind"], row["num_frames"]) == ("walk", "video", 5)
    np.testing.assert_allclose(row["temporal"], video[4], atol=1e-5)
    feature = torch.cat([video[0], video[1], video[3], video[4]])
    np.testing.assert_allclose(row["feature"], feature, atol=1e-5)


def test_outputs_are_the_same_bytes_and_npz_holds_the_same(
    tmp_path: Path, backbone: Backbone
) -> None:
    root = make_folder(tmp_path / "in")
    for suffix in ("parquet", "npz"):
        for name in ("a", "b"):
            extract_path(
                root,
                weights=tmp_path / "weights",
                out=tmp_path / f"{name}.{suffix}",
                tracklets=True,
            )
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["path"].tolist() == [row["path"] for row in rows]
        assert arrays["lower_body"].shape == (len(rows), 0)
        for name in (*ROLES, "feature"):
            for value, row in zip(arrays[name], rows, strict=True):
                expected = np.array([] if row[name] is None else row[name], np.float32)
                np.testing.assert_array_equal(value[: len(expected)], expected)
                assert np.isnan(value[len(expected) :]).all()


def test_a_long_video_is_thinned_evenly(
    tmp_path: Path, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES", 5)
    save_video(tmp_path / "long.mp4", make_frames(23))
    report = extract_path(
        tmp_path / "long.mp4", weights=tmp_path / "weights", out=tmp_path / "a.parquet"
    )
    (row,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert row["num_frames"] == 3  # of 23 frames every eighth: 0, 8, 16
    assert "note: long.mp4: every 8th frame, since it has over 5" in report.format()
    for index, pixels in enumerate(make_frames(9)):
        (tmp_path / "walk").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "walk" / f"{index}.png")
    extract_path(
        tmp_path / "walk", weights=tmp_path / "weights", out=tmp_path / "b.npz", tracklets=True
    )
    with np.load(tmp_path / "b.npz") as arrays:
        assert arrays["num_frames"].tolist() == [9]  # as evaluate: all frames of a tracklet


def test_refusals_say_what_to_do(tmp_path: Path, backbone: Backbone) -> None:
    with pytest.raises(ConfigError, match=r"ends in .parquet or .npz"):
        extract_path(tmp_path, weights=tmp_path / "weights", out=tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="check the path"):
        extract_path(tmp_path / "absent", weights=tmp_path / "weights", out=tmp_path / "a.npz")
    with pytest.raises(ValueError, match="no image or video"):
        extract_path(tmp_path / "weights", weights=tmp_path / "weights", out=tmp_path / "a.npz")
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 1 images and videos .*the file is empty"):
        extract_path(tmp_path / "a.jpg", weights=tmp_path / "weights", out=tmp_path / "a.npz")
    assert not list(tmp_path.glob("a.npz*"))
