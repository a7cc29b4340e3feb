"""Parameters of evaluate@data set: protocols and baselines."""

from dataclasses import dataclass, field

from vills.config.checks import check_choice, check_range, check_subset

PROTOCOLS = ("image", "video", "image_to_video")
METRICS = ("cosine", "euclidean")
AVERAGE_PRECISIONS = ("step", "trapezoid")
QUERY_FRAMES = ("first", "middle", "random")
BASELINES = ("histogram", "untrained", "pretrained", "onnx")


@dataclass
class EvaluateConfig:
    """Retrieval scores of the fine-tuned models, beside baselines."""

    protocols: list[str] = field(default_factory=lambda: ["image"])
    """image, video, image_to_video: the modality of query and gallery."""
    baselines: list[str] = field(default_factory=lambda: ["histogram", "untrained", "pretrained"])
    """Rows beside the fine-tuned models; onnx scores `onnx_weights`."""
    onnx_weights: str = ""
    """An ONNX ReID model to compare with, below VILLS_WEIGHTS (NHWC, BGR, 0-255)."""
    distance: str = "cosine"
    """Distance between features."""
    average_precision: str = "step"
    """step (torchreid, fast-reid) or trapezoid (official MATLAB)."""
    ranks: list[int] = field(default_factory=lambda: [1, 5, 10, 20])
    """Ranks of the CMC."""
    gallery_with_queries: bool = False
    """MARS as published by its authors: query tracklets stand in the gallery too."""
    query_frame: str = "first"
    """image_to_video: the frame of a query tracklet that is the query image."""
    flip_test: bool = False
    """Add the features of the mirrored image (CAL's protocol for PRCC and LTCC)."""
    num_frames: int = 8
    """Frames per clip of a tracklet; all clips are averaged."""
    batch_size: int = 64
    """Images per forward."""
    block_size: int = 1024
    """Queries ranked at once."""
    seed: int = 0
    """Seed of untrained weights and of random query frames."""
    threads_per_rank: int = 2
    """CPU threads of a process."""

    def __post_init__(self) -> None:
        check_subset("evaluate.*.protocols", self.protocols, PROTOCOLS)
        check_subset("evaluate.*.baselines", self.baselines, BASELINES)
        check_choice("evaluate.*.distance", self.distance, METRICS)
        check_choice("evaluate.*.average_precision", self.average_precision, AVERAGE_PRECISIONS)
        check_choice("evaluate.*.query_frame", self.query_frame, QUERY_FRAMES)
        for name in ("num_frames", "batch_size", "block_size", "threads_per_rank"):
            check_range(f"evaluate.*.{name}", getattr(self, name), low=1)
        check_range("evaluate.*.ranks entry", min(self.ranks, default=0), low=1)
