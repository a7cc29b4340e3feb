"""Pixels and masks as bytes: every image format that is read, JPEG and PNG, COCO run lengths.

One decoder's truth: `read_image` (PIL) says what the pixels of a file are. `decode_curated`
(OpenCV) is faster, and reads what curation stored because both gave the same.
"""

from collections import Counter
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO, NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.Image import Transpose
from pycocotools import mask as coco

from vills.data.image_damage import HEAD, check_end, check_last_block, check_scans, describe_failure
from vills.errors import InputError
from vills.refusals import check_machine

_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
"""What the names of images end in; what a file holds decides how it is read."""

# What is done to images, or left out, and so is counted in notes; in the order of the notes.
TURNED = "turned upright by their EXIF orientation"
SEVERAL = "with several frames or pages: the first is read"
TRANSPARENT = "with transparency: put on white"
INVISIBLE = "with transparency that hides all of the image: transparency ignored"
DEEP = "of more than 8 bits a value: the upper 8 are read"
FLOAT = "of floating-point values: 0 to 1, or 0 to 255, read as 8 bits"
INK = "of printing colours (CMYK): converted by the plain formula"
PROFILE = "with a colour profile other than sRGB: not applied, the stored values are read"
STRETCHED = "whose header says that pixels are not square: ignored, as viewers do"
RENAMED = "of another format than their suffix says"
STORED_AS_PNG = "stored as PNG, so that the fast decoder reads the same pixels"
_CHANGES = (
    *(TURNED, SEVERAL, TRANSPARENT, INVISIBLE, DEEP, FLOAT, INK, PROFILE, STRETCHED, RENAMED),
    STORED_AS_PNG,
)

_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106  # tags of EXIF and TIFF
_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_MIN_WHITE = 16  # floats whose highest is between 1 and this may be bright ones beyond 1
MAX_PIXELS = 50_000_000
"""Of a picture, and of a frame of a video: 8K has 33 million, and one in memory takes 3 to 12 bytes
of each pixel in every reader. The header says how many before any is decoded."""
Image.MAX_IMAGE_PIXELS = None  # PIL's own, which would warn, and refuse in other words
_READ = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# Others are slow in OpenCV too, or it writes to stderr about files that PIL reads.
_FAST_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")


class CorruptImageError(InputError):
    """Bytes that are no complete image, or one whose pixels have no defined brightness."""


class ReadImage(NamedTuple):
    """An image as everything here sees it."""

    pixels: np.ndarray
    """uint8 [H, W, 3], RGB, upright."""
    changes: tuple[str, ...]
    """What was done to it, or left out."""
    format: str
    """JPEG, PNG, ..."""


def read_image(data: bytes, *, name: str = "image") -> ReadImage:
    """Decode an image file, whatever its suffix: 8-bit RGB, turned by its EXIF orientation.

    PIL, since OpenCV fills the missing part of a truncated JPEG with grey and says nothing.

    Raises:
        CorruptImageError: naming the image, if it is empty, truncated, or no image.
    """
    try:
        check_end(data)
        with Image.open(BytesIO(data), formats=tuple(_SUFFIXES)) as image:
            _check_size(image)
            raw_mode = _get_raw_mode(image)
            changes = _list_header_changes(image, name=name)
            image.load()  # turns a TIFF; a PNG may have its EXIF behind the pixels
            if image.format in ("JPEG", "MPO"):
                check_last_block(image, data)
                check_scans(data)
            turn = _get_orientation(image)
            upright = image.transpose(_TURNS[turn]) if turn != 1 else image
            pixels, is_invisible = _convert_to_rgb(upright, image, raw_mode=raw_mode)
    # plugins report damage by OSError, SyntaxError, struct.error, KeyError, a bomb error, ...
    except Exception as error:
        check_machine(error)
        raise CorruptImageError(f"{name}: {describe_failure(error, data[:HEAD])}") from error
    changes |= {TURNED} if turn != 1 else set()
    changes = changes - {TRANSPARENT} | {INVISIBLE} if is_invisible else changes
    return ReadImage(pixels, tuple(c for c in _CHANGES if c in changes), _get_format(image))


def read_header(stream: IO[bytes], *, name: str = "image") -> set[str]:
    """Read from the header alone what `read_image` would change.

    Raises:
        CorruptImageError: naming the image, if this is no header of one.
    """
    try:
        with Image.open(stream, formats=tuple(_SUFFIXES)) as image:
            _check_size(image)
            return _list_header_changes(image, name=name)
    except Exception as error:
        check_machine(error)
        stream.seek(0)
        reason = describe_failure(error, stream.read(HEAD))
        raise CorruptImageError(f"{name}: {reason}") from error


def decode_image(data: bytes, *, name: str = "image") -> np.ndarray:
    """Pixels as uint8 [H, W, 3] RGB, as `read_image` gives them."""
    return read_image(data, name=name).pixels


def decode_curated(data: bytes, *, name: str = "image") -> np.ndarray:
    """Pixels as uint8 [H, W, 3] RGB of bytes that curation stored; 2.5 times as fast.

    OpenCV skips the checks of `read_image`, and reads some files in another way, so nothing may
    come here that `encode_stored` has not given.

    Raises:
        CorruptImageError: naming the image, if nothing can be decoded.
    """
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _READ) if data else None
    if pixels is None:
        raise CorruptImageError(f"{name}: cannot be decoded. What to do: run curate again.")
    return np.asarray(pixels)


