"""Sigset files: XML lists of signatures, each with its subject and its media.

The elements are those that ORNL's briar-api reads (lib/python/briar/sigset/parse.py), in the
namespaces `http://www.nist.gov/briar/xml/sigset` and `.../sigset-eval`: signature > name,
subjectId, sigmember > filePath, modality, media, mediaFormat, start, stop, unit. Only their local
names are looked at. What a member says (modality, kind of medium, path, segment) is checked here.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from xml.parsers import expat

from vills.data.files import VIDEO_SUFFIXES
from vills.data.images import SUFFIXES as IMAGE_SUFFIXES
from vills.data.layouts.base import LayoutError
from vills.data.layouts.listing import MAX_NUMBER
from vills.inputs import open_input

_MEMBER_FIELDS = ("filePath", "modality", "media", "start", "stop", "unit")


@dataclass(slots=True)
class Member:
    """One medium of a signature, as it is written; an empty text where an element is missing."""

    file_path: str = ""
    """Path, as the file gives it."""
    modality: str = ""
    """face, wholeBody, ..."""
    media: str = ""
    """digitalStill or digitalVideo."""
    start: str = ""
    """Begin of the segment."""
    stop: str = ""
    """End of the segment."""
    unit: str = ""
    """What start and stop count."""


@dataclass(slots=True)
class Signature:
    """A probe, or a part of what a gallery or the training has of its subject."""

    name: str = ""
    """Unique within the file."""
    subject_ids: list[str] = field(default_factory=list)
    """People; one but for files of several people in a picture."""
    members: list[Member] = field(default_factory=list)
    """Media, in the order of the file."""


def load_signatures(path: Path) -> list[Signature]:
    """Signatures of a file, in its order.

    Documents with a DTD are refused: entities can blow up (billion laughs) and reach other files.

    Raises:
        LayoutError: if the file is no complete XML, has a DTD, holds no signature, or one without
            a name, a subject or a path, or with two names, or two of one name.
    """
    reader = _Reader(path)
    try:
        with open_input(path) as stream:
            reader.parser.ParseFile(stream)
    except LayoutError:
        raise
    # an encoding that nobody knows is a LookupError, one of several bytes a ValueError
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise LayoutError(
            f"sigset: {path} is not a complete XML file in its declared encoding ({error}). What "
            "to do: copy it again, or correct it there."
        ) from error
    if not reader.signatures:
        raise LayoutError(
            f"sigset: {path} holds no signature. What to do: remove it, or put the sigset of "
            "that name there."
        )
    names = set()
    for signature in reader.signatures:
        _check(signature, path=path)
        if signature.name in names:
            raise LayoutError(
                f"sigset: {path} has two signatures of the name {signature.name}. What to do: give "
                "each its own name."
            )
        names.add(signature.name)
    return reader.signatures


class _Reader:
    """Takes what the parser meets; a signature at a time stands in memory as XML."""

    def __init__(self, path: Path) -> None:
        self.signatures: list[Signature] = []
        self.parser: Any = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._take
        self._path = path
        self._signature: Signature | None = None
        self._member: Member | None = None
        self._text: list[str] = []

    def _refuse(self, *_: object) -> None:
        raise LayoutError(
            f"sigset: {self._path} has a document type definition, which is not read: it could "
            "name other files, or need unlimited memory. What to do: remove the <!DOCTYPE ...>."
        )

    def _start(self, name: str, _: dict[str, str]) -> None:
        self._text = []
        local = name.rpartition(" ")[2]
        outer = {"signature": self._signature, "sigmember": self._member}.get(local)
        if outer is not None:
            raise LayoutError(
                f"sigset: line {self.parser.CurrentLineNumber} of {self._path} has a {local} "
                "inside another. What to do: correct the file."
            )
        if local == "signature":
            self._signature = Signature()
        elif local == "sigmember" and self._signature is not None:
            self._member = Member()
            self._signature.members.append(self._member)

    def _take(self, text: str) -> None:
        self._text.append(text)

    def _end(self, name: str) -> None:
        local, text = name.rpartition(" ")[2], "".join(self._text).strip()
        self._text = []
        if self._signature is None:
            return
        if local == "signature":
            self.signatures.append(self._signature)
            self._signature = None
        elif local == "sigmember":
            self._member = None
        elif local == "subjectId" and text not in self._signature.subject_ids:
            self._signature.subject_ids.append(text)
        elif self._member is None:
            if local == "name":
                self._set(self._signature, local, text)
        elif local in _MEMBER_FIELDS:
            self._set(self._member, "file_path" if local == "filePath" else local, text)

    def _set(self, owner: Signature | Member, name: str, text: str) -> None:
        if known := getattr(owner, name):
            raise LayoutError(
                f"sigset: line {self.parser.CurrentLineNumber} of {self._path} says {text!r} where "
                f"{known!r} was given already. What to do: keep one of the two."
            )
        setattr(owner, name, text)


def _check(signature: Signature, *, path: Path) -> None:
    said = {
        "name": signature.name,
        "subjectId": "".join(signature.subject_ids),
        "filePath": all(member.file_path for member in signature.members),
    }
    if missing := [name for name, value in said.items() if not value]:
        raise LayoutError(
            f"sigset: signature {signature.name or '?'} of {path} has no {' and no '.join(missing)}"
            ". What to do: correct the file."
        )


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
            "(which are read) and face (ignored). What to do: correct it."
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
    """Return a number as frames or ms; -1 for none."""
    if text.lower() in _WHOLE:
        return -1
    number = Decimal(text)
    # asked first: to write out 1e999999999 as a whole number would fill the memory
    if not -MAX_NUMBER <= number <= MAX_NUMBER or (unit == "frame" and number != int(number)):
        raise ValueError(text)
    return int(number * 1000) if unit == "s" else int(number)
