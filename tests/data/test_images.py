from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from vills.data.images import CorruptImageError, decode_image, encode_jpeg


def make_pixels(height: int = 60, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 6 * x, y + x], axis=2).astype(np.uint8)


def test_round_trip_is_close_and_deterministic() -> None:
    data = encode_jpeg(make_pixels(), 95)
    assert data == encode_jpeg(make_pixels(), 95)
    pixels = decode_image(data)
    assert pixels.shape == (60, 40, 3)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - make_pixels()).mean() < 3


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    stream = BytesIO()
    Image.fromarray(make_pixels()).convert(mode).save(stream, "JPEG" if mode == "CMYK" else "PNG")
    if mode != "CMYK":
        assert decode_image(stream.getvalue()).shape == (60, 40, 3)
    assert decode_image(stream.getvalue()).dtype == np.uint8


def _png() -> bytes:
    stream = BytesIO()
    Image.fromarray(make_pixels()).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"a text file named .jpg", encode_jpeg(make_pixels(), 90)[:-200], _png()[:-100]]
    + [encode_jpeg(make_pixels(), 90)[:20], _png()[:50] + b"\0" * 40 + _png()[90:]],
    ids=["empty", "text", "truncated", "truncated png", "header", "damaged png"],
)
def test_corrupt_inputs_name_the_image(data: bytes) -> None:
    with pytest.raises(CorruptImageError, match=r"folder/0001\.jpg: "):
        decode_image(data, name="folder/0001.jpg")
