"""What the masks depend on beside the images: the key of the LSE cache (design section 4)."""

import hashlib
import json
from pathlib import Path

from vills.areas import AREA_KEYPOINTS, KEYPOINTS
from vills.config.lse import LseConfig
from vills.lse.weights_files import compute_file_digest, resolve_weights


def compute_weights_digests(config: LseConfig, *, folder: Path | None) -> dict[str, str]:
    """Hash the weights files that `config` uses, by field name; parts without weights have none.

    Raises:
        ConfigError: a file is needed and is not there.
    """
    digests = {}
    for field, sha256 in weights_fields(config).items():
        name = getattr(config, field)
        path = resolve_weights(f"lse.{field}", name=name, folder=folder, sha256=sha256)
        digests[field] = compute_file_digest(path)
    return digests


def weights_fields(config: LseConfig) -> dict[str, str]:
    """Name the weights fields that the chosen K and M read, with the hash each must have."""
    fields = {}
    if config.keypoint_detector in ("torchvision", "onnx"):
        fields["keypoint_weights"] = config.keypoint_sha256
    if config.segmenter == "sam":
        fields["segmenter_weights"] = config.segmenter_sha256
    return fields


def compute_cache_key(config: LseConfig, *, folder: Path | None) -> str:
    """Hash everything but the images that decides the masks.

    The area map is code (`vills.areas`), so its content enters; batch_size does not: it may decide
    last bits, and is part of the name of the run whose folder the key stands in.
    """
    parts = {
        "keypoint_detector": config.keypoint_detector,
        "segmenter": config.segmenter,
        "sam": [config.sam_type, config.sam_precision] if config.segmenter == "sam" else [],
        "weights": compute_weights_digests(config, folder=folder),
        "area_threshold": dict(config.area_threshold),
        "low_confidence": config.low_confidence,
        "frame_stride": config.frame_stride,
        "min_area": config.min_area,
        "areas": AREA_KEYPOINTS,
        "keypoints": KEYPOINTS,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
