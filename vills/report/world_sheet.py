"""One picture of the world, to be looked at: people, a walk, scenes with truth and predictions."""

from collections.abc import Callable, Mapping
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
_SCENE_FRAMES = (0.3, 0.5, 0.7)

People = dict[str, dict[str, list[Path | Picture]]]
"""Person -> heading -> pictures, or files of them."""


def build_world_sheet(folder: Path, out_png: Path, num_people: int = 12) -> None:
    """Draw what `render_world` wrote below `folder`, as far as it is there.

    Top: one row per held-out person, cameras side by side; then people of the cloth-changing
    sets, of PRID2011 and of the sigset. Then a walk of MARS with truth, and frames of scenes:
    truth (boxes, keypoints, areas) above what the detector and the parser say.

    Raises:
        FileNotFoundError: there is no data set with people in it.
    """
    blocks = []
    for name, (list_people, count, width) in SETS.items():
        if (folder / name).is_dir():
            people = list_people(folder / name)
            blocks.append(_draw_people(people, count=count, width=width, num_people=num_people))
    if (folder / "mars").is_dir():
        blocks.append(_draw_walks(folder))
    if (folder / "kinetics").is_dir():
        blocks.append(_draw_scenes(folder))
    if not blocks:
        raise FileNotFoundError(
            f"{folder} holds none of {', '.join(SETS)}, mars, kinetics. What to do: "
            "render the world first, with at least one of them in miniature.datasets."
        )
    save_sheet(out_png, stack(blocks))


def _list_market(root: Path) -> People:
    people: People = {}
    for path in [*_find(root / "query", "*.jpg"), *_find(root / "bounding_box_test", "*.jpg")]:
        pid, camera = path.name.split("_")[:2]
        if int(pid) > 0:
            people.setdefault(pid, {}).setdefault(camera[:2], []).append(path)
    return people


def _list_prcc(root: Path) -> People:
    test = root / "rgb" / "test"
    return {
        f"prcc {person.name}": {
            f"camera {camera}": _find(test / camera / person.name, "[!.]*.jpg") for camera in "ABC"
        }
        for person in _find(test / "A", "[0-9]*")
    }


def _list_ltcc(root: Path) -> People:
    people: People = {}
    for file in [*_find(root / "query", "[0-9]*.png"), *_find(root / "test", "[0-9]*.png")]:
        pid, outfit, _ = file.name.split("_", maxsplit=2)
        people.setdefault(f"ltcc {pid}", {}).setdefault(f"outfit {outfit}", []).append(file)
    return people


def _list_prid(root: Path) -> People:
    people: People = {}
    for person in _find(root / "prid_2011" / "multi_shot", "cam_[ab]/person_*"):
        label = person.name.replace("person_", "prid ")
        people.setdefault(label, {})[person.parent.name] = _find(person, "[0-9]*.png")
    return people


def _list_sigset(root: Path) -> People:
    people: People = {}
    for person in _find(root / "BTS1" / "full", "G*"):
        groups = people[person.name] = {}
        for outfit in ("set1", "set2"):
            stills = person / "controlled" / "images_jpg" / "wb"
            groups[outfit] = _find(stills, f"*_{outfit}_*.jpg")
            frames = read_frames(_find(person / "field" / "videos", f"*_{outfit}_*.mp4")[0])
            height, width = frames[0].shape[:2]
            left = (width - height // 2) // 2
            groups[f"{outfit}, video"] = [f[:, left : left + height // 2] for f in frames[2::5]]
    return people


def _find(folder: Path, pattern: str) -> list[Any]:
    return sorted(folder.glob(pattern))


SETS: Mapping[str, tuple[Callable[[Path], People], int, int]] = {
    "market1501": (_list_market, 3, 40),
    "prcc": (_list_prcc, 4, 60),
    "ltcc": (_list_ltcc, 6, 60),
    "prid2011": (_list_prid, 8, 60),
    "sigset": (_list_sigset, 3, 60),
}
"""Data set -> who is in it, pictures below a heading, width of the label of a person."""


def _draw_people(people: People, *, count: int, width: int, num_people: int) -> Picture:
    """Draw a line per person, below the headings of its pictures; stills before videos."""
    names = {name for groups in people.values() for name in groups}
    heads = sorted(names, key=lambda name: ("video" in name, name))
    labels = [_write_label(head, 14, width=count * CELL[1]) for head in heads]
    lines = [stack([_write_label("", 14, width=width), *labels], axis=1)]
    for label in sorted(people)[:num_people]:
        groups = [_draw_cells(people[label].get(head, []), count) for head in heads]
        lines.append(stack([_write_label(label, CELL[0], width=width), *groups], axis=1))
    return stack(lines, gap=2)


def _draw_cells(found: list[Path | Picture], count: int) -> Picture:
    """Draw pictures side by side as cells; blank cells for missing ones."""
    pictures = [_read_image(item) if isinstance(item, Path) else item for item in found[:count]]
    blank = np.full((*CELL, 3), 255, dtype=np.uint8)
    cells = [*map(_fit_cell, pictures), *[blank] * (count - len(pictures))]
    return np.concatenate(cells, axis=1)


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
        images = [_read_image(file) for file in files]
        keys = [(file.relative_to(folder / "mars").as_posix(), 0) for file in files]
        marked = [_draw_truth(i, truth.get(key, [])) for i, key in zip(images, keys, strict=True)]
        rows += [np.concatenate(list(map(_fit_cell, line)), axis=1) for line in (images, marked)]
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
        true = [_draw_truth(frames[k[1]], truth.get(k, []), thick=2) for k in keys]
        said = [_draw_predictions(frames[k[1]], found.get(k, []), parsed.get(k, [])) for k in keys]
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
