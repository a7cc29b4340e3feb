"""One decoder's truth: what each kind of image file is read as, here and behind curation."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from vills.data.images import (
    DEEP,
    FLOAT,
    INK,
    INVISIBLE,
    PROFILE,
    RENAMED,
    SEVERAL,
    STRETCHED,
    TRANSPARENT,
    TURNED,
    CorruptImageError,
    ReadImage,
    decode_curated,
    describe_changes,
    encode_stored,
    read_header,
    read_image,
)

HEIGHT, WIDTH = 48, 30
RNG = np.random.default_rng(0)
COARSE = RNG.integers(0, 256, (8, 5, 3), dtype=np.uint8)
RGB = cv2.resize(COARSE, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)  # uint8 [H, W, 3]
GREY = RGB[..., 0]
RGB16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
GREY16 = RGB16[..., 0]
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)


def encode(image: Image.Image | np.ndarray, fmt: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(stream, fmt, **options)
    return stream.getvalue()


def encode_cv2(pixels: np.ndarray, suffix: str, *options: int) -> bytes:
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return bytes(cv2.imencode(suffix, np.ascontiguousarray(bgr), options)[1])


def read_everywhere(data: bytes, name: str = "image") -> ReadImage:
    """Read an image, and hold that the readers behind curation see the same pixels."""
    image = read_image(data, name=name)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape[2:] == (3,)
    stored = encode_stored(image, data)
    np.testing.assert_array_equal(decode_curated(stored), image.pixels)
    np.testing.assert_array_equal(read_image(stored).pixels, image.pixels)
    return image


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return pixels * share + 255 * (1 - share)


def with_alpha(alpha: np.ndarray = ALPHA) -> Image.Image:
    return Image.fromarray(np.dstack([RGB, alpha]))


def quantised() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """Palette image, its indices [H, W] and its colours [16, 3]."""
    image = Image.fromarray(RGB).quantize(16)
    return image, np.asarray(image), np.array(image.getpalette()[:48]).reshape(16, 3)


def encode_palette_with_transparency(fmt: str) -> bytes:
    return encode(quantised()[0], fmt, transparency=3)


def palette_on_white() -> np.ndarray:
    _, indices, colours = quantised()
    return np.where((indices == 3)[..., None], 255, colours[indices])


def encode_ycck() -> bytes:
    """Encode RGB as an Adobe JPEG of Y, Cb, Cr and no black, by hand."""
    luma = np.asarray(Image.fromarray(255 - RGB).convert("YCbCr"))  # ink as colours
    planes = np.dstack([255 - luma, np.zeros_like(GREY)])  # PIL inverts what it writes
    data = encode(Image.fromarray(planes, "CMYK"), "JPEG", quality=100, subsampling=0)
    place = data.index(b"Adobe") + 11
    assert data[place] == 0
    return data[:place] + b"\x02" + data[place + 1 :]


def ink() -> Image.Image:
    return Image.fromarray(np.dstack([255 - RGB, np.zeros_like(GREY)]), "CMYK")


def white_is_zero() -> bytes:
    return encode(GREY16, "TIFF", tiffinfo={262: 0})


def big_endian() -> bytes:
    image = Image.frombytes("I;16B", (WIDTH, HEIGHT), GREY16.astype(">u2").tobytes())
    return encode(image, "TIFF")


def frames(fmt: str, **options: Any) -> bytes:
    other = Image.fromarray(255 - RGB)
    return encode(RGB, fmt, save_all=True, append_images=[other], **options)


FLOATS = (RGB16[..., 0] / np.float32(65535)).astype(np.float32)
EXACT: dict[str, tuple[Callable[[], bytes], np.ndarray, set[str]]] = {
    "png": (lambda: encode(RGB), RGB, set()),
    "png grey": (lambda: encode(GREY), grey(GREY), set()),
    "png 1 bit": (lambda: encode(Image.fromarray(GREY > 99)), grey(255 * (GREY > 99)), set()),
    "png interlaced palette": (
        lambda: encode(quantised()[0]),
        quantised()[2][quantised()[1]],
        set(),
    ),
    "png 16 bit grey": (lambda: encode(GREY16), grey(GREY16 >> 8), {DEEP}),
    "png 16 bit rgb": (lambda: encode_cv2(RGB16, ".png"), RGB16 >> 8, {DEEP}),
    "png dark 16 bit": (lambda: encode(GREY16 >> 6), grey(GREY16 >> 14), {DEEP}),
    "tiff 16 bit grey": (lambda: encode(GREY16, "TIFF"), grey(GREY16 >> 8), {DEEP}),
    "tiff 16 bit big-endian": (big_endian, grey(GREY16 >> 8), {DEEP}),
    "tiff 16 bit rgb": (lambda: encode_cv2(RGB16, ".tif"), RGB16 >> 8, {DEEP}),
    "tiff white is zero": (white_is_zero, grey(255 - (GREY16 >> 8)), {DEEP}),
    "pgm 16 bit": (lambda: encode_cv2(GREY16, ".pgm"), grey(GREY16 >> 8), {DEEP}),
    "float tiff, 0 to 1": (lambda: encode(FLOATS, "TIFF"), grey(np.rint(FLOATS * 255)), {FLOAT}),
    "float tiff, 0 to 255": (
        lambda: encode(GREY.astype(np.float32), "TIFF"),
        grey(GREY),
        {FLOAT},
    ),
    "tiff lzw": (lambda: encode(RGB, "TIFF", compression="tiff_lzw"), RGB, set()),
    "tiff cmyk": (lambda: encode(ink(), "TIFF"), RGB, {INK}),
    "bmp": (lambda: encode(RGB, "BMP"), RGB, set()),
    "ppm": (lambda: encode(RGB, "PPM"), RGB, set()),
    "webp": (lambda: encode(RGB, "WEBP", lossless=True), RGB, set()),
    "jp2": (lambda: encode(RGB, "JPEG2000"), RGB, set()),
    "animated png": (lambda: frames("PNG"), RGB, {SEVERAL}),
    "animated webp": (lambda: frames("WEBP", lossless=True), RGB, {SEVERAL}),
    "tiff of two pages": (lambda: frames("TIFF"), RGB, {SEVERAL}),
    "palette, one transparent": (
        lambda: encode_palette_with_transparency("PNG"),
        palette_on_white(),
        {TRANSPARENT},
    ),
    "gif, one transparent": (
        lambda: encode_palette_with_transparency("GIF"),
        palette_on_white(),
        {TRANSPARENT},
    ),
    "alpha 0 everywhere": (lambda: encode(with_alpha(ALPHA * 0)), RGB, {INVISIBLE}),
    "alpha 255 everywhere": (lambda: encode(with_alpha(ALPHA * 0 + 255)), RGB, {TRANSPARENT}),
}


@pytest.mark.parametrize("case", EXACT)
def test_files_whose_pixels_are_known_exactly(case: str) -> None:
    build, expected, changes = EXACT[case]
    image = read_everywhere(build())
    np.testing.assert_array_equal(image.pixels, expected)
    assert set(image.changes) == changes


NEAR: dict[str, tuple[Callable[[], bytes], np.ndarray, set[str], float]] = {
    "jpeg": (lambda: encode(RGB, "JPEG", quality=95), RGB, set(), 4),
    "jpeg progressive": (lambda: encode(RGB, "JPEG", quality=95, progressive=True), RGB, set(), 4),
    "jpeg restarts": (
        lambda: encode_cv2(RGB, ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        RGB,
        set(),
        4,
    ),
    "jpeg grey": (lambda: encode(GREY, "JPEG", quality=95), grey(GREY), set(), 4),
    "jpeg cmyk": (lambda: encode(ink(), "JPEG", quality=95), RGB, {INK}, 4),
    "jpeg ycck": (encode_ycck, RGB, {INK}, 4),
    "jpeg of two pictures": (lambda: frames("MPO", quality=95), RGB, set(), 4),
    "jpeg in tiff": (lambda: encode(RGB, "TIFF", compression="jpeg"), RGB, set(), 8),
    "webp": (lambda: encode(RGB, "WEBP", quality=95), RGB, set(), 8),
    "avif": (lambda: encode(RGB, "AVIF", quality=95), RGB, set(), 8),
    "animated gif": (lambda: frames("GIF"), RGB, {SEVERAL}, 16),
    "png alpha": (lambda: encode(with_alpha()), on_white(RGB, ALPHA), {TRANSPARENT}, 1),
    "webp alpha": (
        lambda: encode(with_alpha(), "WEBP", lossless=True, exact=True),
        on_white(RGB, ALPHA),
        {TRANSPARENT},
        1,
    ),
    "grey alpha": (
        lambda: encode(Image.fromarray(np.dstack([GREY, ALPHA]), "LA")),
        on_white(grey(GREY), ALPHA),
        {TRANSPARENT},
        1,
    ),
    "tiff alpha": (lambda: encode(with_alpha(), "TIFF"), on_white(RGB, ALPHA), {TRANSPARENT}, 1),
}


@pytest.mark.parametrize("case", NEAR)
def test_files_whose_pixels_are_known_nearly(case: str) -> None:
    build, expected, changes, tolerance = NEAR[case]
    image = read_everywhere(build())
    assert np.abs(image.pixels.astype(float) - expected).mean() < tolerance
    assert set(image.changes) == changes


@pytest.mark.parametrize("progressive", [0, 1])
@pytest.mark.parametrize("sampling", ["411", "420", "422", "440", "444"])
def test_both_decoders_give_the_same_pixels_of_any_jpeg(sampling: str, progressive: int) -> None:
    """So that JPEGs are stored as they are: bit for bit, or curation would write PNGs."""
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")
    for quality in (30, 75, 95, 100):
        for size in ((128, 64), (127, 63), (33, 17), (9, 300)):
            pixels = cv2.resize(COARSE, size, interpolation=cv2.INTER_CUBIC)
            options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
            data = encode_cv2(pixels, ".jpg", *options, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
            assert encode_stored(read_image(data), data) is data


# Where rows and columns of the stored raster go (EXIF 2.32, table of tag 274).
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: np.rot90(stored, 1),
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def xmp(orientation: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    text = f'<x:xmpmeta><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    info.add_itxt("XML:com.adobe.xmp", text)
    return info


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "WEBP", "TIFF", "TIFF 16", "AVIF", "PNG late", "XMP"]
)
def test_every_orientation_stands_upright(kind: str, orientation: int) -> None:
    options: dict[str, Any] = {"exif": exif(orientation)}
    stored: np.ndarray = GREY16 if kind == "TIFF 16" else RGB
    if kind == "XMP":
        options = {"pnginfo": xmp(orientation)}
    if kind in ("WEBP", "AVIF", "JPEG"):
        options["quality"] = 95
    fmt = kind.split()[0] if kind != "XMP" else "PNG"
    data = encode(stored, fmt, **options)
    if kind == "PNG late":  # EXIF behind the pixels, as the standard allows
        start = data.index(b"eXIf") - 4
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        data = data[:start] + data[stop:-12] + data[start:stop] + data[-12:]
    image = read_everywhere(data)
    raster = grey(GREY16 >> 8) if kind == "TIFF 16" else stored
    assert image.pixels.shape == UPRIGHT[orientation](raster).shape
    difference = image.pixels.astype(float) - UPRIGHT[orientation](raster)
    assert np.abs(difference).mean() < (8 if fmt in ("WEBP", "AVIF", "JPEG") else 1e-9)
    assert (TURNED in image.changes) == (orientation != 1)
    if kind != "PNG late":
        assert (TURNED in read_header(BytesIO(data))) == (orientation != 1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_ignored(orientation: int) -> None:
    image = read_everywhere(encode(RGB, "JPEG", quality=95, exif=exif(orientation)))
    assert image.pixels.shape == RGB.shape
    assert not image.changes


@pytest.mark.parametrize(
    "broken", [b"Exif\0\0", b"Exif\0\0MM\0\x2a\0\0\xff\xff", b"Exif\0\0garbage"]
)
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_broken_exif_costs_no_image(fmt: str, broken: bytes) -> None:
    assert read_everywhere(encode(RGB, fmt, exif=broken)).pixels.shape == RGB.shape


def test_a_colour_profile_is_counted_and_not_applied() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for fmt in ("PNG", "TIFF"):
        for profile, changes in ((srgb, ()), (other, (PROFILE,)), (b"garbage", (PROFILE,))):
            image = read_everywhere(encode(RGB, fmt, icc_profile=profile))
            np.testing.assert_array_equal(image.pixels, RGB)
            assert image.changes == changes


def test_pixels_that_are_not_square_stay_as_they_are() -> None:
    for fmt in ("JPEG", "PNG", "TIFF"):
        image = read_everywhere(encode(RGB, fmt, dpi=(144, 72)))
        assert image.pixels.shape == RGB.shape
        assert image.changes == (STRETCHED,)
        assert not read_everywhere(encode(RGB, fmt, dpi=(96, 96))).changes


def test_a_suffix_that_lies_is_read_by_content_and_counted() -> None:
    for fmt in ("PNG", "WEBP", "TIFF"):
        assert read_everywhere(encode(RGB, fmt), "a/0001.JPG").changes == (RENAMED,)
    assert not read_everywhere(encode(RGB, "JPEG"), "a/0001.jfif").changes
    assert not read_everywhere(encode(RGB, "PNG"), "key without suffix").changes


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\0\0\0\x18ftypheic" + bytes(64), "heic: HEIC"),
        (bytes(4096), "nothing but zeros"),
        (encode(np.full((9, 9), 300, np.float32), "TIFF"), "floats from 300 to 300"),
        (encode(np.full((9, 9), 1.01, np.float32), "TIFF"), "floats from 1.01 to 1.01"),
        (encode(np.full((9, 9), np.nan, np.float32), "TIFF"), "floats from nan"),
        (encode(np.full((9, 9), 70_000, np.int32), "TIFF"), "not defined"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(CorruptImageError, match=rf"a/0001\.jpg: .*{reason}"):
        read_image(data, name="a/0001.jpg")


def cut(data: bytes, end: bytes = b"") -> bytes:
    return data[: len(data) * 6 // 10] + end


JPEG_END = b"\xff\xd9"


@pytest.mark.parametrize(
    "fmt", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"]
)
def test_a_file_that_was_cut_is_named(fmt: str) -> None:
    pixels = RNG.integers(0, 256, (96, 64, 3), dtype=np.uint8)
    data = encode(pixels, fmt)
    cases = [cut(data)]
    if fmt not in ("BMP", "TIFF", "PPM"):  # without compression, zeros are black
        cases.append(cut(data, bytes(len(data) * 4 // 10)))
    if fmt == "JPEG":
        cases += [cut(data, JPEG_END), data[:-2], cut(data, JPEG_END + b"garbage")]
        progressive = encode(pixels, fmt, progressive=True)
        cases += [cut(progressive), cut(progressive, JPEG_END)]
    for case in cases:
        with pytest.raises(CorruptImageError):
            read_image(case)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_garbage_behind_the_end_is_passed_over(fmt: str) -> None:
    data = encode(RGB, fmt)
    for garbage in (bytes(999), b"garbage" * 99, data):
        np.testing.assert_array_equal(
            read_everywhere(data + garbage).pixels, read_image(data).pixels
        )


def test_a_flat_corner_is_no_damage() -> None:
    for options in ({}, {"progressive": True}, {"quality": 20, "subsampling": 2}):
        pixels = RGB.copy()
        pixels[20:] = 130
        for image in (pixels, pixels[..., 0], np.full((16, 8, 3), 255, np.uint8)):
            data = encode(image, "JPEG", **options)
            assert encode_stored(read_image(data), data) is data


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_with_overwritten_bytes_is_damaged(settings: dict[str, Any]) -> None:
    """libjpeg goes on as if nothing had happened, and paints what it likes."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8)
    stream = BytesIO()
    note = b"Exif\0\0" + b"\xff\xd9broken\xff\xda" * 9  # what is beside the pixels does not count
    Image.fromarray(pixels).save(stream, "JPEG", quality=90, exif=note, **settings)
    data = bytearray(stream.getvalue())
    assert read_image(bytes(data)).pixels.shape == pixels.shape
    data[len(data) // 2 : len(data) // 2 + 400] = np.random.default_rng(1).bytes(400)
    with pytest.raises(CorruptImageError, match="damaged: its pixels hold codes|truncated"):
        read_image(bytes(data))


def test_a_png_with_a_wrong_checksum_is_damaged() -> None:
    for part in (b"IDAT", b"tEXt"):
        notes = PngImagePlugin.PngInfo()
        notes.add_text("a", "b")
        stream = BytesIO()
        Image.new("RGB", (8, 8), "red").save(stream, "PNG", pnginfo=notes)
        data = bytearray(stream.getvalue())
        place = data.index(part)
        length = int.from_bytes(data[place - 4 : place], "big")
        data[place + 4 + length] ^= 1  # of the sum itself
        with pytest.raises(CorruptImageError, match=r"wrong checksum|broken PNG file"):
            read_image(bytes(data))


def test_a_png_with_a_flipped_bit_is_damaged() -> None:
    data = encode(RGB)
    start = data.index(b"IDAT") + 8
    for place in range(start, len(data) - 30, 97):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(CorruptImageError):
            read_image(flipped)


def test_changes_are_counted_in_words() -> None:
    counts = Counter({TURNED: 1200, SEVERAL: 1})
    assert describe_changes(counts) == [
        "1,200 images turned upright by their EXIF orientation",
        "1 image with several frames or pages: the first is read",
    ]
