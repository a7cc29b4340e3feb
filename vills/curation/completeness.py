"""Whether the end of a video file is there, by its bytes alone: what a broken download lacks.

A container states its length in bytes at its beginning, or is a chain of parts that state theirs.
A program stream (.mpg, .vob) states none.
"""

import struct
from pathlib import Path
from typing import IO

from vills.inputs import open_input

_HEAD = 2**16
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# Length of a packet of a transport stream, and where in it its first letter, G, lies: of
# broadcasts, with time codes (.m2ts), with parity
_TRANSPORT = ((188, 0), (192, 4), (204, 0))
_FLV_TAGS = (8, 9, 18)
_SLACK = 16  # some writers of AVI count their own header twice


def find_missing_end(file: Path) -> str:
    """Say how much of a file is there if its end is missing; empty if it is whole.

    Raises:
        OSError: it cannot be read.
    """
    size = file.stat().st_size
    with open_input(file) as stream:
        stated = _read_size(stream, size)
    return f"cut short: {size:,} of at least {stated:,} bytes are there" if stated > size else ""


def _read_size(stream: IO[bytes], size: int) -> int:
    """Bytes that a file should have; 0 if it does not say."""
    head = stream.read(_HEAD)
    try:
        if head.startswith(b"\x1a\x45\xdf\xa3"):
            return _read_matroska(head)
        if head[4:8] in _BOXES:
            return _read_boxes(stream, size)
        if head[:4] == b"RIFF":
            stated = struct.unpack_from("<I", head, 4)[0] + 8
            is_open = stated >= 2**32
            return 0 if is_open or stated <= size + _SLACK else stated
        if head.startswith(_ASF):
            place = head.find(_ASF_PROPERTIES)
            return struct.unpack_from("<Q", head, place + 40)[0] if place > 0 else 0
        if head[:3] == b"FLV":
            return _read_flash(stream, size)
    except (struct.error, IndexError):  # the header itself is cut; the decoder says so
        return 0
    for length, place in _TRANSPORT:
        if head[place : place + 2 * length : length] == b"GG":
            return -(-size // length) * length
    return 0


def _read_matroska(head: bytes) -> int:
    """End of the segment, which is all but the header; 0 if its length is left open (live)."""
    place, end = 0, 0
    for _ in range(2):  # header, segment
        place = end + 4  # both have names of 4 bytes
        length = 9 - head[place].bit_length()
        number = int.from_bytes(head[place : place + length], "big") & ((1 << 7 * length) - 1)
        is_open = number == (1 << 7 * length) - 1
        end = place + length + number
    return 0 if is_open else end


def _read_boxes(stream: IO[bytes], size: int) -> int:
    """End of the last box at the top of an MP4 or QuickTime file."""
    end = 0
    while end + 8 <= size:
        stream.seek(end)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8:  # 0: up to the end of the file; others are no boxes any more
            return 0
        end += length
    return end


def _read_flash(stream: IO[bytes], size: int) -> int:
    """One byte more than there is if the file does not end with a whole tag and its length."""
    stream.seek(size - 4)
    length = int.from_bytes(stream.read(4), "big")
    stream.seek(max(0, size - 4 - length))
    tag = stream.read(4)
    is_whole = tag[0] in _FLV_TAGS and int.from_bytes(tag[1:], "big") + 11 == length
    return 0 if is_whole else size + 1
