import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest

from tests.curation.scenes import HEIGHT, WIDTH, draw_frame, walk_right, write_scene, write_video
from vills.curation.video import VideoStream

WALKS = [walk_right(4)]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene"), "a.mp4", WALKS, num_frames=30)


def test_frames_are_rgb_and_in_order(scene: Path) -> None:
    stream = VideoStream(scene, "a.mp4")
    frames = list(stream)
    assert [frame.number for frame in frames] == list(range(30))
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(30)])
    assert stream.num_frames == stream.expected_frames == 30
    assert not stream.damage
    assert {frame.path for frame in frames} == {"a.mp4"}
    assert (frames[0].width, frames[0].height) == (WIDTH, HEIGHT)
    difference = frames[20].image.astype(int) - draw_frame(WALKS, 20)
    assert np.abs(difference).mean() < 6, "colours are lost to compression only"


def test_step_keeps_the_numbers_of_the_video(scene: Path) -> None:
    stream = VideoStream(scene, "a.mp4", rate=25 / 7)
    assert [frame.number for frame in stream] == [0, 7, 14, 21, 28]
    assert stream.num_frames == 30


@pytest.mark.parametrize(
    ("start", "stop", "unit", "rate", "expected"),
    [
        (0, -1, "frame", 0, range(30)),
        (10, 14, "frame", 0, range(10, 14)),
        (10, -1, "frame", 0, range(10, 30)),
        (3, 14, "frame", 25 / 4, range(3, 14, 4)),
        (0, 99, "frame", 0, range(30)),
        # 25 frames a second: frame 10 is shown at 400 ms, frame 11 at 440 ms
        (400, 440, "ms", 0, range(10, 11)),
        (401, 441, "ms", 0, range(11, 12)),
        (0, 1, "ms", 0, range(1)),
        (400, -1, "ms", 0, range(10, 30)),
        (401, 402, "ms", 0, range(0)),
    ],
)
def test_segments_keep_the_numbers_of_the_video(
    start: int, stop: int, unit: str, rate: float, expected: range, scene: Path
) -> None:
    stream = VideoStream(scene, "a.mp4", rate=rate, start=start, stop=stop, unit=unit)
    assert [frame.number for frame in stream] == list(expected)
    assert not stream.damage
    whole = {frame.number: frame.image for frame in VideoStream(scene, "a.mp4")}
    for frame in stream:
        np.testing.assert_array_equal(frame.image, whole[frame.number])


def test_a_segment_before_the_break_is_whole(scene: Path, tmp_path: Path) -> None:
    content = scene.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * 0.9)])
    stream = VideoStream(tmp_path / "cut.mp4", "cut.mp4", start=2, stop=9)
    assert [frame.number for frame in stream] == list(range(2, 9))
    assert not stream.damage
    stream = VideoStream(tmp_path / "cut.mp4", "cut.mp4", start=2, stop=30)
    assert len(list(stream)) < 28
    assert "after frame" in stream.damage


def test_a_segment_behind_the_end(scene: Path) -> None:
    stream = VideoStream(scene, "a.mp4", start=30, stop=40)
    assert not list(stream)
    assert stream.damage == "has 30 frames, its segment begins at 30"


@pytest.mark.parametrize("share", [0.8, 0.95])
def test_a_video_that_breaks_off_gives_the_frames_before(
    scene: Path, share: float, tmp_path: Path
) -> None:
    content = scene.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: int(len(content) * share)])
    stream = VideoStream(tmp_path / "cut.mp4", "cut.mp4")
    assert 0 < len(list(stream)) < 30
    assert "ends early, after frame" in stream.damage
    assert stream.num_frames + stream.num_lost == 30


def test_a_video_cut_between_two_frames_is_noticed(scene: Path, tmp_path: Path) -> None:
    with av.open(str(scene)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        end = max((p.pos or 0) + p.size for p in packets[:12])
    (tmp_path / "cut.mp4").write_bytes(scene.read_bytes()[:end])
    stream = VideoStream(tmp_path / "cut.mp4", "cut.mp4")
    assert len(list(stream)) == 12
    assert stream.damage == (
        "ends early, after frame 12 of 30; cut short: 2,478 of at least 3,024 bytes are there"
    )


def test_a_trimmed_copy_is_whole(scene: Path, tmp_path: Path) -> None:
    """Cut without re-encoding: an edit list hides frames that the index still holds."""
    path = tmp_path / "trimmed.mp4"
    with av.open(str(scene)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None and packet.pts is not None:
                shift = round(0.4 / packet.time_base)
                packet.stream = stream
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                target.mux(packet)
    trimmed = VideoStream(path, "trimmed.mp4")
    assert 0 < len(list(trimmed)) < 30
    assert not trimmed.damage


@pytest.mark.parametrize("content", [b"", b"no video at all", None])
def test_what_is_no_video_gives_no_frame(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    stream = VideoStream(path, "bad.mp4")
    assert not list(stream)
    assert stream.damage


def test_a_video_whose_index_is_missing_gives_no_frame(tmp_path: Path) -> None:
    frames = [draw_frame(WALKS, i) for i in range(20)]
    whole = write_video(tmp_path / "whole.mp4", frames, faststart=False).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 3 // 4])
    stream = VideoStream(tmp_path / "cut.mp4", "cut.mp4")
    assert not list(stream)
    assert stream.damage


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    frames = (draw_frame(WALKS, i % 40) for i in range(300))
    path = write_video(tmp_path / "long.mp4", frames)
    tracemalloc.start()
    try:
        assert sum(1 for _ in VideoStream(path, "long.mp4")) == 300
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * WIDTH * HEIGHT * 3, "a few frames, not 300"


def test_a_phone_video_is_turned_upright(scene: Path, tmp_path: Path) -> None:
    """Its track header says: show me turned by a quarter to the right."""
    content = bytearray(scene.read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert content[matrix : matrix + 4] == (1 << 16).to_bytes(4, "big")
    turn = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turn)
    (tmp_path / "phone.mp4").write_bytes(content)
    frame = next(iter(VideoStream(tmp_path / "phone.mp4", "phone.mp4")))
    plain = next(iter(VideoStream(scene, "a.mp4")))
    assert (frame.width, frame.height) == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(frame.image, np.rot90(plain.image, -1))
