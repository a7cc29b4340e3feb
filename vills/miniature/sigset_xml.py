"""The XML of a sigset: signatures, each a subject and the media that show it.

Elements and namespaces are those that ORNL's briar-api reads (lib/python/briar/sigset/parse.py).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_OPEN = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<sigset xmlns="http://www.nist.gov/briar/xml/sigset"'
    ' xmlns:eval="http://www.nist.gov/briar/xml/sigset-eval">\n'
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a signature, or a piece of it."""

    path: str
    modality: str = "wholeBody"
    span: tuple[str, str, str] | None = None
    """Start, stop (excluded) and their unit: frame or second."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Media of one subject under one name."""

    name: str
    subject: str
    members: Sequence[Member]


def encode_sigset(signatures: Iterable[Signature]) -> bytes:
    """Return the file."""
    parts = [_OPEN]
    number = 0
    for signature in signatures:
        parts.append("  <signature>\n")
        parts += [_write("name", signature.name, 4), _write("subjectId", signature.subject, 4)]
        for member in signature.members:
            parts.append(_write_member(member, number))
            number += 1
        parts.append("  </signature>\n")
    parts.append("</sigset>\n")
    return "".join(parts).encode()


def _write_member(member: Member, number: int) -> str:
    ending = member.path.rsplit(".", maxsplit=1)[-1]
    lines = [
        _write("filePath", f"./{member.path}", 6),
        _write("modality", member.modality, 6),
        _write("media", "digitalStill" if ending == "jpg" else "digitalVideo", 6),
        _write("mediaFormat", "jpeg" if ending == "jpg" else ending, 6),
        _write("id", f"m-{number:05d}", 6),
    ]
    for tag, value in zip(("start", "stop", "unit"), member.span or (), strict=False):
        lines.append(_write(f"eval:{tag}", value, 6))
    return f"    <sigmember>\n{''.join(lines)}    </sigmember>\n"


def _write(tag: str, text: str, indent: int) -> str:
    return f"{' ' * indent}<{tag}>{escape(text)}</{tag}>\n"
