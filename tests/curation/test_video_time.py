"""Time is what the stamps of the frames say, not their position."""

from fractions import Fraction
from pathlib import Path

import pytest

from tests.curation.coded_videos import RATE, copy_packets, read_coded, write_coded
from vills.curation.clock import Clock
from vills.curation.video import EMPTY_SEGMENT, UNTIMED

# ms between frames of a variable-rate video: bursts, and pauses of up to a second
STEPS = (40, 40, 500, 10, 10, 1000, 33, 33, 33, 700)
STAMPS = [sum((STEPS * 5)[:number]) for number in range(50)]


@pytest.fixture(scope="module")
def variable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_coded(tmp_path_factory.mktemp("variable") / "a.mp4", stamps=STAMPS.__getitem__)


@pytest.mark.parametrize(("first", "last"), [(0, 10), (7, 17), (20, 30), (40, 50)])
def test_a_segment_in_ms_of_a_variable_rate(variable: Path, first: int, last: int) -> None:
    stop = STAMPS[last] if last < 50 else -1
    shown, times, stream = read_coded(variable, start=STAMPS[first], stop=stop, unit="ms")
    assert shown == list(range(first, last))
    assert times == pytest.approx([STAMPS[number] / 1000 for number in shown])
    assert not stream.damage


def test_a_segment_begins_with_the_first_frame_shown_in_it(variable: Path) -> None:
    shown, _, _ = read_coded(variable, start=STAMPS[3] - 1, stop=STAMPS[5] + 1, unit="ms")
    assert shown == [3, 4, 5]
    shown, _, _ = read_coded(variable, start=STAMPS[3] + 1, stop=STAMPS[5], unit="ms")
    assert shown == [4]


def test_a_segment_between_two_frames_is_noted(variable: Path) -> None:
    shown, _, stream = read_coded(variable, start=STAMPS[2] + 1, stop=STAMPS[2] + 5, unit="ms")
    shown, _, stream = read_coded(variable, start=100, stop=200, unit="ms")
    assert (shown, stream.damage, stream.changes) == ([], "", [EMPTY_SEGMENT])


def test_a_segment_behind_the_end(variable: Path) -> None:
    shown, _, stream = read_coded(variable, start=60_000, stop=61_000, unit="ms")
    assert not shown
    assert stream.damage == f"ends at {STAMPS[-1]} ms, its segment begins at 60000 ms"


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.flv", "a.ts"])
def test_every_container_keeps_the_times(variable: Path, tmp_path: Path, name: str) -> None:
    copy = copy_packets(variable, tmp_path / name)
    shown, times, stream = read_coded(copy, start=STAMPS[7], stop=STAMPS[17], unit="ms")
    assert shown == list(range(7, 17))
    assert times == pytest.approx([STAMPS[number] / 1000 for number in shown], abs=1e-3)
    assert not stream.changes


@pytest.mark.parametrize(
    ("name", "shift"), [("a.mp4", 5.0), ("a.mkv", 5.0), ("a.ts", 5.0), ("a.ts", 95440.0)]
)
def test_the_first_frame_is_at_0(variable: Path, tmp_path: Path, name: str, shift: float) -> None:
    """Also where the stamps begin late, or run over their 33 bits as those of broadcasts do."""
    copy = copy_packets(variable, tmp_path / name, shift=shift)
    shown, times, _ = read_coded(copy)
    assert shown == list(range(50))
    assert times == pytest.approx([stamp / 1000 for stamp in STAMPS], abs=1e-3)


def test_ntsc(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.mp4", rate=Fraction(30000, 1001))
    shown, times, _ = read_coded(path, start=1001, stop=1335, unit="ms")
    assert shown == list(range(30, 41))  # frame 40 is shown at 1334.7 ms
    assert times == pytest.approx([number * 1001 / 30000 for number in shown])


@pytest.mark.parametrize("name", ["a.avi", "a.mpg", "a.mkv", "a.h264"])
def test_frames_stored_in_another_order(tmp_path: Path, name: str) -> None:
    """B-frames; an AVI has no stamps of display, a bare H.264 has none at all."""
    codec = "mpeg2video" if name == "a.mpg" else "libx264"
    shown, times, stream = read_coded(write_coded(tmp_path / name, codec=codec))
    assert shown == list(range(50))
    assert times == pytest.approx([number / RATE for number in shown], abs=1e-3)
    assert stream.changes == ([UNTIMED] if name == "a.h264" else [])


def test_an_edit_list_hides_the_beginning(tmp_path: Path) -> None:
    path = copy_packets(write_coded(tmp_path / "a.mp4"), tmp_path / "b.mp4", shift=-0.4)
    shown, times, stream = read_coded(path, start=400, stop=800, unit="ms")
    assert shown == list(range(20, 30))
    assert times == pytest.approx([number / RATE - 0.4 for number in shown])
    assert not stream.damage


def test_dropped_frames_of_an_avi_take_their_time(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.avi", codec="mjpeg", pix_fmt="yuvj420p")
    content = bytearray(path.read_bytes())
    index = content.rindex(b"idx1") + 8
    for number in (20, 21, 22):
        place = index + 16 * number + 12
        content[place : place + 4] = bytes(4)
        chunk = content.index(b"movi") + int.from_bytes(content[place - 4 : place], "little")
        content[chunk + 4 : chunk + 8] = bytes(4)
    path.write_bytes(content)
    shown, times, _ = read_coded(path)
    assert times == pytest.approx([number / RATE for number in shown])
    assert shown == [number for number in range(50) if number not in (20, 21, 22)]


def test_a_clock_never_runs_backwards() -> None:
    clock = Clock(Fraction(1, 10))
    stamps = [5.0, 5.1, None, 5.3, 5.2, 5.4, 5.4, 1.0, 1.1]
    times = [clock.compute_time(None if s is None else Fraction(str(s))) for s in stamps]
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.3, 0.4, 0.4, 0.5, 0.6])
    assert clock.num_untimed == 3
