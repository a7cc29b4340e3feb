"""Features of any images or videos of people: what `vills extract PATH --weights W` does.

It writes parquet or npz whose bytes depend on the features alone.

Legend: B rows, C clips, T frames of a clip, H x W pixels, L tokens, D width.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vills.config.checks import ConfigError
from vills.curation.video import VideoStream
from vills.data.clips import build_spread_clips
from vills.data.images import SUFFIXES as IMAGE_SUFFIXES
from vills.data.images import CorruptImageError, decode_image
from vills.data.readable import describe_video_changes
from vills.data.transforms import MEAN, STD, resize
from vills.evaluation.feature_table import SUFFIXES, save_tokens
from vills.io import open_atomic
from vills.models.backbone import Backbone
from vills.models.encoder import AREA_ROLES, COARSE, TEMPORAL
from vills.models.layers import convert_rows
from vills.models.weights import load_backbone

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
MAX_FRAMES = 512
"""Frames of one video that are held; a longer video is thinned evenly to at most so many."""
ROLES = {"coarse": COARSE, **AREA_ROLES, "temporal": TEMPORAL}
"""Columns -> places among the tokens of a backbone."""


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
    root = path.parent if path.is_file() else path
    files = [path]
    if not path.is_file():
        visible = (
            file
            for file in path.rglob("*")
            if file.is_file() and not any(part[0] == "." for part in file.relative_to(path).parts)
        )
        # by folder, so that frames of a tracklet stand together
        files = sorted(visible, key=lambda file: (file.parent.as_posix(), file.name))
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


def load_pixels(file: Path, path: str, bad: list[tuple[str, str]]) -> np.ndarray | None:
    """Load RGB uint8 [H, W, 3] of an image file; None, and `path` in `bad`, if it is damaged."""
    try:
        return decode_image(file.read_bytes(), name=file.name)
    except OSError as error:
        bad.append((path, str(error.strerror)))
    except CorruptImageError as error:
        bad.append((path, str(error).removeprefix(f"{file.name}: ")))
    return None


def read_frames(medium: Media, report: "ExtractReport") -> Iterator[np.ndarray]:
    """Read frames of a video or tracklet as a stream; what cannot be read is in the report."""
    if medium.kind == "tracklet":
        for file in medium.files:
            pixels = load_pixels(file, f"{medium.path}/{file.name}", report.bad)
            if pixels is not None:
                yield pixels
        return
    stream = VideoStream(medium.files[0], medium.path)
    for frame in stream:
        yield frame.image
    report.video_changes.update(stream.changes)
    if stream.damage:
        report.bad.append((medium.path, stream.damage))


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


@dataclass
class ExtractReport:
    """What was described and what could not be."""

    num_images: int = 0
    num_videos: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file that was skipped, or of which something is lost."""
    video_changes: Counter[str] = field(default_factory=Counter)
    """What was done to how many videos."""

    def format(self) -> str:
        """Return lines for the terminal."""
        lines = [f"{self.num_images} images and {self.num_videos} videos extracted"]
        lines += [f"note: {note}" for note in describe_video_changes(self.video_changes)]
        lines += [f"bad: {path}: {reason}" for path, reason in self.bad]
        return "\n".join(lines)


def extract_path(
    path: Path,
    *,
    weights: Path,
    out: Path,
    tracklets: bool = False,
    num_frames: int = 8,
    batch_size: int = 64,
) -> ExtractReport:
    """Write coarse, area and temporal features of crops of people (supplement 1).

    Pictures are resized to the backbone's own size, so each should show one person. All clips of
    a video are averaged. Role columns hold the tokens as they are; `feature` is the coarse, area
    and (videos) temporal tokens side by side, L2-normalised.

    Args:
        path: an image, a video, or a folder of both, searched to any depth.
        weights: folder of an exported backbone.
        out: .parquet or .npz; images first, then videos, each in order of their paths.
        tracklets: every folder that holds images is a tracklet, its images the frames in order of
            their names; else each image is for itself.
        num_frames: T.
        batch_size: images per forward.

    Returns:
        Counts, and every bad file by name: bad files never stop the others.

    Raises:
        ConfigError: `out` has another suffix.
        FileNotFoundError: `path` or the weights do not exist.
        ValueError: nothing below `path` could be read; the message names the first reasons.
    """
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f"out = {out.name!r} is not allowed. Allowed: a name that ends in "
            f"{' or '.join(SUFFIXES)}. What to do: choose one of them."
        )
    media = find_media(path, tracklets=tracklets)
    backbone = load_backbone(weights).eval()
    report = ExtractReport()
    with open_atomic(out) as temporary:
        rows = _Describer(backbone, num_frames, batch_size, report).describe(media)
        save_tokens(temporary, rows, roles=tuple(ROLES), parquet=out.suffix == ".parquet")
        if report.num_images + report.num_videos == 0:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in report.bad[:3])
            raise ValueError(
                f"none of the {len(media)} images and videos at {path} could be read ({reasons})"
            )
    return report


