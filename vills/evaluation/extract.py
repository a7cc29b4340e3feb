"""Features of any images or videos of people: what `vills extract PATH --weights W` does.

It writes parquet or npz whose bytes depend on the features alone.

Legend: B rows, C clips, T frames of a clip, H x W pixels, L tokens, D width.
"""

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vills import Progress
from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.data.clips import spread_clips
from vills.data.images import CorruptImageError
from vills.data.transforms import MEAN, STD, resize
from vills.evaluation.feature_table import SUFFIXES
from vills.evaluation.media import Media, explain, find_media, load_pixels, read_frames
from vills.io import atomic_path
from vills.models.backbone import Backbone
from vills.models.encoder import AREA_ROLES, COARSE, TEMPORAL
from vills.models.layers import fold_rows
from vills.models.weights import load_backbone

MAX_FRAMES = 512
"""Frames of one video that are held; a longer video is thinned evenly to at most so many."""
ROLES = ("coarse", *AREAS, "temporal")
_ROW_GROUP = 4096
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip member can carry


@dataclass
class ExtractReport:
    """What was described and what could not be."""

    num_images: int = 0
    num_videos: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of every file that was skipped, or whose end was."""

    def format(self) -> str:
        """Return lines for the terminal."""
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
    if out.suffix not in SUFFIXES:
        raise ConfigError(
            f"out = {out.name!r} is not allowed. Allowed: a name that ends in "
            f"{' or '.join(SUFFIXES)}. What to do: choose one of them."
        )
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
            try:
                batch.append((medium, self._resize(load_pixels(medium.files[0]))))
            except CorruptImageError as error:
                self.report.bad.append((medium.path, explain(error, medium.files[0])))
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
        clips = spread_clips(len(frames), self.num_frames)  # [C, T]
        step = max(1, self.batch_size // self.num_frames)
        total = torch.zeros(())
        for first in range(0, len(clips), step):
            rows = clips[first : first + step]
            pixels = self._to_tensor([frames[index] for index in rows.ravel()])
            roles = self.backbone.encode_video(fold_rows(pixels, rows.shape)).roles
            total = total + roles.float().cpu().sum(dim=0)
        return total / len(clips)

    def _hold_frames(self, medium: Media) -> list[np.ndarray]:
        """Hold resized frames; every s-th, with s doubled whenever there would be too many."""
        frames: list[np.ndarray] = []
        stride = 1
        for number, pixels in enumerate(read_frames(medium, self.report.bad)):
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
        device = next(self.backbone.parameters()).device
        pixels = torch.from_numpy(np.stack(frames)).to(device)
        return ((pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD).contiguous()

    def _build_row(
        self, medium: Media, num_frames: int, roles: Tensor, modality: str
    ) -> dict[str, object]:
        """Name tokens [L, D] by role; a role that was not trained, or needs time, is None."""
        trained = self.backbone.get_roles(modality)
        all_roles = {"coarse": COARSE, **AREA_ROLES, "temporal": TEMPORAL}
        feature = self.backbone.compute_feature(roles[None], modality=modality)[0].numpy()
        norm = float(np.linalg.norm(feature.astype(np.float64)))
        return {
            "path": medium.path,
            "kind": modality,
            "num_frames": num_frames,
            **{name: roles[all_roles[name]].numpy() if name in trained else None for name in ROLES},
            "feature": (feature / max(norm, 1e-12)).astype(np.float32),
        }


class TokenWriter:
    """Streams rows of tokens to parquet, or gathers them for an npz.

    Columns: path, kind, num_frames, one list per role, feature. A role that an medium lacks
    (temporal of an image, an untrained area) is null; in an npz, which has no null, it is NaN, and
    the feature of an image ends in NaN where a video's has its temporal token.
    """

    def __init__(self, path: Path, *, roles: Sequence[str], parquet: bool) -> None:
        self._roles = (*roles, "feature")
        self._rows: list[dict[str, object]] = []
        self._parquet: pq.ParquetWriter | None = None
        if parquet:
            tokens = [(name, pa.list_(pa.float32())) for name in self._roles]
            head = [("path", pa.string()), ("kind", pa.string()), ("num_frames", pa.int32())]
            self._schema = pa.schema([*head, *tokens])
            self._parquet = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._path = path

    def add(self, row: dict[str, object]) -> None:
        """Append an medium; its role values are float32 arrays [D] or None."""
        self._rows.append(row)
        if self._parquet is not None and len(self._rows) >= _ROW_GROUP:
            self._flush(self._parquet)

    def close(self) -> None:
        """Write what is left."""
        if self._parquet is None:
            self._save_arrays()
            return
        self._flush(self._parquet)
        self._parquet.close()

    def _flush(self, parquet: pq.ParquetWriter) -> None:
        if self._rows:
            parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def _save_arrays(self) -> None:
        """Write an npz; unlike numpy.savez, members carry no time whatever the Python."""
        heads = {"path": np.str_, "kind": np.str_, "num_frames": np.int32}
        arrays: dict[str, np.ndarray] = {
            name: np.array([row[name] for row in self._rows], dtype=dtype)
            for name, dtype in heads.items()
        }
        arrays |= {name: _stack([row[name] for row in self._rows]) for name in self._roles}
        with atomic_path(self._path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            for name, array in arrays.items():
                member = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
                with archive.open(member, "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)


def _stack(values: Sequence[object]) -> np.ndarray:
    """Stack vectors of several widths, or None, as rows that end in NaN; [n, 0] if all are None."""
    vectors = [np.zeros(0, np.float32) if value is None else np.asarray(value) for value in values]
    stacked = np.full((len(vectors), max(map(len, vectors), default=0)), np.nan, np.float32)
    for row, vector in zip(stacked, vectors, strict=True):
        row[: len(vector)] = vector
    return stacked
