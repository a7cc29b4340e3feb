"""One picture of the world, to be looked at: people, a walk, scenes with truth and predictions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pycocotools.mask as coco

from vills.areas import AREAS
from vills.data.images import decode_curated
from vills.report.pictures import Picture, save_sheet, stack

Colour = tuple[int, int, int]
Row = dict[str, Any]
"""A row of a table of truth or of predictions."""

AREA_COLOURS: dict[str, Colour] = {
    "upper_body": (255, 80, 60),
    "lower_body": (60, 120, 255),
    "head": (255, 220, 60),
}
CELL = (128, 64)
_SURE: Colour = (60, 230, 90)
_UNSURE: Colour = (255, 60, 220)
_THRESHOLD = 0.8  # the paper's, of a detection
_VIEWS = 3  # images of a person in each camera
_STRIP = 8  # frames of a tracklet
_SCENE_FRAMES = (0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True)
class SheetGroup:
    """Pictures side by side under one heading."""

    label: str
    pictures: list[Picture]
    count: int
    """Cells that the group takes, whatever it has."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One person."""

    label: str
    groups: list[SheetGroup]


def build_world_sheet(folder: Path, out_png: Path, num_people: int = 12) -> None:
    """Draw what `render_world` wrote below `folder`, as far as it is there.

    Top: one row per held-out person, cameras side by side; then people of the cloth-changing
    sets, of PRID2011 and of the sigset. Then a walk of MARS with truth, and frames of scenes:
    truth (boxes, keypoints, areas) above what the detector and the parser say.

    Raises:
        FileNotFoundError: there is no data set with people in it.
    """
    blocks = []
    for name, list_rows in LISTS.items():
        if (folder / name).is_dir():
            width = 40 if name == "market1501" else 60
            blocks.append(_draw_rows(list_rows(folder / name)[:num_people], width=width))
    if (folder / "mars").is_dir():
        blocks.append(_draw_walks(folder))
    if (folder / "kinetics").is_dir():
        blocks.append(_draw_scenes(folder))
    if not blocks:
        raise FileNotFoundError(
            f"{folder} holds none of {', '.join(LISTS)}, mars, kinetics. What to do: "
            "render the world first, with at least one of them in miniature.datasets."
        )
    save_sheet(out_png, stack(blocks))


def _list_market(root: Path) -> list[SheetRow]:
    seen: dict[str, dict[str, list[Path]]] = {}
    for folder in ("query", "bounding_box_test"):
        for path in sorted((root / folder).glob("*.jpg")):
            pid, camera = path.name.split("_")[:2]
            if int(pid) > 0:
                seen.setdefault(pid, {}).setdefault(camera[:2], []).append(path)
    cameras = sorted({camera for views in seen.values() for camera in views})
    rows = []
    for pid in sorted(seen):
        views = {camera: seen[pid].get(camera, [])[:_VIEWS] for camera in cameras}  # queries first
        groups = [SheetGroup(c, list(map(_read_image, views[c])), _VIEWS) for c in cameras]
        rows.append(SheetRow(pid, groups))
    return rows


def _list_prcc(root: Path) -> list[SheetRow]:
    test = root / "rgb" / "test"
    return [
        SheetRow(
            f"prcc {person.name}",
            [_read(f"camera {c}", (test / c / person.name).glob("[!.]*.jpg"), 4) for c in "ABC"],
        )
        for person in sorted((test / "A").glob("[0-9]*"))
    ]


def _list_ltcc(root: Path) -> list[SheetRow]:
    files = [*(root / "query").glob("[0-9]*.png"), *(root / "test").glob("[0-9]*.png")]
    people: dict[str, dict[str, list[Path]]] = {}
    for file in files:
        pid, outfit, _ = file.name.split("_", maxsplit=2)
        people.setdefault(pid, {}).setdefault(outfit, []).append(file)
    outfits = sorted({outfit for worn in people.values() for outfit in worn})
    return [
        SheetRow(
            f"ltcc {pid}",
            [_read(f"outfit {outfit}", people[pid].get(outfit, []), 6) for outfit in outfits],
        )
        for pid in sorted(people)
    ]


def _list_prid(root: Path) -> list[SheetRow]:
    cameras = [root / "prid_2011" / "multi_shot" / name for name in ("cam_a", "cam_b")]
    people = sorted({person.name for camera in cameras for person in camera.glob("person_*")})
    return [
        SheetRow(
            name.replace("person_", "prid "),
            [_read(c.name, (c / name).glob("[0-9]*.png"), _STRIP) for c in cameras],
        )
        for name in people
    ]


