"""Features of any images or videos of people: what `vills extract PATH --weights W` does.

Legend: B rows, C clips, T frames of a clip, H x W pixels, L tokens, D width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vills.areas import AREAS
from vills.data.clips import spread_clips
from vills.data.images import CorruptImageError
from vills.data.transforms import MEAN, STD, resize
from vills.evaluation.distance import FloatArray
from vills.evaluation.feature_file import TokenWriter, check_suffix
from vills.evaluation.media import Media, explain, find_media, load_pixels, read_frames
from vills.io import atomic_path
from vills.models.backbone import Backbone
from vills.models.roles import AREA_ROLES, COARSE, TEMPORAL
from vills.models.shapes import fold_rows
from vills.models.weights import load_backbone

MAX_FRAMES = 512
"""Frames of one video that are held; a longer video is thinned evenly to at most so many."""
ROLES = ("coarse", *AREAS, "temporal")

Progress = Callable[[str, int, int], None]


@dataclass
class ExtractReport:
    """What was described and what could not be."""

    num_images: int = 0
    num_videos: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file that was skipped, or whose end was."""

    def format(self) -> str:
        """Lines for the terminal."""
        lines = [f"{self.num_images} images and {self.num_videos} videos described"]
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
    device: str = "cpu",
    progress: Progress | None = None,
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
        device: where to compute.
        progress: told (label, done, total).

    Returns:
        Counts, and every bad file by name: bad files never stop the others.

    Raises:
        ConfigError: `out` has another suffix.
        FileNotFoundError: `path` or the weights do not exist.
        ValueError: nothing below `path` could be read; the message names the first reasons.
    """
    check_suffix(out)
    media = find_media(path, tracklets=tracklets)
    backbone = load_backbone(weights).to(device).eval()
    report = ExtractReport()
    with atomic_path(out) as temporary:
        writer = TokenWriter(temporary, roles=ROLES, parquet=out.suffix == ".parquet")
        describer = _Describer(backbone, num_frames, batch_size, report)
        for done, row in enumerate(describer.describe(media), start=1):
            writer.add(row)
            if progress is not None:
                progress("extract", done, len(media))
        if report.num_images + report.num_videos == 0:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in report.bad[:3])
            raise ValueError(
                f"none of the {len(media)} images and videos at {path} could be read ({reasons})"
            )
        writer.close()
    return report


class _Describer:
    """Reads media and turns them into rows of the output."""

    def __init__(
        self, backbone: Backbone, num_frames: int, batch_size: int, report: ExtractReport
    ) -> None:
        self.backbone = backbone
        self.num_frames = num_frames
        self.batch_size = batch_size
        self.report = report
        self.device = next(backbone.parameters()).device

    def describe(self, media: list[Media]) -> Iterator[dict[str, object]]:
        """Rows of what can be read: images in batches, videos one by one."""
        batch: list[tuple[Media, np.ndarray]] = []
        images = [entry for entry in media if entry.kind == "image"]
        for number, entry in enumerate(images, start=1):
            try:
                batch.append((entry, self._resize(load_pixels(entry.files[0]))))
            except CorruptImageError as error:
                self.report.bad.append((entry.path, explain(error, entry.files[0])))
            if batch and (len(batch) == self.batch_size or number == len(images)):
                yield from self._describe_images(batch)
                batch = []
        for entry in media:
            if entry.kind != "image":
                frames = self._hold_frames(entry)
                if frames:
                    self.report.num_videos += 1
                    roles = self._describe_video(frames)
                    yield self._build_row(entry, len(frames), roles, "video")

    @torch.inference_mode()
    def _describe_images(
        self, batch: list[tuple[Media, np.ndarray]]
    ) -> Iterator[dict[str, object]]:
        images = self._to_tensor([pixels for _, pixels in batch])  # [B, 3, H, W]
        roles = self.backbone.encode_image(images).roles.float().cpu()
        self.report.num_images += len(batch)
        for (entry, _), tokens in zip(batch, roles, strict=True):
            yield self._build_row(entry, 1, tokens, "image")

    @torch.inference_mode()
    def _describe_video(self, frames: list[np.ndarray]) -> Tensor:
        """[L, D] mean over the clips."""
        clips = spread_clips(len(frames), self.num_frames)  # [C, T]
        step = max(1, self.batch_size // self.num_frames)
        total = torch.zeros(())
        for first in range(0, len(clips), step):
            rows = clips[first : first + step]
            pixels = self._to_tensor([frames[index] for index in rows.ravel()])
            roles = self.backbone.encode_video(fold_rows(pixels, rows.shape)).roles
            total = total + roles.float().cpu().sum(dim=0)
        return total / len(clips)

    def _hold_frames(self, entry: Media) -> list[np.ndarray]:
        """Resized frames; every s-th with s doubled whenever there would be too many."""
        frames: list[np.ndarray] = []
        stride = 1
        for number, pixels in enumerate(read_frames(entry, self.report.bad)):
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
        """uint8 pictures [H, W, 3] -> normalised [B, 3, H, W]."""
        pixels = torch.from_numpy(np.stack(frames)).to(self.device)
        return ((pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD).contiguous()

    def _build_row(
        self, entry: Media, num_frames: int, roles: Tensor, modality: str
    ) -> dict[str, object]:
        """Tokens [L, D] by role; a role that was not trained, or needs time, is None."""
        trained = self.backbone.get_roles(modality)
        all_roles = {"coarse": COARSE, **AREA_ROLES, "temporal": TEMPORAL}
        row: dict[str, object] = {
            "path": entry.path,
            "kind": modality,
            "num_frames": num_frames,
        }
        for name in ROLES:
            row[name] = roles[all_roles[name]].numpy() if name in trained else None
        feature = self.backbone.compute_feature(roles[None], modality=modality)[0]
        row["feature"] = _normalise(feature.numpy())
        return row


def _normalise(feature: FloatArray) -> FloatArray:
    norm = float(np.linalg.norm(feature.astype(np.float64)))
    return (feature / max(norm, 1e-12)).astype(np.float32)
