"""Parameters of the curate stage: raw layouts -> manifests, shards and person tracklets."""

from dataclasses import dataclass, field
from typing import Annotated

from vills.config.checks import (
    BelowPath,
    Count,
    Length,
    Limits,
    Line,
    Name,
    Pixels,
    Seconds,
    Share,
    build_error,
    check_fields,
    check_range,
)
from vills.config.convention import check_convention

LAYOUTS = (
    "luperson",
    "kinetics",
    "market1501",
    "prcc",
    "ltcc",
    "mars",
    "prid2011",
    "sigset",
    "folder",
)


@dataclass
class SourceConfig:
    """One raw data set."""

    layout: Annotated[str, LAYOUTS] = "folder"
    """how its files are laid out: luperson, kinetics, market1501, prcc, ltcc, mars, prid2011,
    sigset, folder."""
    path: BelowPath = ""
    """its folder below `root`."""
    role: Annotated[str, ("pretrain_images", "pretrain_videos", "reid")] = "reid"
    """pretrain_images, pretrain_videos, or reid (train, query, gallery)."""
    filter: BelowPath = ""
    """luperson: list of the images to keep, a file below `path` (TransReID-SSL's CFS list)."""
    keep: Count = 0
    """luperson: number of images kept, from the top of `filter`; 0 = the whole list."""

    def __post_init__(self) -> None:
        check_fields("curate.sources.*", self)
        high = 0 if not self.filter else None
        remedy = "name the list in curate.sources.*.filter, or set keep to 0"
        check_range("curate.sources.*.keep", self.keep, low=0, high=high, remedy=remedy)
        if self.filter and self.layout != "luperson":
            when = f"with layout {self.layout!r}"
            raise build_error(
                "curate.sources.*.filter", self.filter, "layout luperson", "remove it", when=when
            )


@dataclass
class CurateConfig:
    """Curation (paper section 4.1): detections -> tracks -> person tracklets, and images."""

    root: Annotated[str, ("miniature", "data")] = "miniature"
    """Folder of the sources: miniature (the rendered world), or data (VILLS_DATA)."""
    sources: Annotated[dict[Name, SourceConfig], Length(0, 1000)] = field(default_factory=dict)
    """Raw data sets, one line each; all other sections use these names."""
    detector: Annotated[str, ("predictions", "torchvision", "yolox")] = "predictions"
    """Person detector of videos: predictions (supplied), torchvision, or yolox (ONNX)."""
    detector_weights: BelowPath = ""
    """Weights of the detector, a file below VILLS_WEIGHTS; its hash enters the run's name."""
    detector_convention: Line = ""
    """yolox: how it takes pixels, such as `bgr 0-255 mean 0 std 1`; empty: the file says it."""
    confidence: Share = 0.8
    """Detections below it are dropped (paper section 4.1: 0.8)."""
    low_confidence: Share = 0.0
    """bytetrack: detections from here to `confidence` may continue a track; 0 = off."""
    tracker: Annotated[str, ("bytetrack", "ocsort")] = "bytetrack"
    """Multi-object tracker: bytetrack or ocsort."""
    lost_track_seconds: Seconds = 1.0
    """Time during which a lost track can be found again, s."""
    track_iou: Share = 0.1
    """Least intersection over union that joins a detection to a track."""
    frames_per_second: Annotated[float, Limits(0, 1000)] = 0.0
    """Frames that are read of a second of video, at most; 0 = all."""
    min_seconds: Seconds = 0.6
    """Tracklets that show their person for less are dropped, s; but no person of a labelled video
    is lost."""
    max_seconds: Annotated[float, Limits(0.1, 86_400)] = 30.0
    """Longer tracks are cut into tracklets of this length, s."""
    max_jump: Share = 0.08
    """A track is split where the colours of its person change by more (0 to 1; 1 = nowhere), as it
    has then gone over to another person."""
    min_height: Pixels = 48
    """Frames with a box of smaller height are dropped, px."""
    min_width: Pixels = 16
    """Frames with a box of smaller width are dropped, px."""
    min_aspect: Annotated[float, Limits(0, 100)] = 1.2
    """Least height / width of a box."""
    max_aspect: Annotated[float, Limits(0, 100)] = 5.0
    """Largest height / width of a box."""
    max_overlap: Share = 0.6
    """Frames are dropped if another person covers a larger share of the box."""
    border_margin: Pixels = 0
    """Frames with a box nearer to the border are dropped as cut off, px; 0 = kept."""
    crop_height: Pixels = 128
    """Crops of tracklets are reduced to this height if they are higher, px; 0 = never."""
    jpeg_quality: Annotated[int, Limits(1, 100)] = 92
    """JPEG quality of crops from videos; image files are copied unchanged."""
    shard_mb: Annotated[int, Limits(1, 65_536)] = 64
    """Size at which a tar shard is closed, MB; part of the run's name, as shards are outs."""

    def __post_init__(self) -> None:
        check_fields("curate", self)
        check_range("curate.max_aspect", self.max_aspect, low=self.min_aspect)
        check_range("curate.min_seconds", self.min_seconds, high=self.max_seconds)
        remedy = "keep curate.low_confidence below curate.confidence, and at 0 with ocsort"
        high = self.confidence if self.tracker == "bytetrack" else 0.0
        check_range("curate.low_confidence", self.low_confidence, high=high, remedy=remedy)
        check_convention(
            "curate.detector_convention",
            self.detector_convention,
            used=self.detector == "yolox",
            needs="detector yolox",
        )
        if self.detector != "predictions" and not self.detector_weights:
            when, allowed = f"with detector {self.detector!r}", "a file below VILLS_WEIGHTS"
            raise build_error(
                "curate.detector_weights", "", allowed, "name the weights file", when=when
            )
