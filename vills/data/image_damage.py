"""What is wrong with an image file that its decoder takes for whole, or cannot name."""

import zlib
from contextlib import suppress
from io import BytesIO

from PIL import Image, ImageChops, UnidentifiedImageError

_MIN_PADDING = 64  # bytes; no whole compressed image ends in so many zeros
_JPEG_END = b"\xff\xd9"
_FILLING = bytes(range(0x11, 0xEE, 7))
_BESIDE = (*range(0xE0, 0xEE), 0xEF, 0xFE)
"""Markers of a JPEG's notes, but for Adobe's, which says what the colours are."""
HEAD = 512
"""Bytes that `describe_failure` looks at."""
_OTHER_FILES = {
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer: run `git lfs pull`",
    b"%pdf": "a PDF",
    b"<svg": "an SVG drawing",
    b"<?xml": "an XML file",
}


def check_end(data: bytes) -> None:
    """Refuse what PIL takes for whole: downloads cut short, or filled up with zeros."""
    if not data:
        raise ValueError("the file is empty")
    if data.startswith(b"\x89PNG") and b"IEND" not in data:
        raise ValueError("image file is truncated: a PNG without its end")
    if data.startswith(b"\x89PNG"):
        _check_sums(data)
    if data.startswith(b"\xff\xd8") and _JPEG_END not in data[_find_scan(data) :]:
        raise ValueError("image file is truncated: a JPEG without its end")
    if data[8:12] == b"WEBP":
        data = data[: 8 + int.from_bytes(data[4:8], "little")]
    if data[8:12] in (b"WEBP", b"avif") and data.endswith(bytes(_MIN_PADDING)):
        raise ValueError("image file is truncated: zeros at its end")


def _find_scan(data: bytes) -> int:
    """Where the first scan of a JPEG begins: before it, a thumbnail has an end of its own."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        # a marker and its length, or a byte of padding
        is_padding = data[place + 1 : place + 2] == b"\xff"
        place += 1 if is_padding else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return place


def check_last_block(image: Image.Image, data: bytes) -> None:
    """Refuse a JPEG that was closed after it broke off: its lower part is flat, or all is coarse.

    Bytes set before the end are read as pixels if some are missing, and else passed over. An image
    that is not progressive and whose last corner is not flat needs no such second look.
    """
    right, bottom = image.size
    corner = image.crop((max(0, right - 4), max(0, bottom - 4), right, bottom))
    extrema = corner.getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if not image.info.get("progressive") and any(low != high for low, high in bands):
        return
    end = data.rfind(_JPEG_END)
    with Image.open(BytesIO(data[:end] + _FILLING + data[end:]), formats=("JPEG",)) as filled:
        if ImageChops.difference(filled, image).getbbox(alpha_only=False):
            raise ValueError("image file is truncated: pixels are missing before its end")


def _check_sums(data: bytes) -> None:
    """Refuse a PNG one of whose parts has a wrong checksum: PIL passes over those of pixels."""
    place, kind = 8, b""
    while kind != b"IEND" and place + 12 <= len(data):
        end = place + 8 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"image file is damaged: wrong checksum of its part {kind!a}")
        place = end + 4


def check_scans(data: bytes) -> None:
    """Refuse a JPEG with codes that do not exist, which libjpeg passes over.

    What is beside the pixels (EXIF, profiles) is not looked at.
    """
    import av  # only who reads files of others needs it

    start = _find_scan(data)
    kept, place = [data[:2]], 2
    while place < start:
        length = 1 if data[place + 1] == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4])
        if data[place + 1] not in _BESIDE:
            kept.append(data[place : place + length])
        place += length
    end = data.find(_JPEG_END, start) + 2  # a byte FF of pixels is never followed by D9
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.thread_type, decoder.options = "NONE", {"err_detect": "bitstream+buffer+explode"}
    with suppress(av.error.FFmpegError, NotImplementedError):  # kinds that it does not know
        try:
            decoder.decode(av.Packet(b"".join([*kept, data[start:end]])))
        except av.error.InvalidDataError as error:
            reason = "its pixels hold codes that no encoder writes"
            raise ValueError(f"image file is damaged: {reason}") from error


def describe_failure(error: Exception, head: bytes) -> str:
    """Say why an image could not be read; `head` is how its file begins."""
    if not isinstance(error, UnidentifiedImageError):
        return str(error) or type(error).__name__
    start = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    found = [what for mark, what in _OTHER_FILES.items() if start.startswith(mark)]
    if head[4:8] == b"ftyp":
        found = [f"{head[8:12].decode('latin-1').strip()}: HEIC, a video, or an AVIF cut short"]
    if not head.strip(b"\0"):
        found = ["nothing but zeros"]
    if not head:
        return "the file is empty"
    return f"not a known image format{''.join(f' ({what})' for what in found)}"
