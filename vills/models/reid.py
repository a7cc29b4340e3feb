"""What fine-tuning trains: the backbone, a BNNeck and a classifier (supplement 1).

Legend: B rows, T frames, D width of a feature (all roles side by side), C identities.
"""

import torch
from torch import Tensor, nn

from vills.models.backbone import Backbone
from vills.models.droppath import DropPathNoise, mix_keys
from vills.models.norm import GlobalBatchNorm1d
from vills.models.shapes import fold_rows


class ReidModel(nn.Module):
    """Image or video ReID model with a BNNeck (Luo et al. 2019, as in PASS and TransReID).

    The triplet loss takes the feature before the neck, the classifier and the test the one after:
    the neck brings coarse, area and temporal tokens, which lie side by side, to one scale, and
    cosine distance is then what the classifier was trained for.
    """

    def __init__(
        self, backbone: Backbone, *, num_ids: int, modality: str, drop_path: float = 0.0
    ) -> None:
        """Take a pre-trained or new backbone; `modality` image or video."""
        super().__init__()
        assert modality in ("image", "video")
        self.backbone = backbone
        self.modality = modality
        self.num_ids = num_ids
        self.drop_path = drop_path
        width = backbone.compute_feature_width(modality)
        self.neck = GlobalBatchNorm1d(width, bias=False)
        self.classifier = nn.Linear(width, num_ids, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def forward(self, inputs: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] or [B, T, 3, H, W] -> feature before the neck [B, D], logits [B, C].

        `keys` long [B] identify samples for the noise of drop path, which training needs.
        """
        feature = self._encode(inputs, keys)
        logits: Tensor = self.classifier(self.neck(feature))
        return feature, logits

    def compute_feature(self, inputs: Tensor) -> Tensor:
        """[B, 3, H, W] or [B, T, 3, H, W] -> test feature [B, D] after the neck; needs eval mode.

        A video model takes images as clips of one frame, so that image queries and video galleries
        share one space; an image model takes a clip frame by frame and averages.
        """
        assert not self.training, "features of a batch would depend on its other rows"
        if self.modality == "video" and inputs.dim() == 4:
            inputs = inputs[:, None]
        if self.modality == "image" and inputs.dim() == 5:
            features = self._encode(inputs.flatten(0, 1), None)
            feature = fold_rows(features, inputs.shape[:2]).mean(dim=1)
        else:
            feature = self._encode(inputs, None)
        normal: Tensor = self.neck(feature)
        return normal

    def _encode(self, inputs: Tensor, keys: Tensor | None) -> Tensor:
        """Feature before the neck, fp32."""
        drop = self._build_noise(inputs, keys)
        if self.modality == "image":
            roles = self.backbone.encode_image(inputs, drop=drop).roles
        else:
            roles = self.backbone.encode_video(inputs, drop=drop).roles
        return self.backbone.compute_feature(roles, modality=self.modality).float()

    def _build_noise(self, inputs: Tensor, keys: Tensor | None) -> DropPathNoise | None:
        if not self.training or not self.drop_path:
            return None
        assert keys is not None, "drop path needs the sample keys of the batch"
        if self.modality == "video":
            frames = torch.arange(inputs.shape[1], device=keys.device)
            keys = mix_keys(keys[:, None], frames).flatten()
        depth = self.backbone.encoder.depth
        return DropPathNoise(keys, rate=self.drop_path, depth=depth)
