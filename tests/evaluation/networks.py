"""Small networks."""

import torch

from vills.config.model import ModelConfig
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

SIZE = (32, 16)
WIDTH = 16


def make_backbone(*, resampler: bool = True, video: bool = True, seed: int = 0) -> Backbone:
    """ViT of one block on 32 x 16 px."""
    torch.manual_seed(seed)
    config = ModelConfig(
        width=WIDTH,
        depth=1,
        num_heads=2,
        patch_size=8,
        image_size=list(SIZE),
        resampler=resampler,
        resampler_depth=1,
        num_queries=5,
        max_frames=4,
    )
    return Backbone(config, areas=("upper_body", "head"), video=video).eval()


def make_reid(modality: str, *, seed: int = 0) -> ReidModel:
    """A model whose neck does something."""
    model = ReidModel(make_backbone(seed=seed), num_ids=2, modality=modality)
    torch.nn.init.uniform_(model.neck.weight, 0.5, 1.5)
    return model.eval()