def _list_sigset(root: Path) -> list[SheetRow]:
    rows = []
    for person in sorted((root / "BTS1" / "full").glob("G*")):
        stills = person / "controlled" / "images_jpg" / "wb"
        groups = [_read(s, stills.glob(f"*_{s}_*.jpg"), 3) for s in ("set1", "set2")]
        for outfit in ("set1", "set2"):
            video = min((person / "field" / "videos").glob(f"*_{outfit}_*.mp4"))
            frames = read_frames(video)
            height, width = frames[0].shape[:2]
            middle = [f[:, (width - height // 2) // 2 :][:, : height // 2] for f in frames[2::5]]
            groups.append(SheetGroup(f"{outfit}, video", middle, 3))
        rows.append(SheetRow(person.name, groups))
    return rows


def _read(label: str, paths: Iterable[Path], count: int) -> SheetGroup:
    return SheetGroup(label, [_read_image(path) for path in sorted(paths)[:count]], count)


LISTS: Mapping[str, Callable[[Path], list[SheetRow]]] = {
    "market1501": _list_market,
    "prcc": _list_prcc,
    "ltcc": _list_ltcc,
    "prid2011": _list_prid,
    "sigset": _list_sigset,
}


def _draw_rows(rows: list[SheetRow], *, width: int) -> Picture:
    """Draw a line per person, below the headings of its groups; labels are `width` wide."""
    heads = [_write_label(g.label, 14, width=g.count * CELL[1]) for g in rows[0].groups]
    drawn = [stack([_write_label("", 14, width=width), *heads], axis=1)]
    for row in rows:
        groups = [_draw_group(group) for group in row.groups]
        drawn.append(stack([_write_label(row.label, CELL[0], width=width), *groups], axis=1))
    return stack(drawn, gap=2)


def _draw_group(group: SheetGroup) -> Picture:
    """Draw pictures side by side as cells; blank cells for missing ones."""
    cells = [_fit_cell(picture) for picture in group.pictures[: group.count]]
    blank = np.full((*CELL, 3), 255, dtype=np.uint8)
    return np.concatenate(cells + [blank] * (group.count - len(cells)), axis=1)


def _write_label(text: str, height: int, *, width: int) -> Picture:
    field = np.full((height, width, 3), 255, dtype=np.uint8)
    spot = (2, height // 2 + 4)
    cv2.putText(field, text, spot, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return field


def _fit_cell(image: Picture) -> Picture:
    size = (CELL[1], CELL[0])
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _read_image(path: Path) -> Picture:
    return decode_curated(path.read_bytes(), name=path.name)


def _draw_walks(folder: Path) -> Picture:
    """Draw the first frames of two people's tracklets, plain and with the truth on top."""
    truth = _group(folder / "truth" / "mars.parquet")
    rows = []
    for person in sorted((folder / "mars" / "bbox_test").glob("[0-9]*"))[1:3]:
        files = sorted(person.glob("*T0001F*.jpg"))
        plain = [_fit_cell(_read_image(file)) for file in files]
        marked = []
        for file in files:
            key = (str(file.relative_to(folder / "mars").as_posix()), 0)
            marked.append(_fit_cell(_draw_truth(_read_image(file), truth.get(key, []))))
        rows += [np.concatenate(plain, axis=1), np.concatenate(marked, axis=1)]
    return stack(rows, gap=2)


def _draw_scenes(folder: Path) -> Picture:
    root = folder / "kinetics"
    truth = _group(folder / "truth" / "kinetics.parquet")
    found = _group(root / "predictions" / "detections.parquet")
    parsed = _group(root / "predictions" / "parsing.parquet")
    rows = []
    for path in sorted((root / "train").glob("*.mp4"))[:3]:
        frames = read_frames(path)
        chosen = [int(share * len(frames)) for share in _SCENE_FRAMES]
        keys = [(path.relative_to(root).as_posix(), frame) for frame in chosen]
        true = [_draw_truth(frames[key[1]], truth.get(key, []), thick=2) for key in keys]
        said = [
            _draw_predictions(frames[key[1]], found.get(key, []), parsed.get(key, []))
            for key in keys
        ]
        rows += [stack(true, axis=1), stack(said, axis=1)]
    return stack(rows)


def _group(path: Path) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    if path.exists():
        for row in pq.read_table(path).to_pylist():
            groups.setdefault((row["path"], row["frame"]), []).append(row)
    return groups


def _draw_truth(image: Picture, rows: list[Row], *, thick: int = 1) -> Picture:
    """Draw areas, boxes and keypoints over a copy; hidden keypoints in another colour."""
    drawn = image.copy()
    for row in rows:
        for area in AREAS:
            _tint(drawn, row[f"mask_{area}"], area, (row["height"], row["width"]))
    for row in rows:
        _draw_box(drawn, row, f"{row['person']} {row['visible']:.2f}" if thick > 1 else "", _SURE)
        _draw_points(drawn, row["keypoints"], thick)
    return drawn


def _draw_predictions(image: Picture, found: list[Row], parsed: list[Row]) -> Picture:
    """Draw predicted boxes, scores, keypoints and the parsing map over a copy."""
    drawn = image.copy()
    for row in parsed:
        _tint(drawn, row["counts"], row["area"], (row["height"], row["width"]))
    for row in found:
        colour = _SURE if row["score"] >= _THRESHOLD else _UNSURE
        _draw_box(drawn, row, f"{row['score']:.2f}", colour)
        if row["keypoints"] is not None:
            _draw_points(drawn, row["keypoints"], 2)
    return drawn


def read_frames(path: Path) -> list[Picture]:
    """Read all frames of a short video, RGB uint8 [H, W, 3]."""
    with av.open(str(path)) as container:
        pictures = (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))
        return [np.asarray(picture, dtype=np.uint8) for picture in pictures]


def _tint(image: Picture, counts: bytes, area: str, size: tuple[int, int]) -> None:
    mask = coco.decode({"size": list(size), "counts": counts}).astype(bool)
    colour = np.array(AREA_COLOURS[area])
    image[mask] = (0.45 * image[mask] + 0.55 * colour).astype(np.uint8)


def _draw_box(image: Picture, row: Row, label: str, colour: Colour) -> None:
    left, top, right, bottom = (round(row[name]) for name in ("x1", "y1", "x2", "y2"))
    cv2.rectangle(image, (left, top), (right - 1, bottom - 1), colour, 1)
    if label:
        font = cv2.FONT_HERSHEY_SIMPLEX
        cv2.putText(image, label, (left, max(8, top - 2)), font, 0.32, colour, 1, cv2.LINE_AA)


def _draw_points(image: Picture, flat: list[float], thick: int) -> None:
    for x, y, score in np.asarray(flat).reshape(-1, 3):
        colour = _SURE if score > 0.5 else _UNSURE
        cv2.circle(image, (round(float(x)), round(float(y))), thick, colour, -1)
