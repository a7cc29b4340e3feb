"""Features of any images or videos of people: what `vills extract PATH --weights W` does.

It writes parquet or npz whose bytes depend on the features alone.

Legend: T frames of a clip, H x W pixels, D width of the feature.
"""

import posixpath
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.curation.video import VideoStream
from vills.data.files import VIDEO_SUFFIXES, compute_order
from vills.data.images import SUFFIXES as IMAGE_SUFFIXES
from vills.data.images import CorruptImageError, describe_changes, read_image
from vills.data.layouts.listing import Listing, describe_stray, is_medium, list_folder
from vills.data.layouts.people import describe_copy_names, is_copy_name
from vills.data.readable import describe_video_changes
from vills.errors import InputError
from vills.evaluation.media_features import Described, MediaFeatures
from vills.evaluation.protocols.base import FeatureChoice
from vills.evaluation.token_file import SUFFIXES, render_about, save_tokens
from vills.inputs import read_input
from vills.io import open_atomic
from vills.refusals import check_machine

MAX_FRAMES = 512
"""Frames of one video file that are held; a longer one is thinned evenly to at most so many."""
ROLES = ("coarse", *AREAS, "temporal")
"""Columns: the parts of a feature."""


@dataclass(frozen=True, slots=True)
class Media:
    """One image, video or tracklet."""

    path: str
    """Below the path that was given, posix; the name itself for a single file."""
    kind: str
    """image, video (a file) or tracklet (a folder of frames)."""
    files: tuple[Path, ...]
    """One file, or the frames of a tracklet in order."""


def find_media(path: Path, *, tracklets: bool) -> tuple[list[Media], tuple[str, ...]]:
    """Find what lies at `path`: images, then videos and tracklets, each in natural order.

    Returns:
        The media, and notes on files that are passed over, and on names of copies.

    Raises:
        FileNotFoundError: no such path.
        InputError: neither images nor videos there.
        UnreadableFolderError: a folder cannot be listed, or a name is not UTF-8.
    """
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}. What to do: check the path.")
    root = path if path.is_dir() else path.parent
    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
    if path.is_dir():
        found = list_folder(path, suffixes=suffixes)
    else:
        found = Listing((path.name,), ()) if is_medium(path.name, suffixes) else Listing((), ())
    images = [name for name in found.media if is_medium(name, IMAGE_SUFFIXES)]
    videos = [name for name in found.media if is_medium(name, VIDEO_SUFFIXES)]
    notes = describe_stray(".", found.stray)
    if not found.media:
        raise InputError(
            f"no image or video at {path}{'; '.join(['', *notes])}. Allowed: files that end in "
            f"{', '.join(suffixes)}. What to do: check the path."
        )
    copies = [name for name in found.media if is_copy_name(name)]
    notes += describe_copy_names(copies, total=len(found.media))
    clips = [Media(name, "video", (root / name,)) for name in videos]
    if not tracklets:
        return [*(Media(name, "image", (root / name,)) for name in images), *clips], notes
    for folder, frames in groupby(images, key=posixpath.dirname):
        name = folder or root.resolve().name
        clips.append(Media(name, "tracklet", tuple(root / frame for frame in frames)))
    return sorted(clips, key=lambda medium: compute_order(medium.path)), notes


def load_pixels(file: Path, path: str, report: "ExtractReport") -> np.ndarray | None:
    """Load RGB uint8 [H, W, 3] of an image file; None, and `path` in the report, if damaged."""
    try:
        image = read_image(read_input(file), name=file.name)
        report.changes.update(image.changes)
        return image.pixels
    except OSError as error:
        check_machine(error)
        report.bad.append((path, str(error.strerror)))
    except CorruptImageError as error:
        report.bad.append((path, str(error).removeprefix(f"{file.name}: ")))
    return None


def read_frames(medium: Media, report: "ExtractReport") -> Iterator[np.ndarray]:
    """Read frames of a video or tracklet as a stream; what cannot be read is in the report."""
    if medium.kind == "tracklet":
        for file in medium.files:
            pixels = load_pixels(file, f"{medium.path}/{file.name}", report)
            if pixels is not None:
                yield pixels
        return
    stream = VideoStream(medium.files[0], medium.path)
    for frame in stream:
        yield frame.image
    report.video_changes.update(stream.changes)
    if stream.damage:
        report.bad.append((medium.path, stream.damage))


