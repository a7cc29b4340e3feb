"""Parameters of the lse stage: Local Semantic Extraction (paper section 3.1)."""

from dataclasses import dataclass, field

from vills.areas import AREAS
from vills.config.checks import check_choice, check_range

KEYPOINT_DETECTORS = ("predictions", "torchvision", "onnx")
SEGMENTERS = ("grabcut", "sam", "parsing")
SAM_TYPES = ("vit_b", "vit_l", "vit_h")
SAM_PRECISIONS = ("fp32", "bf16")
LOW_CONFIDENCE = ("ignore", "negative")


@dataclass
class LseConfig:
    """Keypoints prompt a segmenter for every area (eq. 1 to 5); all areas are cached once."""

    keypoint_detector: str = "predictions"
    """K: predictions (supplied), torchvision (paper: Keypoint R-CNN), onnx (COCO-17)."""
    keypoint_weights: str = ""
    """Weights of K, a file below VILLS_WEIGHTS."""
    keypoint_sha256: str = ""
    """SHA-256 that the weights of K must have; empty = any."""
    segmenter: str = "grabcut"
    """M: grabcut or sam (interactive: ISM), or parsing (Table 2a: label maps)."""
    segmenter_weights: str = ""
    """Weights of M, a file below VILLS_WEIGHTS."""
    segmenter_sha256: str = ""
    """SHA-256 that the weights of M must have; empty = any."""
    sam_type: str = "vit_h"
    """segment-anything architecture of the weights: vit_b, vit_l, vit_h."""
    sam_precision: str = "fp32"
    """SAM's image encoder: fp32, or bf16 (autocast; much faster on a GPU)."""
    area_threshold: dict[str, float] = field(default_factory=lambda: dict.fromkeys(AREAS, 0.5))
    """tau^a of eq. 4, by area."""
    low_confidence: str = "ignore"
    """A keypoint at or below tau^a: ignore (label -1), or negative (as eq. 4 is printed)."""
    frame_stride: int = 4
    """Every n-th frame of a tracklet gets masks."""
    min_area: float = 0.005
    """A mask below this share of the crop counts as missing."""
    batch_size: int = 16
    """Images per call of K and M; the last bits depend on it, so it names the run."""

    def __post_init__(self) -> None:
        check_choice("lse.keypoint_detector", self.keypoint_detector, KEYPOINT_DETECTORS)
        check_choice("lse.segmenter", self.segmenter, SEGMENTERS)
        check_choice("lse.sam_type", self.sam_type, SAM_TYPES)
        check_choice("lse.sam_precision", self.sam_precision, SAM_PRECISIONS)
        check_choice("lse.low_confidence", self.low_confidence, LOW_CONFIDENCE)
        for area, tau in self.area_threshold.items():
            check_choice("lse.area_threshold key", area, AREAS)
            check_range(f"lse.area_threshold.{area}", tau, low=0.0, high=1.0)
        for area in AREAS:
            check_choice(f"lse.area_threshold without {area}", area, self.area_threshold)
        check_range("lse.frame_stride", self.frame_stride, low=1)
        check_range("lse.batch_size", self.batch_size, low=1)
        check_range("lse.min_area", self.min_area, low=0.0, high=1.0)