@dataclass(frozen=True)
class _Describer:
    """Reads media and turns them into rows of the output."""

    backbone: Backbone
    num_frames: int
    batch_size: int
    report: ExtractReport

    def describe(self, media: list[Media]) -> Iterator[dict[str, object]]:
        """Describe what can be read: images in batches, videos one by one."""
        batch: list[tuple[Media, np.ndarray]] = []
        images = [medium for medium in media if medium.kind == "image"]
        for number, medium in enumerate(images, start=1):
            pixels = load_pixels(medium.files[0], medium.path, self.report.bad)
            if pixels is not None:
                batch.append((medium, self._resize(pixels)))
            if batch and (len(batch) == self.batch_size or number == len(images)):
                yield from self._describe_images(batch)
                batch = []
        for medium in media:
            if medium.kind != "image":
                frames = self._hold_frames(medium)
                if frames:
                    self.report.num_videos += 1
                    roles = self._describe_video(frames)
                    yield self._build_row(medium, len(frames), roles, "video")

    @torch.inference_mode()
    def _describe_images(
        self, batch: list[tuple[Media, np.ndarray]]
    ) -> Iterator[dict[str, object]]:
        images = self._to_tensor([pixels for _, pixels in batch])  # [B, 3, H, W]
        roles = self.backbone.encode_image(images).roles.float().cpu()
        self.report.num_images += len(batch)
        for (medium, _), tokens in zip(batch, roles, strict=True):
            yield self._build_row(medium, 1, tokens, "image")

    @torch.inference_mode()
    def _describe_video(self, frames: list[np.ndarray]) -> Tensor:
        """Return the mean [L, D] over the clips."""
        clips = build_spread_clips(len(frames), self.num_frames)  # [C, T]
        step = max(1, self.batch_size // self.num_frames)
        total = torch.zeros(())
        for first in range(0, len(clips), step):
            rows = clips[first : first + step]
            pixels = self._to_tensor([frames[index] for index in rows.ravel()])
            roles = self.backbone.encode_video(convert_rows(pixels, rows.shape)).roles
            total = total + roles.float().cpu().sum(dim=0)
        return total / len(clips)

    def _hold_frames(self, medium: Media) -> list[np.ndarray]:
        """Hold resized frames; every s-th, with s doubled whenever there would be too many."""
        frames: list[np.ndarray] = []
        stride = 1
        for number, pixels in enumerate(read_frames(medium, self.report)):
            if number % stride == 0:
                frames.append(self._resize(pixels))
            if len(frames) > MAX_FRAMES:
                frames = frames[::2]
                stride *= 2
        return frames

    def _resize(self, pixels: np.ndarray) -> np.ndarray:
        height, width = self.backbone.config.image_size
        return resize(pixels, height=height, width=width)

    def _to_tensor(self, frames: list[np.ndarray]) -> Tensor:
        """Turn uint8 pictures [H, W, 3] into a normalised [B, 3, H, W]."""
        pixels = torch.from_numpy(np.stack(frames))
        return ((pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD).contiguous()

    def _build_row(
        self, medium: Media, num_frames: int, roles: Tensor, modality: str
    ) -> dict[str, object]:
        """Name tokens [L, D] by role; a role that was not trained, or needs time, is None."""
        trained = self.backbone.get_roles(modality)
        feature = self.backbone.compute_feature(roles[None], modality=modality)[0].numpy()
        norm = float(np.linalg.norm(feature.astype(np.float64)))
        return {
            "path": medium.path,
            "kind": modality,
            "num_frames": num_frames,
            **{
                name: roles[place].numpy() if name in trained else None
                for name, place in ROLES.items()
            },
            "feature": (feature / max(norm, 1e-12)).astype(np.float32),
        }
