"""What a member of a signature says: modality, kind of medium, path and segment."""

import re
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import NamedTuple

from vills.data.images import SUFFIXES as IMAGE_SUFFIXES
from vills.data.layouts.base import LayoutError
from vills.data.layouts.kinetics import SUFFIXES as VIDEO_SUFFIXES
from vills.data.layouts.listing import MAX_NUMBER
from vills.data.layouts.sigset_xml import Member

STILL, VIDEO = "still", "video"
_KINDS = {"digitalstill": STILL, "still": STILL, "digitalvideo": VIDEO, "video": VIDEO}
_WRONG_SUFFIXES = {STILL: VIDEO_SUFFIXES, VIDEO: IMAGE_SUFFIXES}
_BODIES = ("", "wholebody", "wb", "body", "gait", "unspecified", "unknown", "all", "any")
_OTHERS = ("face",)
_UNITS = {"frame": "frame", "frames": "frame", "second": "s", "seconds": "s", "s": "s", "sec": "s"}
_UNITS |= {"millisecond": "ms", "milliseconds": "ms", "ms": "ms"}
_WHOLE = ("", "na", "n/a", "none", "-1")


class Segment(NamedTuple):
    """Part of a video."""

    start: int = 0
    """First frame, or ms."""
    stop: int = -1
    """Frame, or ms, after the last one; -1: to the end."""
    unit: str = "frame"
    """frame or ms."""


def is_body(member: Member, *, where: str) -> bool:
    """Whether a member shows a whole person, or may do so; a face is for other systems.

    Raises:
        LayoutError: if its modality is unknown.
    """
    modality = re.sub(r"[^a-z]", "", member.modality.lower())
    if modality not in (*_BODIES, *_OTHERS):
        raise LayoutError(
            f"sigset: {where} has modality {member.modality!r}. Allowed: wholeBody, gait, none "
            "(which are read) and face (passed over). What to do: correct it."
        )
    return modality in _BODIES


def parse_kind(member: Member, *, where: str) -> str:
    """STILL or VIDEO.

    Raises:
        LayoutError: if the medium is unknown, or the file's suffix says otherwise.
    """
    kind = _KINDS.get(member.media.lower())
    if kind is None:
        raise LayoutError(
            f"sigset: {where} has media {member.media!r}. Allowed: digitalStill, digitalVideo. "
            "What to do: correct it."
        )
    if member.file_path.lower().endswith(_WRONG_SUFFIXES[kind]):
        raise LayoutError(
            f"sigset: {where} has media {member.media} for {member.file_path}. What to do: correct "
            "one of the two."
        )
    return kind


def parse_path(member: Member, *, where: str) -> str:
    """Path below the root, posix, without `./`.

    Raises:
        LayoutError: if it leads elsewhere.
    """
    path = PurePosixPath(member.file_path.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or ":" in str(path).split("/")[0]
    if outside or not path.parts:
        raise LayoutError(
            f"sigset: {where} has filePath {member.file_path!r}. Allowed: a path below the folder "
            "of the data set. What to do: make the paths relative to that folder."
        )
    return str(path)


def parse_segment(member: Member, *, where: str) -> Segment:
    """Begin and end of a video: `start` counts from 0 and belongs to it, `stop` does not.

    Raises:
        LayoutError: if they are no numbers, their unit is unknown, or nothing lies between them.
    """
    if member.start.lower() in _WHOLE and member.stop.lower() in _WHOLE:
        return Segment()
    unit = _UNITS.get(member.unit.lower() or "frame")
    try:
        start, stop = (_parse_number(text, unit=unit) for text in (member.start, member.stop))
    except (InvalidOperation, ValueError):
        start, stop = -1, -1
    start = 0 if member.start.lower() in _WHOLE else start
    ends = member.stop.lower() not in _WHOLE
    if unit is None or start < 0 or (ends and stop <= start) or max(start, stop) > MAX_NUMBER:
        raise LayoutError(
            f"sigset: {where} has the segment {member.start!r} to {member.stop!r}, unit "
            f"{member.unit!r}. Allowed: start from 0, a greater stop, whole frames, seconds or "
            "milliseconds. What to do: correct it."
        )
    return Segment(start, stop if ends else -1, "frame" if unit == "frame" else "ms")


def _parse_number(text: str, *, unit: str | None) -> int:
    """A number as frames or ms; -1 for none."""
    if text.lower() in _WHOLE:
        return -1
    number = Decimal(text)
    # asked first: to write out 1e999999999 as a whole number would fill the memory
    if not -MAX_NUMBER <= number <= MAX_NUMBER or (unit == "frame" and number != int(number)):
        raise ValueError(text)
    return int(number * 1000) if unit == "s" else int(number)
