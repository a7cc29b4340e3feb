"""Media of a sigset: which files its members are, and whom they show."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from vills.data.layouts.base import LayoutError, RawImage, RawRow, RawTracklet, RawVideo
from vills.data.layouts.listing import MAX_NUMBER, list_folder, parse_person, render_first
from vills.data.layouts.sigset_members import (
    STILL,
    Member,
    Segment,
    is_body,
    parse_kind,
    parse_path,
    parse_segment,
)

OUTFITS = 100
"""clothes_id = OUTFITS * pid + N of setN in the path."""
_OUTFIT = re.compile(r"(?:^|[/_])set(\d{1,2})(?=[/_.]|$)")
_SET = re.compile(r"BTS([\d.]+)")
_DIGITS = 12  # more than any number here has
_RANKS = {"train": 0, "gallery": 1, "query": 2}


@dataclass
class MediaTable:
    """Collects the media of all files of a sigset; what is used several times is one row."""

    root: Path
    """Folder that all paths are below."""
    num_members: int = 0
    """Members that are read."""
    passed: Counter[str] = field(default_factory=Counter)
    """Members passed over, by modality."""
    missing: list[str] = field(default_factory=list)
    """Paths of members that are not there, as often as they are asked for."""

    def __post_init__(self) -> None:
        self._rows: dict[str, RawRow] = {}
        self._splits: defaultdict[str, set[str]] = defaultdict(set)
        self._subjects: dict[int, str] = {}

    def find_pid(self, subject_id: str, *, where: str) -> int:
        """Person of a subject: its digits (G00038 is 38).

        Raises:
            LayoutError: if it has none, or another subject has the same ones.
        """
        digits = re.findall(r"\d+", subject_id)
        # asked first: Python converts no number of thousands of digits
        is_short = len(digits) == 1 and len(digits[0]) <= _DIGITS
        if not is_short or int(digits[0]) > MAX_NUMBER // OUTFITS - 1:
            raise LayoutError(
                f"sigset: {where} has subjectId {subject_id!r}, which does not identify a person. "
                "Expected: letters and one number, like G00038. What to do: rename the subject."
            )
        pid = parse_person(digits[0], path=where, name="sigset")
        if self._subjects.setdefault(pid, subject_id) != subject_id:
            raise LayoutError(
                f"sigset: {where}: subjects {self._subjects[pid]} and {subject_id} have the same "
                "number. What to do: rename one of them."
            )
        return pid

    def add(self, member: Member, *, pid: int, split: str, where: str) -> str:
        """Take a member, and say by which key templates name its row; empty if it has none.

        Raises:
            LayoutError: if the member makes no sense, was another person's, or is for training and
                for testing.
        """
        if not is_body(member, where=where):
            self.passed[member.modality] += 1
            return ""
        self.num_members += 1
        path = self._locate(parse_path(member, where=where))
        is_still = parse_kind(member, where=where) == STILL
        segment = Segment() if is_still else parse_segment(member, where=where)
        row = self._build_row(path, segment, is_still=is_still, pid=pid, split=split)
        if row is None:
            self.missing.append(path)
            return ""
        self._take(row, where=where)
        return row.key

    def build_rows(self) -> tuple[list[RawImage], list[RawTracklet], list[RawVideo]]:
        """One row per medium, sorted by key; a medium of a probe and of a gallery is a query."""
        rows = [
            replace(self._rows[key], split=max(self._splits[key], key=_RANKS.__getitem__))
            for key in sorted(self._rows)
        ]
        return (
            [row for row in rows if isinstance(row, RawImage)],
            [row for row in rows if isinstance(row, RawTracklet)],
            [row for row in rows if isinstance(row, RawVideo)],
        )

    def describe(self) -> tuple[str, ...]:
        """Return what was passed over, is missing, or is used where it should not be."""
        notes = [
            f"{count:,} members of modality {modality} ignored, since only bodies are compared"
            for modality, count in sorted(self.passed.items())
        ]
        if self.missing:
            notes.append(
                f"{len(self.missing):,} of {self.num_members:,} members have no file: "
                f"{render_first(sorted(set(self.missing)))}"
            )
        both = sorted(key for key, splits in self._splits.items() if len(splits) > 1)
        if both:
            notes.append(
                f"{len(both):,} media are in a probe and in a gallery, where the probe finds "
                f"itself: {render_first(both)}"
            )
        return tuple(notes)

    def _locate(self, path: str) -> str:
        """Sigsets say BTS1/..., the release has BGC1/BTS1/... (the path map of briar-api)."""
        found = _SET.fullmatch(path.split("/")[0])
        if found is None or (self.root / path).exists():
            return path
        inside = f"BGC{found[1]}/{path}"
        return inside if (self.root / inside).exists() else path

    def _build_row(
        self, path: str, segment: Segment, *, is_still: bool, pid: int, split: str
    ) -> RawRow | None:
        """Return a row of the file or folder at `path`, if there is any."""
        place, outfit = self.root / path, _find_outfit(path, pid)
        if place.is_file() and is_still:
            return RawImage(path, split, pid, clothes_id=outfit)
        if place.is_file():
            # unlike every path, should a segment of the file be another row
            name = path if segment == Segment() else "{}#{}-{}{}".format(path, *segment)
            return RawVideo(path, name, split, pid, clothes_id=outfit, **segment._asdict())
        if place.is_dir() and not is_still and (paths := _list_frames(place, path, segment)):
            return RawTracklet(paths, split, pid, clothes_id=outfit)
        return None

    def _take(self, row: RawRow, *, where: str) -> None:
        key = row.key
        known = self._rows.setdefault(key, row)
        if known.pid != row.pid:
            raise LayoutError(
                f"sigset: {where}: {key} shows subject {self._subjects[row.pid]}, but elsewhere "
                f"{self._subjects[known.pid]}. What to do: correct one of the two."
            )
        if replace(known, split=row.split) != row:
            raise LayoutError(
                f"sigset: {where}: {key} is used as two different media. What to do: use it either "
                "as a still or in one segment of a folder of frames."
            )
        self._splits[key].add(row.split)
        if "train" in self._splits[key] and len(self._splits[key]) > 1:
            raise LayoutError(
                f"sigset: {where}: {key} is for training and for testing. What to do: take it out "
                "of one of the two."
            )


def _list_frames(folder: Path, path: str, segment: Segment) -> tuple[str, ...]:
    """Images of a folder in natural order; a folder has no rate, so that ms select nothing."""
    if segment.unit != "frame":
        return ()
    names = list_folder(folder).media
    chosen = names[segment.start : None if segment.stop < 0 else segment.stop]
    return tuple(f"{path}/{name}" for name in chosen)


def _find_outfit(path: str, pid: int) -> int:
    found = _OUTFIT.search(path)
    return OUTFITS * pid + int(found[1]) if found else -1
