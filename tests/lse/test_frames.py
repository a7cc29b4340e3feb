from dataclasses import replace

from vills.data.records import Record
from vills.lse.frames import get_raw_frame

RECORD = Record(
    record_id="r",
    kind="tracklet",
    source="s",
    split="pretrain",
    pid=-1,
    camid=-1,
    clothes_id=-1,
    video_id="v",
    origin="scene.mp4",
    width=8,
    height=16,
    shard="shard-000000.tar",
    offsets=(0, 1, 2),
    lengths=(1, 1, 1),
    frames=(40, 42, 44),
    boxes=((0.0, 0.0, 8.0, 16.0),) * 3,
)


def test_frame_of_a_video_is_its_number() -> None:
    assert [get_raw_frame(RECORD, p) for p in (0, 2)] == [("scene.mp4", 40), ("scene.mp4", 44)]


def test_frame_of_a_mars_tracklet_is_its_own_file() -> None:
    name = "bbox_train/0001/0001C1T0001F{:03d}.jpg"
    for frames in ((0, 1, 2), (1, 2, 3)):  # counted from 0 or by the files' own numbers
        record = replace(RECORD, origin=name.format(1), frames=frames)
        assert [get_raw_frame(record, p) for p in range(3)] == [
            (name.format(n), 0) for n in (1, 2, 3)
        ]


def test_image_is_its_file() -> None:
    record = replace(RECORD, kind="image", origin="a/0001F001.jpg", frames=(0, 0, 0))
    assert get_raw_frame(record, 0) == ("a/0001F001.jpg", 0)