@dataclass
class ExtractReport:
    """What was described and what could not be."""

    num_images: int = 0
    num_videos: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file that was skipped, or of which something is lost."""
    changes: Counter[str] = field(default_factory=Counter)
    """What was done to how many images."""
    video_changes: Counter[str] = field(default_factory=Counter)
    """What was done to how many videos."""
    thinned: list[tuple[str, int]] = field(default_factory=list)
    """(path, n) of every video of which every n-th frame was described."""
    about: dict[str, str] = field(default_factory=dict)
    """What the features are, see `MediaFeatures`."""
    notes: tuple[str, ...] = ()
    """What was passed over, by suffix, and what looks like a copy."""

    def format(self) -> str:
        """Return lines for the terminal."""
        lines = [f"{self.num_images} images and {self.num_videos} videos extracted"]
        lines += filter(None, [render_about(self.about)])
        lines += [
            f"note: {path}: every {step}th frame, since it has over {MAX_FRAMES}"
            for path, step in self.thinned
        ]
        lines += [f"bad: {path}: {reason}" for path, reason in self.bad]
        notes = (*describe_changes(self.changes), *describe_video_changes(self.video_changes))
        lines += [f"note: {note}" for note in (*self.notes, *notes)]
        return "\n".join(lines)


def extract_path(
    path: Path,
    *,
    weights: Path,
    out: Path,
    tracklets: bool = False,
    choice: FeatureChoice | None = None,
    num_frames: int | None = None,
    batch_size: int = 64,
) -> ExtractReport:
    """Write the features of crops of people, the same that `evaluate@` compares (supplement 1).

    Each picture should show one person. `feature` has all parts of a model's feature side by side,
    coarse, areas and (models of videos) temporal; a column per part holds it alone. No norm is set
    to 1: distances do that, as for evaluate.

    Args:
        path: an image, a video, or a folder of both, searched to any depth; links are followed.
        weights: folder of a fine-tuned model or of a pre-trained backbone.
        out: .parquet or .npz; images first, then videos, each in order of their paths.
        tracklets: every folder that holds images is a tracklet, its images the frames in natural
            order of their names (2 before 10); else each image is for itself.
        choice: neck (after), flip (off) and pooling (mean); what they are is in the file.
        num_frames: T; None: that of the model's fine-tuning, else 8.
        batch_size: images per forward.

    Returns:
        Counts, and every bad file by name: bad files never stop the others.

    Raises:
        ConfigError: `out` has another suffix.
        FileNotFoundError: `path` or the weights do not exist.
        InputError: nothing below `path` could be read; the message names the first reasons.
    """
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f"out = {out.name!r} is not allowed. Allowed: a name that ends in "
            f"{' or '.join(SUFFIXES)}. What to do: choose one of them."
        )
    media, notes = find_media(path, tracklets=tracklets)
    features = MediaFeatures(
        weights, choice=choice or FeatureChoice(), num_frames=num_frames, batch_size=batch_size
    )
    report = ExtractReport(about=features.about, notes=notes)
    with open_atomic(out) as temporary:
        rows = _Describer(features, batch_size, report).describe(media)
        save_tokens(temporary, rows, roles=ROLES, about=features.about, kind=out.suffix)
        if report.num_images + report.num_videos == 0:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in report.bad[:3])
            raise InputError(
                f"none of the {len(media)} images and videos at {path} could be read ({reasons})"
            )
    return report


@dataclass(frozen=True)
class _Describer:
    """Reads media and turns them into rows of the output."""

    features: MediaFeatures
    batch_size: int
    report: ExtractReport

    def describe(self, media: list[Media]) -> Iterator[dict[str, object]]:
        """Describe what can be read: images in batches, videos one by one."""
        batch: list[tuple[Media, np.ndarray]] = []
        images = [medium for medium in media if medium.kind == "image"]
        for number, medium in enumerate(images, start=1):
            pixels = load_pixels(medium.files[0], medium.path, self.report)
            if pixels is not None:
                batch.append((medium, self.features.hold(pixels)))
            if batch and (len(batch) == self.batch_size or number == len(images)):
                yield from self._describe_images(batch)
                batch = []
        for medium in media:
            if medium.kind != "image":
                frames = self._hold_frames(medium)
                if frames:
                    self.report.num_videos += 1
                    described = self.features.describe_video(frames)
                    yield self._build_row(medium, len(frames), described)

    def _describe_images(
        self, batch: list[tuple[Media, np.ndarray]]
    ) -> Iterator[dict[str, object]]:
        self.report.num_images += len(batch)
        described = self.features.describe_pictures([pixels for _, pixels in batch])
        for (medium, _), own in zip(batch, described, strict=True):
            yield self._build_row(medium, 1, own)

    def _hold_frames(self, medium: Media) -> list[np.ndarray]:
        """Hold frames at the network's size; of a long video file every s-th.

        s is doubled whenever there would be too many. A tracklet keeps all, as in evaluate.
        """
        frames: list[np.ndarray] = []
        stride = 1
        for number, pixels in enumerate(read_frames(medium, self.report)):
            if number % stride == 0:
                frames.append(self.features.hold(pixels))
            if len(frames) > MAX_FRAMES and medium.kind == "video":
                frames = frames[::2]
                stride *= 2
        if stride > 1:
            self.report.thinned.append((medium.path, stride))
        return frames

    def _build_row(self, medium: Media, num_frames: int, described: Described) -> dict[str, object]:
        """Lay out a row; a part that the model has not, or that needs time, is None."""
        return {
            "path": medium.path,
            "kind": "image" if medium.kind == "image" else "video",
            "num_frames": num_frames,
            **{name: described.roles.get(name) for name in ROLES},
            "feature": described.feature,
        }
