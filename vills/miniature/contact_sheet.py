"""One picture of the world, to be looked at: people, a walk, scenes with truth and predictions."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from vills.miniature import overlay
from vills.miniature.files import replace_atomically
from vills.miniature.painter import Image
from vills.miniature.tables import Row

CELL = (128, 64)
_VIEWS = 3  # images of a person in each camera
_GAP = 6
_WHITE = 255
_SCENE_FRAMES = (0.3, 0.5, 0.7)


def build_contact_sheet(folder: Path, out_png: Path, num_people: int = 12) -> None:
    """Draw what `render_world` wrote below `folder`, as far as it is there.

    Top: one row per held-out person, cameras side by side. Then a walk of MARS with truth, and
    frames of scenes: truth (boxes, keypoints, areas) above what the detector and the parser say.

    Raises:
        FileNotFoundError: there is none of market1501, mars and kinetics to draw.
    """
    blocks = []
    if (folder / "market1501").is_dir():
        blocks.append(_draw_people(folder / "market1501", num_people))
    if (folder / "mars").is_dir():
        blocks.append(_draw_walks(folder))
    if (folder / "kinetics").is_dir():
        blocks.append(_draw_scenes(folder))
    if not blocks:
        raise FileNotFoundError(
            f"{folder} holds none of market1501, mars, kinetics. What to do: render the world "
            "first, with at least one of them in miniature.datasets."
        )
    sheet = stack(blocks, axis=0)
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    with replace_atomically(out_png) as temporary:
        temporary.write_bytes(data.tobytes())


def stack(pictures: list[Image], *, axis: int, gap: int = _GAP) -> Image:
    """Return pictures [H, W, 3] beside (axis 1) or below (axis 0) each other, on white."""
    other = 1 - axis
    length = max(picture.shape[other] for picture in pictures)
    padded = []
    for picture in pictures:
        border = [(0, 0), (0, 0), (0, 0)]
        border[other] = (0, length - picture.shape[other])
        border[axis] = (0, gap)
        padded.append(np.pad(picture, border, constant_values=_WHITE))
    return np.concatenate(padded, axis=axis)


def _draw_people(root: Path, num_people: int) -> Image:
    seen: dict[str, dict[str, list[Path]]] = {}
    for path in sorted((root / "query").glob("*.jpg")) + sorted(
        (root / "bounding_box_test").glob("*.jpg")
    ):
        pid, camera = path.name.split("_")[:2]
        if int(pid) > 0:
            seen.setdefault(pid, {}).setdefault(camera[:2], []).append(path)
    cameras = sorted({camera for views in seen.values() for camera in views})
    rows = []
    for pid in sorted(seen)[:num_people]:
        groups = [_draw_views(seen[pid].get(camera, [])) for camera in cameras]
        rows.append(stack([_write(pid, CELL[0]), *groups], axis=1))
    labels = [_write(camera, 14, width=_VIEWS * CELL[1]) for camera in cameras]
    return stack([stack([_write("", 14), *labels], axis=1), *rows], axis=0, gap=2)


def _write(text: str, height: int, *, width: int = 40) -> Image:
    """Return a white field with a few letters."""
    field = np.full((height, width, 3), _WHITE, dtype=np.uint8)
    spot = (2, height // 2 + 4)
    cv2.putText(field, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return field


def _draw_views(paths: list[Path]) -> Image:
    cells = [_fit(read_image(path)) for path in paths[:_VIEWS]]
    blank = np.full((*CELL, 3), _WHITE, dtype=np.uint8)
    return np.concatenate(cells + [blank] * (_VIEWS - len(cells)), axis=1)


def _draw_walks(folder: Path) -> Image:
    """Draw the first frames of two people's tracklets, plain and with the truth on top."""
    truth = _group(folder / "truth" / "mars.parquet")
    rows = []
    for person in sorted((folder / "mars" / "bbox_test").glob("[0-9]*"))[1:3]:
        files = sorted(person.glob("*T0001F*.jpg"))
        plain = [_fit(read_image(file)) for file in files]
        marked = []
        for file in files:
            key = (str(file.relative_to(folder / "mars").as_posix()), 0)
            marked.append(_fit(overlay.draw_truth(read_image(file), truth.get(key, []))))
        rows += [np.concatenate(plain, axis=1), np.concatenate(marked, axis=1)]
    return stack(rows, axis=0, gap=2)


def _draw_scenes(folder: Path) -> Image:
    root = folder / "kinetics"
    truth = _group(folder / "truth" / "kinetics.parquet")
    found = _group(root / "predictions" / "detections.parquet")
    parsed = _group(root / "predictions" / "parsing.parquet")
    rows = []
    for path in sorted(root.rglob("*.mp4"))[:3]:
        frames = overlay.read_frames(path)
        chosen = [int(share * len(frames)) for share in _SCENE_FRAMES]
        keys = [(path.relative_to(root).as_posix(), frame) for frame in chosen]
        true = [overlay.draw_truth(frames[key[1]], truth.get(key, []), thick=2) for key in keys]
        said = [
            overlay.draw_predictions(frames[key[1]], found.get(key, []), parsed.get(key, []))
            for key in keys
        ]
        rows += [stack(true, axis=1), stack(said, axis=1)]
    return stack(rows, axis=0)


def _group(path: Path) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    if path.exists():
        for row in pq.read_table(path).to_pylist():
            groups.setdefault((row["path"], row["frame"]), []).append(row)
    return groups


def read_image(path: Path) -> Image:
    """Return an image file as RGB uint8 [H, W, 3]."""
    bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), dtype=np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None, path
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _fit(image: Image) -> Image:
    size = (CELL[1], CELL[0])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
