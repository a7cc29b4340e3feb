"""What fine-tuning trains: the backbone, a neck and a classifier (supplement 1).

Legend: B rows, T frames, D width of a feature (all roles side by side), C identities.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.models.backbone import Backbone
from vills.models.layers import DropPathNoise, GlobalBatchNorm1d, compute_keys, convert_rows


class ReidModel(nn.Module):
    """Image, video or mixed ReID model, with a BNNeck (Luo et al. 2019) or without (HAP).

    The triplet loss takes the feature before the neck, the classifier the one after: the neck
    brings coarse, area and temporal tokens, which lie side by side, to one scale, and cosine
    distance is then what the classifier was trained for. A mixed model is a video model that has
    also been trained on images, as clips of one frame: one neck, one classifier, one space.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        num_ids: int,
        modality: str,
        neck: str = "bnneck",
        drop_path: float = 0.0,
    ) -> None:
        """Take a pre-trained or new backbone.

        Args:
            backbone: E and R.
            num_ids: C.
            modality: image, video or mixed.
            neck: bnneck, or none: the feature itself is classified and tested.
            drop_path: stochastic depth of the last block.
        """
        super().__init__()
        assert modality in ("image", "video", "mixed")
        assert neck in ("bnneck", "none")
        self.backbone = backbone
        self.modality = modality
        self.num_ids = num_ids
        self.drop_path = drop_path
        width = backbone.compute_feature_width(self.tokens)
        has_neck = neck == "bnneck"
        self.neck = GlobalBatchNorm1d(width, bias=False) if has_neck else None
        # without a neck features are not centred: the classifier then needs a bias
        self.classifier = nn.Linear(width, num_ids, bias=not has_neck)
        nn.init.normal_(self.classifier.weight, std=0.001)
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    @property
    def tokens(self) -> str:
        """Whose role tokens the features are: image or video."""
        return "image" if self.modality == "image" else "video"

    def forward(
        self, inputs: Tensor | Sequence[Tensor], keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Feature before the neck [B, D] and logits [B, C].

        Args:
            inputs: [B, 3, H, W] images or [B, T, 3, H, W] clips, or several of them: they are
                encoded one after the other and meet in the neck, whose statistics cover all rows.
            keys: long [B], which identify samples for the noise of drop path; training needs them.
        """
        parts = [inputs] if isinstance(inputs, Tensor) else list(inputs)
        sizes = [len(part) for part in parts]
        own_keys = [None] * len(parts) if keys is None else torch.split(keys, sizes)
        feature = torch.cat(
            [self._encode(part, own) for part, own in zip(parts, own_keys, strict=True)]
        )
        logits: Tensor = self.classifier(self._apply_neck(feature))
        return feature, logits

    def compute_features(
        self, inputs: Tensor, *, neck: str = "after", roles: Sequence[str] = ()
    ) -> Tensor:
        """[B, 3, H, W] or [B, T, 3, H, W] -> test feature [B, D]; needs eval mode.

        A video or mixed model takes images as clips of one frame, so that image queries and video
        galleries share one space; an image model takes a clip frame by frame and averages.

        Args:
            inputs: pictures or clips.
            neck: feature before or after the neck; a model without one has the same for both.
            roles: coarse, areas (all of them), temporal, or names of single areas; () = all that
                the model has. A model that lacks some of them gives the others.

        Raises:
            ConfigError: if the model has none of `roles`, or a name is unknown.
        """
        assert not self.training, "features of a batch would depend on its other rows"
        assert neck in ("before", "after")
        if self.modality == "image" and inputs.dim() == 5:
            features = self._encode(inputs.flatten(0, 1), None)
            feature = convert_rows(features, inputs.shape[:2]).mean(dim=1)
        else:
            feature = self._encode(inputs, None)
        if neck == "after":
            feature = self._apply_neck(feature)
        return feature[:, self._find_columns(roles)] if roles else feature

    def _apply_neck(self, feature: Tensor) -> Tensor:
        if self.neck is None:
            return feature
        normal: Tensor = self.neck(feature)
        return normal

    def _find_columns(self, roles: Sequence[str]) -> Tensor:
        """Columns of a feature that belong to the roles, in the feature's own order."""
        own = list(self.backbone.get_roles(self.tokens))
        wanted = {area for name in roles for area in (AREAS if name == "areas" else (name,))}
        unknown = sorted(wanted - {"coarse", *AREAS, "temporal"})
        places = [place for place, name in enumerate(own) if name in wanted]
        if unknown or not places:
            raise ConfigError(
                f"roles = {list(roles)} is not allowed for this model. Allowed: coarse, areas, "
                f"temporal; it was trained with {', '.join(own)}. What to do: add one of those."
            )
        width = self.backbone.config.width
        columns = torch.arange(len(own) * width, device=self.classifier.weight.device)
        return columns.reshape(len(own), width)[places].flatten()

    def _encode(self, inputs: Tensor, keys: Tensor | None) -> Tensor:
        """Feature before the neck, fp32."""
        if self.modality != "image" and inputs.dim() == 4:
            inputs = inputs[:, None]
        drop = self._build_noise(inputs, keys)
        if self.modality == "image":
            roles = self.backbone.encode_image(inputs, drop=drop).roles
        else:
            roles = self.backbone.encode_video(inputs, drop=drop).roles
        return self.backbone.compute_feature(roles, modality=self.tokens).float()

    def _build_noise(self, inputs: Tensor, keys: Tensor | None) -> DropPathNoise | None:
        if not self.training or not self.drop_path:
            return None
        assert keys is not None, "drop path needs the sample keys of the batch"
        if inputs.dim() == 5:
            frames = torch.arange(inputs.shape[1], device=keys.device)
            keys = compute_keys(keys[:, None], frames).flatten()
        depth = self.backbone.encoder.depth
        return DropPathNoise(keys, rate=self.drop_path, depth=depth)
