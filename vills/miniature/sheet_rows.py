"""Which pictures of the cloth-changing sets, PRID2011 and the sigset a contact sheet shows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vills.miniature.overlay import read_frames
from vills.miniature.painter import Image
from vills.miniature.sheet_cells import read_image

_STRIP = 8  # frames of a tracklet


@dataclass(frozen=True, slots=True)
class SheetGroup:
    """Pictures side by side under one heading."""

    label: str
    pictures: Sequence[Image]
    count: int
    """Cells that the group takes, whatever it has."""


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One person."""

    label: str
    groups: Sequence[SheetGroup]


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
    return SheetGroup(label, [read_image(path) for path in sorted(paths)[:count]], count)


LISTS: Mapping[str, Callable[[Path], list[SheetRow]]] = {
    "prcc": _list_prcc,
    "ltcc": _list_ltcc,
    "prid2011": _list_prid,
    "sigset": _list_sigset,
}
