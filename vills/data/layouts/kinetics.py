"""Kinetics-700: a tree of video files, `{train,val,test}/*.mp4` or by class; any depth is read."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from vills.data.layouts.base import Layout, RawVideo, Stream, check_folder, require_any, walk

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def read(root: Path) -> Layout:
    """Every video file below `root`.

    The video id is the path without its suffix: a YouTube id alone is not unique, since Kinetics
    has several clips of some videos. Where two files differ in the suffix alone, they keep it.
    """
    check_folder(root, "kinetics")
    counts = Counter(map(_cut_suffix, walk(root, SUFFIXES)))
    shared = {name for name, count in counts.items() if count > 1}

    def videos() -> Iterator[RawVideo]:
        for path in walk(root, SUFFIXES):
            name = _cut_suffix(path)
            yield RawVideo(path=path, video_id=path if name in shared else name)

    require_any(videos(), root=root, name="kinetics", expected=f"video ({', '.join(SUFFIXES)})")
    return Layout("kinetics", root, videos=Stream(videos))


def _cut_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
