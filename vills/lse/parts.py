"""The K and the M that the parameters name, with their weights, and the key of the LSE cache.

Of their heavy packages only the chosen one's is loaded.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vills.areas import AREA_KEYPOINTS, KEYPOINTS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.io import compute_sha256, find_weights
from vills.lse.keypoints import KeypointDetector, PredictionDetector
from vills.lse.segmenter import ParsingSegmenter, Segmenter
from vills.tensors import describe_faults, read_state

if TYPE_CHECKING:
    import torch


def build_keypoint_detector(
    config: LseConfig, *, root: Path | None, weights: Path | None
) -> KeypointDetector:
    """Build the K that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied predictions lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: predictions or weights that are not there, or do not fit.
    """
    if config.keypoint_detector == "predictions":
        return PredictionDetector(root)
    path = _find_weights(config, "keypoint", folder=weights)
    if config.keypoint_detector == "onnx":
        from vills.lse.detector_heatmap import HeatmapDetector

        return HeatmapDetector(path, convention=config.keypoint_convention)
    from vills.distributed import get_device
    from vills.lse.detector_torchvision import TorchvisionDetector, build_keypoint_rcnn

    model = build_keypoint_rcnn()
    _load_weights(model, field="lse.keypoint_weights", path=path)
    return TorchvisionDetector(model, device=get_device())


def build_segmenter(config: LseConfig, *, root: Path | None, weights: Path | None) -> Segmenter:
    """Build the M that the parameters name.

    Args:
        config: parameters of the stage.
        root: raw folder of the source, where supplied parsing maps lie.
        weights: folder of weights files (VILLS_WEIGHTS).

    Raises:
        ConfigError: parsing maps or weights that are not there, or do not fit.
    """
    if config.segmenter == "grabcut":
        from vills.lse.segmenter_grabcut import GrabCutSegmenter

        return GrabCutSegmenter()
    if config.segmenter == "parsing":
        return ParsingSegmenter(root)
    from vills.distributed import get_device
    from vills.lse.segmenter_sam import SamSegmenter, build_sam

    path = _find_weights(config, "segmenter", folder=weights)
    model = build_sam(config.sam_type)
    _load_weights(model, field="lse.segmenter_weights", path=path)
    return SamSegmenter(model, device=get_device(), precision=config.sam_precision)


def compute_cache_key(config: LseConfig, *, folder: Path | None) -> str:
    """Hash everything but the images that decides the masks (design section 4).

    The area map is code (`vills.areas`), so its content enters; batch_size does not: it may decide
    last bits, and is part of the name of the run whose folder the key stands in.

    Raises:
        ConfigError: a weights file is needed and is not below `folder`.
    """
    uses_sam = config.segmenter == "sam"
    used = {"keypoint": config.keypoint_detector != "predictions", "segmenter": uses_sam}
    parts = {
        "keypoint_detector": config.keypoint_detector,
        "keypoint_convention": config.keypoint_convention,
        "segmenter": config.segmenter,
        "sam": [config.sam_type, config.sam_precision] if uses_sam else [],
        "weights": {
            f"{part}_weights": compute_sha256(_find_weights(config, part, folder=folder))
            for part, is_used in used.items()
            if is_used
        },
        "area_threshold": dict(config.area_threshold),
        "low_confidence": config.low_confidence,
        "frame_stride": config.frame_stride,
        "min_area": config.min_area,
        "min_sharpness": config.min_sharpness,
        "min_keypoints": config.min_keypoints,
        "areas": AREA_KEYPOINTS,
        "keypoints": KEYPOINTS,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _find_weights(config: LseConfig, part: str, *, folder: Path | None) -> Path:
    """Find the weights file of a part below VILLS_WEIGHTS; compare its hash when one is given.

    Raises:
        ConfigError: no name, no folder, no such file, or another file than the expected one.
    """
    field = f"lse.{part}_weights"
    name, sha256 = getattr(config, f"{part}_weights"), getattr(config, f"{part}_sha256")
    if not name:
        raise ConfigError(
            f"{field} = '' is not allowed. Allowed: a file below VILLS_WEIGHTS. What to do: set "
            f"{field}, or choose one that needs no weights."
        )
    if folder is None:
        raise ConfigError(
            f"{field} = {name!r} needs the folder of weights. Allowed: VILLS_WEIGHTS set to a "
            "folder. What to do: export VILLS_WEIGHTS=/path/to/weights."
        )
    path = find_weights(name, folder)
    if path is None:
        raise ConfigError(
            f"{field} = {name!r} is not a file in {folder}. Allowed: an existing weights file. "
            "What to do: put the file there, or correct the name."
        )
    found = compute_sha256(path) if sha256 else ""
    if found != sha256:
        raise ConfigError(
            f"{field} = {name!r} has SHA-256 {found}. Allowed: {sha256}. What to do: fetch the "
            "file again (it is damaged or another one), or correct the expected hash."
        )
    return path


def _load_weights(module: "torch.nn.Module", *, field: str, path: Path) -> None:
    """Load a state dict into `module`, every key or none, without unpickling code.

    Raises:
        ConfigError: not a plain state dict, or keys or shapes that do not match.
    """
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names a dozen kinds of damage by a dozen types
        raise ConfigError(
            f"{field} = {path.name!r} cannot be read as weights ({type(error).__name__}). Allowed: "
            "a state dict that torch.load(weights_only=True) accepts. What to do: fetch the file "
            "again; a file that would run code is never opened."
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ConfigError(
            f"{field} = {path.name!r} is not a plain state dict. Allowed: a mapping of parameter "
            "names to tensors. What to do: save only the model's state_dict()."
        )
    if faults := describe_faults(read_state(state)):
        raise ConfigError(
            f"{field} = {path.name!r} holds {faults}. Allowed: finite numbers. What to do: fetch "
            "the file again, or ask its publisher."
        )
    own = module.state_dict()
    differing = {
        "missing keys": set(own) - set(state),
        "unexpected keys": set(state) - set(own),
        "keys of another shape": {k for k in own.keys() & state if own[k].shape != state[k].shape},
    }
    problems = [f"{len(k)} {label} (first: {min(k)})" for label, k in differing.items() if k]
    if problems:
        raise ConfigError(
            f"{field} = {path.name!r} does not fit {type(module).__name__}: {', '.join(problems)}. "
            "Allowed: weights of exactly this architecture. What to do: choose the file that "
            "belongs to the configured type."
        )
    module.load_state_dict(state, strict=True)
