"""Kinetics-700: a tree of video files, `{train,val,test}/*.mp4` or by class; any depth is read."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vills.data.layouts.base import Layout, RawVideo, Stream, check_folder, require_any, walk

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def read(root: Path) -> Layout:
    """Every video file below `root`.

    The video id is the path without its suffix: a YouTube id alone is not unique, since Kinetics
    has several clips of some videos.
    """
    check_folder(root, "kinetics")

    def videos() -> Iterator[RawVideo]:
        for path in walk(root, SUFFIXES):
            yield RawVideo(path=path, video_id=str(PurePosixPath(path).with_suffix("")))

    require_any(videos(), root=root, name="kinetics", expected=f"video ({', '.join(SUFFIXES)})")
    return Layout("kinetics", root, videos=Stream(videos))