def encode_stored(image: ReadImage, data: bytes) -> bytes:
    """Bytes of which `decode_curated` gives the pixels of `image`: its `data`, else a PNG."""
    if image.format in _FAST_FORMATS:
        fast = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _READ)
        if fast is not None and np.array_equal(fast, image.pixels):
            return data
    stream = BytesIO()
    Image.fromarray(image.pixels).save(stream, "PNG")
    return stream.getvalue()


def describe_changes(changes: Counter[str]) -> list[str]:
    """Say what was done to how many images."""
    return [
        f"{changes[change]:,} {'image' if changes[change] == 1 else 'images'} {change}"
        for change in _CHANGES
        if changes[change]
    ]


def _list_header_changes(image: Image.Image, *, name: str) -> set[str]:
    raw_mode, profile = _get_raw_mode(image), image.info.get("icc_profile") or b""
    suffix = PurePosixPath(name).suffix.lower()
    facts = {
        TURNED: _get_orientation(image) != 1,
        # a JPEG holds further pictures (depth, the other eye) that no viewer shows
        SEVERAL: image.format != "MPO" and getattr(image, "is_animated", False),
        TRANSPARENT: image.mode[0] != "I" and image.has_transparency_data,
        DEEP: image.mode[0] == "I" or (";16" in raw_mode and "BGR" not in raw_mode),
        FLOAT: image.mode == "F",
        INK: image.mode == "CMYK",
        # a profile's description is ASCII or UTF-16
        PROFILE: bool(profile) and b"sRGB" not in profile.replace(b"\0", b""),
        STRETCHED: _is_stretched(image),
        RENAMED: suffix in SUFFIXES and suffix not in _SUFFIXES[_get_format(image)],
    }
    return {change for change, is_true in facts.items() if is_true}


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(
            f"{image.width} x {image.height} pixels; allowed: {MAX_PIXELS / 1e6:.0f} million"
        )


def _get_format(image: Image.Image) -> str:
    return "JPEG" if image.format in (None, "MPO") else image.format


def _get_raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", ())
    return str(tiles[0][3]) if tiles else ""


def _get_orientation(image: Image.Image) -> int:
    """1 to 8; what is broken, or no orientation, is 1: upright."""
    names = "".join(map(str, image.info)).lower()
    if image.format != "TIFF" and "exif" not in names and "xmp" not in names:
        return 1  # PIL would keep that answer, though EXIF may follow the pixels of a PNG
    try:
        # not image.getexif(): that of a PNG decodes it, and its errors would be lost here
        value = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # broken notes beside the pixels are no reason to lose these
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _is_stretched(image: Image.Image) -> bool:
    info = image.info
    density = info.get("dpi") or info.get("aspect") or info.get("jfif_density") or (1, 1)
    across, down = map(float, density)
    return abs(across - down) > 0.01 * max(across, down)


def _convert_to_rgb(
    upright: Image.Image, image: Image.Image, *, raw_mode: str
) -> tuple[np.ndarray, bool]:
    """Pixels uint8 [H, W, 3] of `upright`, and whether its transparency hides all of them."""
    if image.mode[0] in "IF":
        grey = _convert_to_bytes(np.asarray(upright), image, raw_mode=raw_mode)
        # where black is the highest value, PIL inverts images of 8 bits alone
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
            grey = 255 - grey
        return np.repeat(grey[..., None], 3, axis=2), False
    if not image.has_transparency_data:
        return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB")), False
    upright = upright.convert("LA" if upright.mode == "La" else "RGBA").convert("RGBA")
    if upright.getchannel("A").getextrema()[1] == 0:
        return np.ascontiguousarray(np.asarray(upright)[..., :3]), True
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("RGB")), False


def _convert_to_bytes(values: np.ndarray, image: Image.Image, *, raw_mode: str) -> np.ndarray:
    """Grey uint8 [H, W] of floats, or of integers of 12 or 16 bits."""
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and (high <= 1 or _MIN_WHITE <= high <= 255)):
            raise ValueError(
                f"floats from {low:g} to {high:g}; allowed: 0 to 1, or 0 to 255 and not all dark"
            )
        return np.asarray(np.rint(values * (255 if high <= 1 else 1)), np.uint8)
    if image.mode == "I" and image.format != "PPM":
        raise ValueError("32-bit or signed integers: their brightness is not defined")
    return np.asarray(values.astype(np.uint16) >> (4 if ";12" in raw_mode else 8), np.uint8)


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of uint8 [H, W, 3]; the same pixels give the same bytes."""
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def find_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Tight (x1, y1, x2, y2) of bool [H, W] that is not empty; x2 and y2 are outside."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode_rle(mask: np.ndarray) -> bytes:
    """Compressed counts of bool [H, W]."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def decode_rle(counts: bytes, height: int, width: int) -> np.ndarray:
    """Bool [height, width] of compressed counts."""
    return np.asarray(coco.decode({"size": [height, width], "counts": counts}), dtype=bool)
