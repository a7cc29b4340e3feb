"""The film is read, wherever it stands among the streams of its file."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests.curation.coded_videos import HEIGHT, RATE, WIDTH, draw_number, read_coded
from vills.curation.container import COVER, SEVERAL
from vills.curation.video import VideoStream

FILM, COVER_ART = ("libx264", 40, 1), ("mjpeg", 1, 0.5)
Part = tuple[str, int, float]
"""Codec, number of frames, size by that of the film; sound has no size."""


def write_streams(
    path: Path, parts: Sequence[Part], *, dispositions: Sequence[Disposition | None] = ()
) -> Path:
    """Write a file of several streams, in the order given."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for codec, _, scale in parts:
            if not scale:
                streams.append(container.add_stream(codec, rate=8000, layout="mono"))
                continue
            stream: Any = container.add_stream(codec, rate=RATE)
            stream.width, stream.height = int(WIDTH * scale), int(HEIGHT * scale)
            stream.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
            streams.append(stream)
        for stream, disposition in zip(streams, dispositions, strict=False):
            if disposition is not None:
                stream.disposition = disposition
        for stream, (_, num_frames, scale) in zip(streams, parts, strict=True):
            for number in range(num_frames):
                if scale:
                    image = draw_number(number, width=stream.width, height=stream.height)
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, RATE)
                    container.mux(stream.encode(frame))
                else:
                    silence = np.zeros((1, 1024), np.float32)
                    sound = av.AudioFrame.from_ndarray(silence, "fltp", "mono")
                    sound.sample_rate, sound.pts = 8000, 1024 * number
                    container.mux(stream.encode(sound))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mjpeg"), ("a.mp4", "png"), ("a.mkv", "mjpeg"), ("a.mov", "png")],
)
@pytest.mark.parametrize("attached", [None, Disposition.attached_pic])
def test_cover_art_in_front_of_the_film(
    tmp_path: Path, name: str, codec: str, attached: Disposition | None
) -> None:
    path = write_streams(tmp_path / name, [(codec, 1, 0.5), FILM], dispositions=[attached])
    shown, _, stream = read_coded(path)
    assert shown == list(range(40))
    # Matroska and QuickTime keep an attached picture among the attachments, or not at all
    assert stream.changes == [COVER] or (attached and name != "a.mp4" and not stream.changes)
    assert not stream.damage


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_music_with_cover_art_is_no_video(tmp_path: Path, name: str) -> None:
    path = write_streams(tmp_path / name, [COVER_ART, ("aac", 20, 0)])
    stream = VideoStream(path, name)
    assert not list(stream)
    assert stream.damage == "no video stream, only cover art"


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    stream = VideoStream(write_streams(tmp_path / "a.mp4", [("aac", 20, 0)]), "a.mp4")
    assert not list(stream)
    assert stream.damage == "no video stream"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_motion_jpeg_is_a_film(tmp_path: Path, name: str) -> None:
    path = write_streams(tmp_path / name, [("mjpeg", 40, 1), ("aac", 10, 0)])
    shown, _, stream = read_coded(path)
    assert (shown, stream.damage, stream.changes) == (list(range(40)), "", [])


@pytest.mark.parametrize(
    ("dispositions", "width"),
    [
        ((None, None), WIDTH),
        ((Disposition.default, Disposition(0)), WIDTH // 2),
        ((Disposition(0), Disposition.default), WIDTH),
    ],
)
def test_several_films(
    tmp_path: Path, dispositions: tuple[Disposition | None, ...], width: int
) -> None:
    """A preview of half the size comes first; the default one is read, or the larger one."""
    parts = [("libx264", 40, 0.5), FILM]
    path = write_streams(tmp_path / "a.mkv", parts, dispositions=dispositions)
    stream = VideoStream(path, "a.mkv")
    assert {frame.width for frame in stream} == {width}
    assert stream.num_frames == 40
    assert stream.changes == [SEVERAL]


def test_titles_in_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_streams(path, [FILM])
    with av.open(str(path)) as old, av.open(str(tmp_path / "b.mkv"), "w") as new:
        new.metadata["title"] = "caf?"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    content = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(content.replace(b"caf?", b"caf\xe9"))
    assert read_coded(tmp_path / "b.mkv")[0] == list(range(40))
