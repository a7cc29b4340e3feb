"""Parameters of the curate stage: raw layouts -> manifests, shards and person tracklets."""

from dataclasses import dataclass, field

from vills.config.checks import ConfigError, check_choice, check_range

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
ROLES = ("pretrain_images", "pretrain_videos", "reid")
ROOTS = ("miniature", "data")
DETECTORS = ("predictions", "torchvision", "yolox")
TRACKERS = ("bytetrack", "ocsort")


@dataclass
class SourceConfig:
    """One raw data set."""

    layout: str = "folder"
    """How its files are laid out and named."""
    path: str = ""
    """Its folder below the root."""
    role: str = "reid"
    """What it serves: pretrain_images, pretrain_videos, or reid (train, query, gallery)."""
    filter: str = ""
    """luperson: a list of the images to keep, a file below `path` (TransReID-SSL's CFS list)."""
    keep: int = 0
    """luperson: images kept from the top of `filter` (0: all that it lists)."""

    def __post_init__(self) -> None:
        check_choice("curate.sources.*.layout", self.layout, LAYOUTS)
        check_choice("curate.sources.*.role", self.role, ROLES)
        high = 0 if not self.filter else None
        remedy = "name the list in curate.sources.*.filter, or leave keep at 0"
        check_range("curate.sources.*.keep", self.keep, low=0, high=high, remedy=remedy)
        if self.filter and self.layout != "luperson":
            raise ConfigError(
                f"curate.sources.*.filter = {self.filter!r} is not allowed with layout "
                f"{self.layout!r}. Allowed: layout luperson. What to do: leave it out."
            )
        _check_below("path", self.path, what="the root")
        _check_below("filter", self.filter, what="the source's path")


def _check_below(name: str, path: str, *, what: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise ConfigError(
            f"curate.sources.*.{name} = {path!r} is not allowed. Allowed: a path below {what}. "
            "What to do: give a relative path and set VILLS_DATA to the root folder."
        )


@dataclass
class CurateConfig:
    """Curation (paper section 4.1): detections -> tracks -> person tracklets, and images."""

    root: str = "miniature"
    """Where sources lie: the rendered world, or data (VILLS_DATA, through its inventories)."""
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """Raw data sets by the name they keep from here on."""
    detector: str = "predictions"
    """Person detector of videos: supplied predictions, torchvision, or a YOLOX-format ONNX."""
    detector_weights: str = ""
    """Weights file of the detector, below VILLS_WEIGHTS; its hash enters the fingerprint."""
    confidence: float = 0.8
    """Detections below are dropped and start no track (paper section 4.1: 0.8)."""
    low_confidence: float = 0.0
    """Detections from here to `confidence` may continue a track of bytetrack, its second
    association, but start none (0: off)."""
    tracker: str = "bytetrack"
    """Multi-object tracker of the `trackers` package."""
    lost_track_buffer: int = 30
    """Read frames that a lost track is kept for re-association."""
    track_iou: float = 0.1
    """Least intersection over union that joins a detection to a track."""
    frame_step: int = 1
    """Every n-th frame of a video is read."""
    min_length: int = 8
    """Shorter tracklets are rejected, frames; the person of a labelled video never is."""
    max_length: int = 900
    """Tracks are cut into tracklets of at most this length, frames."""
    min_height: int = 48
    """Frames whose box is lower are dropped, px."""
    min_width: int = 16
    """Frames whose box is narrower are dropped, px."""
    min_aspect: float = 1.2
    """Least height / width of a box."""
    max_aspect: float = 5.0
    """Largest height / width of a box."""
    max_overlap: float = 0.6
    """Frames whose box is covered by another person by a larger share are dropped."""
    border_margin: int = 0
    """Frames whose box is nearer to the border than this are dropped as cut off, px (0: kept)."""
    crop_height: int = 128
    """Tracklet crops higher than this are reduced to it, px (0: never)."""
    jpeg_quality: int = 92
    """Quality of the crops cut from videos; image files are copied byte for byte."""
    shard_mb: int = 64
    """A tar shard is closed at this size, MB: what is published, so that it names the run."""

    def __post_init__(self) -> None:
        check_choice("curate.root", self.root, ROOTS)
        check_choice("curate.detector", self.detector, DETECTORS)
        check_choice("curate.tracker", self.tracker, TRACKERS)
        for name in ("confidence", "low_confidence", "track_iou", "max_overlap"):
            check_range(f"curate.{name}", getattr(self, name), low=0.0, high=1.0)
        for name in ("frame_step", "min_length", "max_length", "min_height", "min_width"):
            check_range(f"curate.{name}", getattr(self, name), low=1)
        check_range("curate.jpeg_quality", self.jpeg_quality, low=1, high=100)
        check_range("curate.shard_mb", self.shard_mb, low=1)
        check_range("curate.crop_height", self.crop_height, low=0)
        check_range("curate.lost_track_buffer", self.lost_track_buffer, low=0)
        check_range("curate.border_margin", self.border_margin, low=0)
        check_range("curate.max_aspect", self.max_aspect, low=self.min_aspect)
        self._check_detector()

    def _check_detector(self) -> None:
        remedy = "keep curate.low_confidence below curate.confidence, and at 0 with ocsort"
        high = self.confidence if self.tracker == "bytetrack" else 0.0
        check_range("curate.low_confidence", self.low_confidence, high=high, remedy=remedy)
        if self.detector != "predictions" and not self.detector_weights:
            raise ConfigError(
                f"curate.detector_weights = '' is not allowed with detector {self.detector!r}. "
                "Allowed: a file below VILLS_WEIGHTS. What to do: name the weights file."
            )
