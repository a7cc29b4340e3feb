"""The K and the M that the parameters name; of their heavy packages only the chosen one's."""

from pathlib import Path

from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.lse.keypoints import KeypointDetector
from vills.lse.segmenter import Segmenter


def build_keypoint_detector(
    config: LseConfig, *, root: Path | None, weights: Path | None
) -> KeypointDetector:
    """Build the K that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied predictions lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: predictions or weights that are not there.
    """
    if config.keypoint_detector == "predictions":
        from vills.lse.detector_predictions import build_prediction_detector

        return build_prediction_detector(root)
    from vills.lse.weights_files import resolve_weights

    path = resolve_weights(
        "lse.keypoint_weights",
        name=config.keypoint_weights,
        folder=weights,
        sha256=config.keypoint_sha256,
    )
    if config.keypoint_detector == "torchvision":
        from vills.lse.detector_torchvision import build_torchvision_detector

        return build_torchvision_detector(path)
    if config.keypoint_detector == "onnx":
        from vills.lse.detector_heatmap import build_heatmap_detector

        return build_heatmap_detector(path)
    raise ConfigError(f"lse.keypoint_detector = {config.keypoint_detector!r} has no builder.")


def build_segmenter(config: LseConfig, *, root: Path | None, weights: Path | None) -> Segmenter:
    """Build the M that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied parsing maps lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: parsing maps or weights that are not there.
    """
    if config.segmenter == "grabcut":
        from vills.lse.segmenter_grabcut import GrabCutSegmenter

        return GrabCutSegmenter()
    if config.segmenter == "parsing":
        from vills.lse.segmenter_parsing import build_parsing_segmenter

        return build_parsing_segmenter(root)
    if config.segmenter == "sam":
        from vills.lse.segmenter_sam import build_sam_segmenter
        from vills.lse.weights_files import resolve_weights

        path = resolve_weights(
            "lse.segmenter_weights",
            name=config.segmenter_weights,
            folder=weights,
            sha256=config.segmenter_sha256,
        )
        return build_sam_segmenter(path, sam_type=config.sam_type, precision=config.sam_precision)
    raise ConfigError(f"lse.segmenter = {config.segmenter!r} has no builder.")
