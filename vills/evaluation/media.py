"""Images, videos and folders of frames below a path."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from vills.curation.video import VideoStream
from vills.data.images import SUFFIXES as IMAGE_SUFFIXES
from vills.data.images import CorruptImageError, decode_image

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")


@dataclass(frozen=True, slots=True)
class Media:
    """One image, video or tracklet."""

    path: str
    """Below the path that was given, posix; the name itself for a single file."""
    kind: str
    """image, video (a file) or tracklet (a folder of frames)."""
    files: tuple[Path, ...]
    """One file, or the frames of a tracklet in order."""


def find_media(path: Path, *, tracklets: bool) -> list[Media]:
    """Find what lies at `path`: images, then videos and tracklets, each in order of paths.

    Hidden files and other suffixes are passed over.

    Raises:
        FileNotFoundError: no such path.
        ValueError: neither images nor videos there.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}. What to do: check the path.")
    files = [path] if path.is_file() else _list_files(path)
    root = path.parent if path.is_file() else path
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    if not images and not videos:
        raise ValueError(
            f"no image or video at {path}. Allowed: files that end in "
            f"{', '.join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))}. What to do: check the path."
        )
    clips = [Media(_name(file, root), "video", (file,)) for file in videos]
    if not tracklets:
        stills = [Media(_name(file, root), "image", (file,)) for file in images]
        return stills + clips
    for folder, frames in groupby(images, key=lambda file: file.parent):
        name = folder.name if folder == root else _name(folder, root)
        clips.append(Media(name, "tracklet", tuple(frames)))
    return sorted(clips, key=lambda medium: medium.path)


def load_pixels(file: Path) -> np.ndarray:
    """Load RGB uint8 [H, W, 3] of an image file.

    Raises:
        CorruptImageError: not a complete image, or not readable.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorruptImageError(f"{file.name}: {error.strerror}") from error
    return decode_image(data, name=file.name)


def explain(error: CorruptImageError, file: Path) -> str:
    """Return the reason alone: reports name the file by its whole path."""
    return str(error).removeprefix(f"{file.name}: ")


def read_frames(medium: Media, bad: list[tuple[str, str]]) -> Iterator[np.ndarray]:
    """Read frames of a video or tracklet as a stream; add what cannot be read to `bad`."""
    if medium.kind == "tracklet":
        for file in medium.files:
            try:
                yield load_pixels(file)
            except CorruptImageError as error:
                bad.append((f"{medium.path}/{file.name}", explain(error, file)))
        return
    stream = VideoStream(medium.files[0], medium.path)
    for frame in stream:
        yield frame.image
    if stream.damage:
        bad.append((medium.path, stream.damage))


def _list_files(folder: Path) -> list[Path]:
    """List visible files at any depth by folder, so that frames of a tracklet stand together."""
    files = [
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    return sorted(files, key=lambda file: (file.parent.as_posix(), file.name))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
