"""K by torchvision's Keypoint R-CNN, the paper's detector (supplement 1).

Shapes: P detected persons; n = 17 COCO keypoints.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torchvision.models.detection import KeypointRCNN, keypointrcnn_resnet50_fpn

from vills.data.records import Box
from vills.lse.crop import Crop, Floats, compute_iou
from vills.lse.keypoints import MIN_IOU, Keypoints

# torchvision reports the height of the heatmap's peak before the softmax, unbounded. A logistic
# centred here puts it into (0, 1): a logit of about 2 is where people who use this detector cut
# "visible", so tau = .5 means that cut. Strictly increasing: no order of confidence is changed.
LOGIT_MIDPOINT = 2.0


class TorchvisionDetector:
    """Of the people in each crop, the one whose box fills it best."""

    def __init__(self, model: KeypointRCNN, *, device: torch.device) -> None:
        self._model = model.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def detect(self, crops: Sequence[Crop]) -> list[Keypoints]:
        """Run the network on all crops at once; sizes may differ."""
        inputs = [
            torch.from_numpy(crop.image).to(self._device).permute(2, 0, 1).float() / 255.0
            for crop in crops
        ]
        return [
            self._pick(found, box=(0, 0, crop.width, crop.height))
            for found, crop in zip(self._model(inputs), crops, strict=True)
        ]

    def _pick(self, found: dict[str, torch.Tensor], *, box: Box) -> Keypoints:
        # A crop is its person's box. Somebody who stands before or behind may be seen better, and
        # score higher, but does not fill it.
        fit = compute_iou(found["boxes"].float().cpu().numpy(), box)
        ranks = np.where(fit >= MIN_IOU, fit * found["scores"].float().cpu().numpy(), -1.0)
        if not len(ranks) or ranks.max() < 0:
            return Keypoints.missing()
        best = int(ranks.argmax())
        points = found["keypoints"][best, :, :2].float().cpu().numpy()  # [n, 2]
        logits = found["keypoints_scores"][best].double().cpu().numpy()  # [n]
        return Keypoints(points=points, scores=convert_logits(logits))


def convert_logits(logits: np.ndarray) -> Floats:
    """Map peak logits to (0, 1) by a logistic with its middle at `LOGIT_MIDPOINT`."""
    return (0.5 * (1.0 + np.tanh(0.5 * (logits - LOGIT_MIDPOINT)))).astype(np.float32)


def build_keypoint_rcnn() -> KeypointRCNN:
    """Build the network, whose state dict has torchvision's published layout, without weights."""
    return keypointrcnn_resnet50_fpn(weights=None, weights_backbone=None)
