import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.lse.conftest import Source
from vills.config.lse import LseConfig
from vills.errors import InputError
from vills.lse.extract import extract_source
from vills.report.mask_sheet import TILE_HEIGHT, build_mask_sheet, render_tile


def test_sheet_shows_the_frames_asked_for(world: dict[str, Source], tmp_path: Path) -> None:
    source = world["luperson"]
    extract_source(
        source.name,
        LseConfig(segmenter="parsing"),
        curated=source.curated,
        root=source.root,
        out=tmp_path / "out",
        work=tmp_path / "work",
        weights=None,
    )
    sheets = []
    for name in ("a.png", "b.png"):
        assert not build_mask_sheet(source.curated, tmp_path / "out", tmp_path / name, 8)
        sheets.append((tmp_path / name).read_bytes())
    assert sheets[0] == sheets[1]
    with Image.open(tmp_path / "a.png") as image:
        assert image.height >= 2 * TILE_HEIGHT
        assert np.asarray(image).std() > 10
    curated = tmp_path / "curated"
    shutil.copytree(source.curated, curated)
    shard = curated / "shard-000000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    left_out = build_mask_sheet(curated, tmp_path / "out", tmp_path / "c.png", 8)
    assert 0 < len(left_out) < 8
    assert all("frame 0: " in reason for reason in left_out)
    shard.write_bytes(bytes(len(data)))
    with pytest.raises(InputError, match=r"curated \(.*frame 0: .*What to do: run the"):
        build_mask_sheet(curated, tmp_path / "out", tmp_path / "d.png", 8)


def test_no_cache_says_what_to_run(world: dict[str, Source], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run the lse stage"):
        build_mask_sheet(world["luperson"].curated, tmp_path, tmp_path / "a.png", 4)


def test_tile_marks_mask_and_points() -> None:
    image = np.full((56, 28, 3), 128, np.uint8)
    mask = np.zeros((56, 28), bool)
    mask[28:] = True
    keypoints = np.array([[14, 10, 0.9], [5, 5, 0.0]], np.float32)
    tile = render_tile(image, masks={"head": mask}, keypoints=keypoints, min_score=0.5)
    assert tile.shape == (TILE_HEIGHT, 2 * 28 * TILE_HEIGHT // 56, 3)
    plain, overlay = np.split(tile, 2, axis=1)
    assert (plain == 128).all()
    assert (overlay[-20:] != 128).any(axis=-1).all()
    assert tuple(overlay[40, 56]) == (40, 255, 60)
    assert (overlay[20, 20] == 128).all()  # a keypoint without any confidence is not drawn
