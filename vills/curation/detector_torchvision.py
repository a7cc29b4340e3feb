"""People by torchvision's Faster R-CNN, with weights from a file."""

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from torchvision.models import get_model

from vills.curation.video import Detections, Frame, build_detections
from vills.errors import InputError
from vills.tensors import describe_faults, read_state

PERSON_CLASS = 1
MIN_SCORE = 0.05
NETWORKS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
)
CLASS_WEIGHT = "roi_heads.box_predictor.cls_score.weight"


class TorchvisionDetector:
    """Faster R-CNN of torchvision, trained on COCO's classes."""

    def __init__(self, path: Path) -> None:
        """Load the weights into their network; a ValueError if it is none of NETWORKS."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = _load_network(path).eval().to(self._device)

    @torch.inference_mode()
    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find people in each frame; boxes in px of the frame, scores from 0.05 up."""
        images = [
            torch.from_numpy(frame.image).to(self._device).permute(2, 0, 1).float() / 255
            for frame in frames
        ]
        found = []
        for frame, output in zip(frames, self._model(images), strict=True):
            person = (output["labels"] == PERSON_CLASS) & (output["scores"] >= MIN_SCORE)
            boxes, scores = (output[name][person].cpu().numpy() for name in ("boxes", "scores"))
            found.append(build_detections(boxes, scores=scores, frame=frame))
        return found


def _load_network(path: Path) -> torch.nn.Module:
    """Pick the network by the names and shapes in the file; by its name where two share them."""
    refused = ValueError(
        f"{path} holds no weights of a known detector. Allowed: a state dict "
        f"of torchvision's {', '.join(NETWORKS)}. What to do: save model.state_dict() of one."
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    # torch reports a file of another kind by any of these
    except (UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise refused from error
    if not isinstance(state, dict) or CLASS_WEIGHT not in state:
        raise refused
    if faults := describe_faults(read_state(state)):
        raise InputError(
            f"{path} holds {faults}. Allowed: finite numbers. What to do: fetch the file again."
        )
    shapes = _get_shapes(state)
    for name in sorted(NETWORKS, key=lambda name: name not in path.name):
        model: torch.nn.Module = get_model(
            name, weights=None, weights_backbone=None, num_classes=len(state[CLASS_WEIGHT])
        )
        if _get_shapes(model.state_dict()) == shapes:
            # Nothing but the counters can be missing, since all other shapes are equal.
            model.load_state_dict(state, strict=False)
            _restore_epsilon(model, name=name, state=state)
            return model
    raise refused


def _restore_epsilon(model: torch.nn.Module, *, name: str, state: dict[str, torch.Tensor]) -> None:
    """Set the epsilon that torchvision's own weights were trained with.

    A network trained with frozen batch norm has no counters; that of fasterrcnn_resnet50_fpn had
    no epsilon either, where a freshly built one has 1e-5.
    """
    if name == "fasterrcnn_resnet50_fpn" and not any("num_batches" in key for key in state):
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = 0.0


def _get_shapes(state: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    # Batch norm counters are in some files and not in others, and mean nothing here.
    return {key: value.shape for key, value in state.items() if "num_batches" not in key}
