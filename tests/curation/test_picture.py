"""Frames as a player shows them: turned, mirrored, with square pixels."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.curation.coded_videos import HEIGHT, RATE, WIDTH, draw_number, write_coded
from vills.curation.picture import ABSURD, INTERLACED, SLANTED, SQUARED, TURNED
from vills.curation.video import RESIZED, VideoStream

ONE = 1 << 16
MATRICES = [
    (a * ONE, b * ONE, c * ONE, d * ONE)
    for a, b, c, d in [
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, -1, 0),
        (0, -1, 1, 0),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ]
]


def set_matrix(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write x' = a x + c y, y' = b x + d y into the header of the track."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = matrix
    numbers = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    content[place : place + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(content)
    return path


def read_first(path: Path) -> tuple[np.ndarray, list[str]]:
    stream = VideoStream(path, path.name)
    frames = list(stream)
    assert not stream.damage
    return frames[0].image, stream.changes


def transform(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The definition, pixel by pixel."""
    a, b, c, d = (number // ONE for number in matrix)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    out = np.empty((down.max() + 1, across.max() + 1, 3), np.uint8)
    out[down, across] = image
    return out


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_turn_and_mirror(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    plain, changes = read_first(write_coded(tmp_path / "a.mp4", num_frames=3))
    assert not changes
    turned, changes = read_first(set_matrix(tmp_path / "a.mp4", matrix))
    np.testing.assert_array_equal(turned, transform(plain, matrix))
    assert changes == ([TURNED] if matrix != MATRICES[0] else [])


def test_a_slanted_matrix(tmp_path: Path) -> None:
    sine, cosine = round(0.17 * ONE), round(0.98 * ONE)
    plain, _ = read_first(write_coded(tmp_path / "a.mp4", num_frames=3))
    turned, changes = read_first(set_matrix(tmp_path / "a.mp4", (sine, cosine, -cosine, sine)))
    np.testing.assert_array_equal(turned, transform(plain, MATRICES[4]))
    assert changes == [SLANTED, TURNED]


def write_shaped(path: Path, *aspects: Fraction, codec: str = "libx264") -> Path:
    """Ten frames of each shape of pixels; a new shape begins a new sequence of the stream."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspects[0]
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(draw_number(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mpg", "a.avi"])
@pytest.mark.parametrize(
    ("aspect", "width"), [("2", 192), ("1/2", 48), ("64/45", 137), ("8/9", 85), ("16/15", 102)]
)
def test_pixels_that_are_not_square(tmp_path: Path, name: str, aspect: str, width: int) -> None:
    codec = "mpeg4" if name == "a.avi" else "libx264"
    if name == "a.mpg":  # which has display shapes, 4:3 or 16:9, alone
        codec, aspect, width = "mpeg2video", str(Fraction(16, 9) * HEIGHT / WIDTH), 114
    image, changes = read_first(write_shaped(tmp_path / name, Fraction(aspect), codec=codec))
    assert image.shape[:2] == (HEIGHT, width)
    assert changes == [SQUARED]
    # the bars keep their shares of the width
    bright = image[HEIGHT * 3 // 4].mean(axis=1) > 127
    assert not bright.any()


def test_the_bars_keep_their_places(tmp_path: Path) -> None:
    image, _ = read_first(write_shaped(tmp_path / "a.mp4", Fraction(2)))
    frames = list(VideoStream(tmp_path / "a.mp4", "a.mp4"))
    assert image.shape[1] == 2 * WIDTH
    lit = np.flatnonzero(frames[1].image[HEIGHT * 3 // 4].mean(axis=1) > 127)
    assert (lit.min(), lit.max()) == (pytest.approx(0, abs=2), pytest.approx(23, abs=2))


def test_pixels_and_turns_together(tmp_path: Path) -> None:
    path = set_matrix(write_shaped(tmp_path / "a.mp4", Fraction(2)), MATRICES[4])
    image, changes = read_first(path)
    assert image.shape[:2] == (2 * WIDTH, HEIGHT)
    assert changes == [SQUARED, TURNED]


def test_absurd_pixels_are_taken_as_square(tmp_path: Path) -> None:
    image, changes = read_first(write_shaped(tmp_path / "a.mp4", Fraction(5)))
    assert (image.shape[1], changes) == (WIDTH, [ABSURD])


def test_a_shape_that_changes_on_the_way(tmp_path: Path) -> None:
    """Two elementary streams behind each other, as a broadcast goes over to another programme."""
    parts = [
        write_shaped(tmp_path / f"{n}.h264", aspect).read_bytes()
        for n, aspect in enumerate((Fraction(1), Fraction(2)))
    ]
    (tmp_path / "a.h264").write_bytes(b"".join(parts))
    stream = VideoStream(tmp_path / "a.h264", "a.h264")
    assert [frame.width for frame in stream] == [WIDTH] * 10 + [2 * WIDTH] * 10
    assert RESIZED in stream.changes


@pytest.mark.parametrize(
    ("codec", "pix_fmt"),
    [("libx264", "yuv420p10le"), ("libx264", "yuv444p"),
     ("ffv1", "bgra"), ("ffv1", "gray16le"), ("mjpeg", "yuvj420p")],
)  # fmt: skip
def test_formats_of_pixels(tmp_path: Path, codec: str, pix_fmt: str) -> None:
    path = write_coded(tmp_path / "a.mkv", codec=codec, pix_fmt=pix_fmt, num_frames=7)
    for frame in VideoStream(path, "a.mkv"):
        drawn = draw_number(frame.number).astype(int)[HEIGHT // 4 + 4 :]
        assert np.abs(frame.image[HEIGHT // 4 + 4 :] - drawn).mean() < 6


def test_interlaced_frames_are_noted(tmp_path: Path) -> None:
    path = write_coded(
        tmp_path / "a.mkv", num_frames=5, codec_options={"x264-params": "interlaced=1"}
    )
    assert read_first(path)[1] == [INTERLACED]
