from pathlib import Path

import cv2
import pytest

from vills.report.world_sheet import build_world_sheet


@pytest.mark.slow
def test_sheet_shows_the_world(world: Path, tmp_path: Path) -> None:
    target = tmp_path / "sheet.png"
    build_world_sheet(world, target, num_people=2)
    sheet = cv2.imread(str(target))
    assert sheet is not None
    assert sheet.shape[0] > 2 * 128 + 4 * 128 + 2 * 216
    again = tmp_path / "again.png"
    build_world_sheet(world, again, num_people=2)
    assert again.read_bytes() == target.read_bytes()


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="render the world first"):
        build_world_sheet(tmp_path, tmp_path / "sheet.png")
