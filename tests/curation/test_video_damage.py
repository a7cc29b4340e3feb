"""Broken files: what can be read is read, what is lost is counted and named."""

import os
import struct
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.curation.coded_videos import RATE, copy_packets, find_packets, read_coded, write_coded
from vills.curation.completeness import find_missing_end
from vills.curation.film import HEADLESS
from vills.curation.video import GAPS, VideoStream

FORMATS: dict[str, dict[str, Any]] = {
    "a.mp4": {"codec": "libx264"},
    "a.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "a.3gp": {"codec": "mpeg4"},
    "a.mkv": {"codec": "libx264"},
    "a.webm": {"codec": "libvpx"},
    "a.avi": {"codec": "mpeg4"},
    "a.ts": {"codec": "libx264"},
    "a.m2ts": {"codec": "mpeg2video"},
    "a.mpg": {"codec": "mpeg2video"},
    "a.flv": {"codec": "libx264"},
    "a.wmv": {"codec": "wmv2"},
}
FRONT = {"movflags": "faststart"}  # the index before the pictures


def write_format(folder: Path, name: str, *, num_frames: int = 99) -> Path:
    return write_coded(folder / name, num_frames=num_frames, options=FRONT, **FORMATS[name])


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share) | 1])
    return path


def check_ends(path: Path) -> str:
    stream = VideoStream(path, path.name)
    stream.check_ends()
    return stream.damage


@pytest.mark.parametrize("name", FORMATS)
def test_a_whole_file_is_whole(tmp_path: Path, name: str) -> None:
    path = write_format(tmp_path, name)
    shown, _, stream = read_coded(path)
    assert shown == list(range(99))
    assert (stream.damage, stream.num_lost, stream.changes) == ("", 0, [])
    assert check_ends(path) == ""


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_at_60_percent(tmp_path: Path, name: str) -> None:
    path = cut(write_format(tmp_path, name))
    shown, times, stream = read_coded(path)
    assert 30 < stream.num_frames < 62
    assert shown[:30] == list(range(30))
    # what would have been shown before the last ones may be behind the cut
    assert times[:-2] == pytest.approx(
        [number / RATE for number in range(len(times) - 2)], abs=2e-3
    )
    if name in ("a.ts", "a.m2ts", "a.mpg", "a.wmv"):  # these say nothing of their length in time
        assert stream.damage
    else:
        assert "ends early, after frame" in stream.damage
        assert stream.num_frames + stream.num_lost == pytest.approx(99, abs=1)
    if name != "a.mpg":  # nor this of its length in bytes
        assert "cut short: " in check_ends(path)
        assert "cut short: " in stream.damage


def test_a_file_without_its_index_cannot_be_read(tmp_path: Path) -> None:
    path = cut(write_coded(tmp_path / "a.mp4"))
    assert (
        check_ends(path)
        == read_coded(path)[2].damage
        == ("Invalid data found when processing input")
    )


