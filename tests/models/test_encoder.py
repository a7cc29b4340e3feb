"""The encoder against plain timm, and the indices of roles, on which weights and features rely."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from tests.models.batches import TINY
from vills.models.encoder import (
    AREA_ROLES,
    COARSE,
    NUM_SPATIAL,
    TEMPORAL,
    Encoder,
    build_all_roles,
    build_roles,
    build_timm_arguments,
)
from vills.models.layers import DropPathNoise

IMAGES = torch.randn(3, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def build_encoder(*, masking: bool = False) -> Encoder:
    torch.manual_seed(0)
    return Encoder(TINY, masking=masking)


@pytest.mark.parametrize(("height", "width"), [(64, 32), (32, 32), (96, 48), (16, 16)])
def test_is_a_timm_vit_at_any_size(height: int, width: int) -> None:
    encoder = build_encoder()
    oracle = VisionTransformer(**build_timm_arguments(TINY), dynamic_img_size=True)
    oracle.load_state_dict(encoder.vit.state_dict())
    images = torch.randn(2, 3, height, width)
    torch.testing.assert_close(encoder(images), oracle.forward_features(images))


def test_a_size_that_is_no_multiple_of_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"64x44 px.*multiples of the patch size 16"):
        build_encoder()(torch.zeros(1, 3, 64, 44))


def test_masks_change_masked_samples_only_and_hide_the_patch() -> None:
    encoder = build_encoder(masking=True)
    mask = torch.zeros(3, 8, dtype=torch.bool)
    mask[1, 5] = True
    plain, masked = encoder(IMAGES), encoder(IMAGES, mask)
    assert torch.equal(plain[[0, 2]], masked[[0, 2]])
    assert not torch.allclose(plain[1], masked[1])
    hidden = IMAGES.clone()
    hidden[1, :, 32:48, 16:] = 7.0  # patch 5 of a 4x2 grid
    assert torch.equal(encoder(hidden, mask), masked)


def test_attention_is_that_of_the_last_block() -> None:
    encoder = build_encoder()
    weights = encoder.compute_attention(IMAGES)
    assert weights.shape == (3, 2, 12, 12)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3, 2, 12))
    inputs: dict[str, Any] = {}
    last: Any = encoder.vit.blocks[-1].attn
    last.register_forward_hook(lambda m, args, out: inputs.update(x=args[0], out=out))
    encoder(IMAGES)
    value = last.qkv(inputs["x"]).reshape(3, 12, 3, 2, 16).permute(2, 0, 3, 1, 4)[2]
    out = last.proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, inputs["out"])


def test_drop_path_of_rate_zero_is_the_identity_and_noise_is_per_row() -> None:
    encoder = build_encoder()
    keys = torch.arange(3)
    plain = encoder(IMAGES)
    still = encoder(IMAGES, None, DropPathNoise(keys, rate=0.0, depth=2))
    torch.testing.assert_close(still, plain)
    whole = encoder(IMAGES, None, DropPathNoise(keys, rate=0.9, depth=2))
    assert not torch.allclose(whole, plain)
    row = encoder(IMAGES[1:2], None, DropPathNoise(keys[1:2], rate=0.9, depth=2))
    torch.testing.assert_close(row, whole[1:2])


def test_positions_matter_at_resampled_sizes() -> None:
    encoder = build_encoder()
    images = torch.randn(1, 3, 32, 32)
    before = encoder(images)
    encoder.vit.pos_embed.data += torch.randn_like(encoder.vit.pos_embed)
    assert not torch.allclose(encoder(images), before)


def test_indices_stay_as_published() -> None:
    assert COARSE == 0
    assert AREA_ROLES == {"upper_body": 1, "lower_body": 2, "head": 3}
    assert TEMPORAL == NUM_SPATIAL == 4


def test_roles_are_named_in_the_order_of_a_feature() -> None:
    assert build_roles(["head"], temporal=True) == {"coarse": 0, "head": 3, "temporal": 4}
    assert list(build_roles(["head", "upper_body"], temporal=False)) == [
        "coarse",
        "head",
        "upper_body",
    ]
    assert list(build_all_roles(7))[3:] == ["head", "temporal", "free_5", "free_6"]
    assert list(build_all_roles(4).values()) == [0, 1, 2, 3]
