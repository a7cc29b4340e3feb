"""Parameters of the lse stage: Local Semantic Extraction (paper section 3.1)."""

from dataclasses import dataclass, field
from typing import Annotated

from vills.areas import AREAS
from vills.config.checks import Batch, BelowPath, Frames, Length, Line, Sha256, Share, check_fields
from vills.config.convention import check_convention


@dataclass
class LseConfig:
    """Keypoints prompt a segmenter for every area (eq. 1 to 5); all areas are cached once."""

    enabled: bool = True
    """false: no masks are made; for a DAG without pre-training, or with pretrain.areas=[]."""
    keypoint_detector: Annotated[str, ("predictions", "torchvision", "onnx")] = "predictions"
    """K: predictions (supplied), torchvision (paper: Keypoint R-CNN), onnx (COCO-17)."""
    keypoint_weights: BelowPath = ""
    """Weights of K, a file below VILLS_WEIGHTS."""
    keypoint_sha256: Sha256 = ""
    """SHA-256 that the weights of K must have; empty = any."""
    keypoint_convention: Line = ""
    """onnx: how K takes pixels, such as imagenet; empty: the file says it (docs/weights.md)."""
    segmenter: Annotated[str, ("grabcut", "sam", "parsing")] = "grabcut"
    """M: grabcut or sam (interactive: ISM), or parsing (Table 2a: label maps)."""
    segmenter_weights: BelowPath = ""
    """Weights of M, a file below VILLS_WEIGHTS."""
    segmenter_sha256: Sha256 = ""
    """SHA-256 that the weights of M must have; empty = any."""
    sam_type: Annotated[str, ("vit_b", "vit_l", "vit_h")] = "vit_h"
    """segment-anything architecture of the weights: vit_b, vit_l, vit_h."""
    sam_precision: Annotated[str, ("fp32", "bf16")] = "fp32"
    """SAM's image encoder: fp32, or bf16 (autocast; much faster on a GPU)."""
    area_threshold: Annotated[
        dict[Annotated[str, AREAS], Share],
        Length(len(AREAS), len(AREAS), f"entries: {', '.join(AREAS)}"),
    ] = field(default_factory=lambda: dict.fromkeys(AREAS, 0.5))
    """tau^a of eq. 4, by area."""
    low_confidence: Annotated[str, ("ignore", "negative")] = "ignore"
    """A keypoint at or below tau^a: ignore (label -1), or negative (as eq. 4 is printed)."""
    frame_stride: Frames = 4
    """Every n-th frame of a tracklet gets masks: a share, so no time. Clips draw their frames from
    the whole tracklet, at any frame rate; curate.frames_per_second says how many there are."""
    min_area: Share = 0.005
    """A mask below this share of the crop counts as missing."""
    min_sharpness: Share = 0.07
    """Crops with a smaller share of fine detail in their contrast are blurred and get no masks;
    0 = all do."""
    min_keypoints: Share = 0.25
    """Crops with a smaller share of keypoints above the lowest tau^a get no masks."""
    batch_size: Batch = 16
    """Images per call of K and M; it changes the last bits, so it is in the run's name."""

    def __post_init__(self) -> None:
        check_fields("lse", self)
        check_convention(
            "lse.keypoint_convention",
            self.keypoint_convention,
            used=self.keypoint_detector == "onnx",
            needs="keypoint_detector onnx",
        )

    def list_supplied(self) -> list[str]:
        """List the tables, below predictions/ of the raw data, that are read."""
        used = {
            "detections.parquet": self.keypoint_detector == "predictions",
            "parsing.parquet": self.segmenter == "parsing",
        }
        return [name for name, is_used in used.items() if is_used]