def test_a_fragmented_file(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write_coded(tmp_path / "a.mp4", num_frames=99, options=options)
    assert read_coded(path)[2].damage == check_ends(path) == ""
    assert "ends early" in read_coded(cut(path))[2].damage
    assert "cut short" in check_ends(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_decoding_goes_on_behind_a_bad_packet(tmp_path: Path, name: str) -> None:
    path = write_coded(tmp_path / name, num_frames=99, codec="mjpeg", pix_fmt="yuvj420p")
    content, (place, size) = bytearray(path.read_bytes()), find_packets(path)[35]
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    shown, times, stream = read_coded(path)
    assert shown == [number for number in range(99) if number != 35]
    assert times == pytest.approx([number / RATE for number in shown])
    assert [frame.number for frame in VideoStream(path, name)] == shown
    assert (stream.num_frames, stream.num_lost) == (98, 1)
    assert stream.damage == "lost 1 frame, the first at 1.40 s"


def test_losses_outside_a_segment_are_not_its_own(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    content, (place, size) = bytearray(path.read_bytes()), find_packets(path)[20]
    content[place : place + size] = bytes(size)
    path.write_bytes(content)
    for start, stop, lost in [(5, 20, 0), (21, 30, 0), (5, 21, 1), (20, 30, 1)]:
        shown, _, stream = read_coded(path, start=start, stop=stop)
        assert shown == [number for number in range(start, stop) if number != 20]
        assert (stream.num_lost, bool(stream.damage)) == (lost, lost > 0)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.ts", "a.flv"])
def test_damage_that_the_reader_of_the_container_skips(tmp_path: Path, name: str) -> None:
    path = write_format(tmp_path, name)
    content, (place, _) = bytearray(path.read_bytes()), find_packets(path)[49]
    content[place - 20 : place + 600] = bytes(620)
    path.write_bytes(content)
    _, times, stream = read_coded(path)
    frames = list(VideoStream(path, name))
    assert stream.num_frames > 80
    assert stream.num_frames + stream.num_lost == 99
    assert stream.damage.startswith(f"lost {stream.num_lost} frame")
    assert [round(frame.time * RATE) for frame in frames] == [frame.number for frame in frames]
    assert times[-1] == pytest.approx(98 / RATE, abs=2e-3)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_sound_that_is_longer_is_no_damage(tmp_path: Path, name: str) -> None:
    path = write_coded(tmp_path / name, audio_seconds=6)
    shown, _, stream = read_coded(path)
    assert shown == list(range(50))
    assert stream.damage == check_ends(path) == ""
    stream = read_coded(cut(path, 0.5))[2]
    assert stream.damage


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.avi"])
def test_a_trimmed_copy_is_whole(tmp_path: Path, name: str) -> None:
    """Cut without re-encoding, at the beginning and at the end."""
    whole = write_coded(tmp_path / f"whole_{name}", num_frames=99)
    path = copy_packets(whole, tmp_path / name, first=26, last=70)
    shown, _, stream = read_coded(path)
    assert shown[0] == 26
    assert stream.damage == check_ends(path) == ""


def test_a_recording_that_begins_in_the_middle(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.ts", num_frames=99)
    path.write_bytes(path.read_bytes()[188 * 100 :])
    shown, _, stream = read_coded(path)
    assert shown == list(range(shown[0], 99))
    assert (stream.damage, stream.changes) == ("", [HEADLESS])


def test_a_gap_in_time_alone_is_noted(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.mkv", stamps=lambda n: 40 * n + 400 * (n > 20), num_frames=60)
    shown, _, stream = read_coded(path)
    assert shown == list(range(60))
    assert (stream.damage, stream.changes) == ("", [GAPS])


def test_empty_and_short_files(tmp_path: Path) -> None:
    whole = write_format(tmp_path, "a.mkv").read_bytes()
    for size in (0, 1, 5, 12, 40, 60):
        (tmp_path / "b.mkv").write_bytes(whole[:size])
        find_missing_end(tmp_path / "b.mkv")
        assert check_ends(tmp_path / "b.mkv")


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mov", "a.flv", "a.mpg", "a.m2ts"])
def test_frames_that_the_decoder_made_up_are_lost(tmp_path: Path, name: str) -> None:
    """No frame that builds on overwritten bytes is given, and all of them are counted."""
    path = write_format(tmp_path, name)
    whole = {frame.number: frame.image for frame in VideoStream(path, name)}
    places = sorted(find_packets(path), key=lambda packet: -packet[1])
    place, size = next((p, s) for p, s in places if p > path.stat().st_size // 3)
    content = bytearray(path.read_bytes())
    content[place + size // 2 : place + size - 8] = np.random.default_rng(0).bytes(
        size - 8 - size // 2
    )
    path.write_bytes(content)
    stream = VideoStream(path, name)
    shown = {frame.number: frame.image for frame in stream}
    assert all(np.array_equal(image, whole[number]) for number, image in shown.items())
    assert 1 <= stream.num_lost <= 24
    assert len(shown) + stream.num_lost == 99
    assert stream.damage


def test_damaged_sound_is_no_damage(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.mp4", audio_seconds=2)
    with av.open(str(path)) as container:
        places = [(p.pos or 0, p.size) for p in container.demux(audio=0) if p.size > 8]
    content = bytearray(path.read_bytes())
    for place, size in places:
        content[place : place + size] = b"\xa5" * size
    path.write_bytes(content)
    shown, _, stream = read_coded(path)
    assert (shown, stream.damage, stream.num_lost) == (list(range(50)), "", 0)


def test_only_regular_files_of_a_size_are_opened(tmp_path: Path) -> None:
    """What would hang, fetch other files or fill the memory is damage, said at once."""
    write_coded(tmp_path / "b.mp4", num_frames=2)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile b.mp4\n")
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    large = write_coded(tmp_path / "large.mov", num_frames=1, codec="mjpeg", pix_fmt="yuvj420p")
    content, sides = large.read_bytes(), struct.pack(">HH", 9000, 9000)
    for pair in ((96, 64), (64, 96)):  # of the container, of the picture
        content = content.replace(struct.pack(">HH", *pair), sides)
    large.write_bytes(content)
    found = {name: check_ends(tmp_path / name) for name in ("list.mp4", "fifo.mp4", "zero.mp4")}
    assert found["list.mp4"] == "a list of other files (concat), which is not followed"
    assert found["fifo.mp4"] == "a FIFO, not a regular file"
    assert found["zero.mp4"] == "a device, not a regular file"
    assert check_ends(tmp_path / "loop.mp4") == "Too many levels of symbolic links"
    assert check_ends(large) == "9000 x 9000 pixels; allowed: 50 million"
