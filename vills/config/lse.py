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
    """K: supplied predictions, torchvision Keypoint R-CNN (the paper's), a COCO-17 heatmap ONNX."""
    keypoint_weights: str = ""
    """Weights file of K, below VILLS_WEIGHTS."""
    keypoint_sha256: str = ""
    """SHA-256 that the weights file of K must have; empty accepts any."""
    segmenter: str = "grabcut"
    """M: grabcut or sam (interactive: ISM), or parsing (Table 2a, supplied label maps)."""
    segmenter_weights: str = ""
    """Weights file of M, below VILLS_WEIGHTS."""
    segmenter_sha256: str = ""
    """SHA-256 that the weights file of M must have; empty accepts any."""
    sam_type: str = "vit_h"
    """segment-anything architecture of the weights."""
    sam_precision: str = "fp32"
    """Arithmetic of SAM's image encoder: fp32, or bf16 (autocast; much faster on a GPU)."""
    area_threshold: dict[str, float] = field(default_factory=lambda: dict.fromkeys(AREAS, 0.5))
    """tau^a of eq. 4, by area."""
    low_confidence: str = "ignore"
    """A keypoint at or below tau: ignore (label -1), or negative (eq. 4 read to the letter)."""
    frame_stride: int = 4
    """Every n-th frame of a tracklet gets masks."""
    min_area: float = 0.005
    """A mask below this share of the crop counts as missing."""
    batch_size: int = 16
    """Images per call of K and M. It names the run: of a crop in other company, Keypoint R-CNN
    gives other last bits, as every product of matrices of other shapes does."""

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
