"""Small videos of walking rectangles, their truth, and what a detector would say of them."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from PIL import Image

from vills.config.curate import CurateConfig
from vills.data.files import save_table
from vills.data.predictions import DETECTIONS_SCHEMA

WIDTH, HEIGHT = 160, 128
Walk = Callable[[int], tuple[float, float, float, float] | None]


def walk_right(start: int, *, top: int = 30, speed: float = 2.0, since: int = 0) -> Walk:
    """A person 24 x 60 px who walks to the right."""

    def box(frame: int) -> tuple[float, float, float, float] | None:
        x = start + speed * (frame - since)
        visible = frame >= since and x >= 0 and x + 24 <= WIDTH
        return (x, top, x + 24, top + 60) if visible else None

    return box


def draw_frame(walks: Sequence[Walk], frame: int) -> np.ndarray:
    """A frame, uint8 [128, 160, 3]; each person has a colour of its own."""
    image = np.full((HEIGHT, WIDTH, 3), 60, dtype=np.uint8)
    for person, walk in enumerate(walks):
        if box := walk(frame):
            x1, y1, x2, y2 = (round(value) for value in box)
            image[y1:y2, x1:x2] = (40 * person % 256, 200 - 60 * person % 200, 90)
    return image


def write_video(path: Path, frames: Iterable[np.ndarray], *, faststart: bool = True) -> Path:
    """Encode frames as H.264; with `faststart` the index lies in front of the pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"movflags": "faststart"} if faststart else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.height, stream.width = HEIGHT, WIDTH
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_scene(root: Path, name: str, walks: Sequence[Walk], *, num_frames: int) -> Path:
    """A video below `root`."""
    return write_video(root / name, (draw_frame(walks, i) for i in range(num_frames)))


def write_predictions(root: Path, rows: Iterable[tuple[str, int, Sequence[float], float]]) -> None:
    """Supply (path, frame, box, score) rows as the detections of the data set at `root`."""
    listed = list(rows)
    columns = {
        "path": [row[0] for row in listed],
        "frame": [row[1] for row in listed],
        "score": [row[3] for row in listed],
        "keypoints": [None] * len(listed),
    }
    for i, name in enumerate(("x1", "y1", "x2", "y2")):
        columns[name] = [row[2][i] for row in listed]
    table = pa.table(columns, schema=DETECTIONS_SCHEMA)
    save_table(root / "predictions" / "detections.parquet", table)


def predict(
    name: str, walks: Sequence[Walk], *, num_frames: int, score: float = 0.9
) -> list[tuple[str, int, Sequence[float], float]]:
    """Exact boxes of all people, all with one score."""
    return [
        (name, frame, box, score)
        for frame in range(num_frames)
        for walk in walks
        if (box := walk(frame))
    ]


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (32, 64)) -> Path:
    """A JPEG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, quality=90)
    return path


def build_config(**changes: Any) -> CurateConfig:
    """A configuration for these scenes."""
    settings: dict[str, Any] = {
        "min_height": 20,
        "min_width": 8,
        "min_seconds": 0.32,
        "shard_mb": 1,
    }
    return CurateConfig(**(settings | changes))
