"""One picture of the world, to be looked at: people, a walk, scenes with truth and predictions."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from vills.io import save_bytes
from vills.miniature import overlay
from vills.miniature.painter import Image
from vills.miniature.sheet_cells import (
    CELL,
    draw_pictures,
    fit_cell,
    read_image,
    stack,
    write_label,
)
from vills.miniature.sheet_rows import LISTS, SheetRow
from vills.miniature.sink import Row

_VIEWS = 3  # images of a person in each camera
_SCENE_FRAMES = (0.3, 0.5, 0.7)


def build_contact_sheet(folder: Path, out_png: Path, num_people: int = 12) -> None:
    """Draw what `render_world` wrote below `folder`, as far as it is there.

    Top: one row per held-out person, cameras side by side; then people of the cloth-changing
    sets, of PRID2011 and of the sigset. Then a walk of MARS with truth, and frames of scenes:
    truth (boxes, keypoints, areas) above what the detector and the parser say.

    Raises:
        FileNotFoundError: there is no data set with people in it.
    """
    blocks = []
    if (folder / "market1501").is_dir():
        blocks.append(_draw_people(folder / "market1501", num_people))
    for name, list_rows in LISTS.items():
        if (folder / name).is_dir():
            blocks.append(_draw_rows(list_rows(folder / name)[:num_people]))
    if (folder / "mars").is_dir():
        blocks.append(_draw_walks(folder))
    if (folder / "kinetics").is_dir():
        blocks.append(_draw_scenes(folder))
    if not blocks:
        raise FileNotFoundError(
            f"{folder} holds none of market1501, {', '.join(LISTS)}, mars, kinetics. What to do: "
            "render the world first, with at least one of them in miniature.datasets."
        )
    sheet = stack(blocks, axis=0)
    done, data = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    assert done
    save_bytes(out_png, data.tobytes())


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
        groups = [
            draw_pictures([read_image(path) for path in seen[pid].get(camera, [])], _VIEWS)
            for camera in cameras
        ]
        rows.append(stack([write_label(pid, CELL[0]), *groups], axis=1))
    labels = [write_label(camera, 14, width=_VIEWS * CELL[1]) for camera in cameras]
    return stack([stack([write_label("", 14), *labels], axis=1), *rows], axis=0, gap=2)


def _draw_rows(rows: list[SheetRow]) -> Image:
    drawn = []
    for row in rows:
        groups = [draw_pictures(list(group.pictures), group.count) for group in row.groups]
        drawn.append(stack([write_label(row.label, CELL[0], width=60), *groups], axis=1))
    heads = [write_label(g.label, 14, width=g.count * CELL[1]) for g in rows[0].groups]
    return stack([stack([write_label("", 14, width=60), *heads], axis=1), *drawn], axis=0, gap=2)


def _draw_walks(folder: Path) -> Image:
    """Draw the first frames of two people's tracklets, plain and with the truth on top."""
    truth = _group(folder / "truth" / "mars.parquet")
    rows = []
    for person in sorted((folder / "mars" / "bbox_test").glob("[0-9]*"))[1:3]:
        files = sorted(person.glob("*T0001F*.jpg"))
        plain = [fit_cell(read_image(file)) for file in files]
        marked = []
        for file in files:
            key = (str(file.relative_to(folder / "mars").as_posix()), 0)
            marked.append(fit_cell(overlay.draw_truth(read_image(file), truth.get(key, []))))
        rows += [np.concatenate(plain, axis=1), np.concatenate(marked, axis=1)]
    return stack(rows, axis=0, gap=2)


def _draw_scenes(folder: Path) -> Image:
    root = folder / "kinetics"
    truth = _group(folder / "truth" / "kinetics.parquet")
    found = _group(root / "predictions" / "detections.parquet")
    parsed = _group(root / "predictions" / "parsing.parquet")
    rows = []
    for path in sorted((root / "train").glob("*.mp4"))[:3]:
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
