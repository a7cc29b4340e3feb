"""One picture of the world, to be looked at: people, a walk, scenes with truth and predictions."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from vills.areas import AREAS
from vills.curation.video import VideoStream
from vills.data.files import read_table
from vills.data.images import CorruptImageError, decode_image, decode_rle
from vills.errors import InputError
from vills.inputs import read_input
from vills.report.pictures import Picture, render_stack, save_sheet

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
    for name, shown in SETS.items():
        if (folder / name).is_dir():
            people = _list_people(folder / name, shown)
            blocks.append(_draw_people(people, shown, num_people=num_people))
    if (folder / "mars").is_dir():
        blocks.append(_draw_walks(folder))
    if (folder / "kinetics").is_dir():
        blocks.append(_draw_scenes(folder))
    if not blocks:
        raise FileNotFoundError(
            f"{folder} has none of {', '.join(SETS)}, mars, kinetics. What to do: "
            "render the world first, with at least one of them in miniature.datasets."
        )
    save_sheet(out_png, render_stack(blocks))


class Shown(NamedTuple):
    """Whom a data set shows where, and how much room that takes on the sheet."""

    patterns: tuple[str, ...]
    """Of pictures and videos; those of the first come first."""
    names: str
    """Regular expression of person and heading in a path; files without are passed over."""
    person: str
    """What stands before the name of a person."""
    heading: str
    """What stands before a heading."""
    columns: int
    """Pictures below a heading."""
    width: int = 60
    """Of the label of a person, px."""


_STILLS, _VIDEOS = "BTS1/full/*/controlled/images_jpg/wb/*.jpg", "BTS1/full/*/field/videos/*.mp4"
_MARKET = ("query/*.jpg", "bounding_box_test/*.jpg")
_PRID = r"/(?P<head>cam_[ab])/person_(?P<pid>\d+)/\d"
SETS: Mapping[str, Shown] = {
    "market1501": Shown(_MARKET, r"/(?P<pid>(?!0000)\d+)_(?P<head>c\d)", "", "", 3, width=40),
    "prcc": Shown(
        ("rgb/test/?/*/*.jpg",), r"/(?P<head>[ABC])/(?P<pid>\d+)/c", "prcc ", "camera ", 4
    ),
    "ltcc": Shown(
        ("query/*.png", "test/*.png"), r"/(?P<pid>\d+)_(?P<head>\d+)_", "ltcc ", "outfit ", 6
    ),
    "prid2011": Shown(("prid_2011/multi_shot/*/*/*.png",), _PRID, "prid ", "", 8),
    "sigset": Shown((_STILLS, _VIDEOS), r"/(?P<pid>G\d+)_(?P<head>set\d)_", "", "", 3),
}


def _list_people(root: Path, shown: Shown) -> People:
    """Return the pictures of each person by heading; of a first video, the middle of its frames."""
    people: People = {}
    for path in (file for pattern in shown.patterns for file in sorted(root.glob(pattern))):
        found = re.search(shown.names, path.relative_to(root).as_posix())
        if not found:
            continue
        groups = people.setdefault(shown.person + found["pid"], {})
        heading = shown.heading + found["head"]
        if path.suffix != ".mp4":
            groups.setdefault(heading, []).append(path)
        elif f"{heading}, video" not in groups:
            frames = _read_frames(path)
            height, width = frames[0].shape[:2]
            left = (width - height // 2) // 2
            groups[f"{heading}, video"] = [f[:, left : left + height // 2] for f in frames[2::5]]
    return people


def _draw_people(people: People, shown: Shown, *, num_people: int) -> Picture:
    """Draw a line per person, below the headings of its pictures; stills before videos."""
    count, width = shown.columns, shown.width
    names = {name for groups in people.values() for name in groups}
    heads = sorted(names, key=lambda name: ("video" in name, name))
    labels = [_write_label(head, 14, width=count * CELL[1]) for head in heads]
    lines = [render_stack([_write_label("", 14, width=width), *labels], axis=1)]
    for label in sorted(people)[:num_people]:
        groups = [_draw_cells(people[label].get(head, []), count) for head in heads]
        lines.append(render_stack([_write_label(label, CELL[0], width=width), *groups], axis=1))
    return render_stack(lines, gap=2)


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


def _read_frames(path: Path) -> list[Picture]:
    return [frame.image for frame in VideoStream(path, path.name)]


def _read_image(path: Path) -> Picture:
    try:
        return decode_image(read_input(path), name=str(path))
    except CorruptImageError as error:
        raise InputError(f"{error}. What to do: `vills run miniature` puts it right.") from error


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
    return render_stack(rows, gap=2)


def _draw_scenes(folder: Path) -> Picture:
    root = folder / "kinetics"
    truth = _group(folder / "truth" / "kinetics.parquet")
    found = _group(root / "predictions" / "detections.parquet")
    parsed = _group(root / "predictions" / "parsing.parquet")
    rows = []
    for path in sorted((root / "train").glob("*.mp4"))[:3]:
        frames = _read_frames(path)
        chosen = [int(share * len(frames)) for share in _SCENE_FRAMES]
        keys = [(path.relative_to(root).as_posix(), frame) for frame in chosen]
        true = [_draw_truth(frames[k[1]], truth.get(k, []), thick=2) for k in keys]
        said = [_draw_predictions(frames[k[1]], found.get(k, []), parsed.get(k, [])) for k in keys]
        rows += [render_stack(true, axis=1), render_stack(said, axis=1)]
    return render_stack(rows)


def _group(path: Path) -> dict[tuple[str, int], list[Row]]:
    groups: dict[tuple[str, int], list[Row]] = {}
    if path.exists():
        for row in read_table(path, remedy="run the miniature stage again").to_pylist():
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


def _tint(image: Picture, counts: bytes, area: str, size: tuple[int, int]) -> None:
    mask = decode_rle(counts, *size)
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
