"""Heads: prototypes against torch's weight norm, norms per role."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from tests.models.batches import HEADS
from vills.config.model import HeadConfig
from vills.models.heads import ProjectionHead, Prototypes, Trunk

TOKENS = torch.randn(6, 32, generator=torch.Generator().manual_seed(0))


def test_prototypes_are_a_weight_normed_layer_of_gain_one() -> None:
    torch.manual_seed(0)
    own = Prototypes(16, 40)
    linear = nn.Linear(16, 40, bias=False)
    linear.weight.data = own.weight.data.clone()
    oracle = weight_norm(linear)
    oracle.parametrizations.weight.original0.data.fill_(1.0)
    x = torch.randn(5, 16)
    torch.testing.assert_close(own(x), oracle(x))
    own(x).sin().sum().backward()
    oracle(x).sin().sum().backward()
    torch.testing.assert_close(own.weight.grad, oracle.parametrizations.weight.original1.grad)


def test_logits_are_cosines_of_the_bottleneck() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(32, HEADS, num_prototypes=40, roles=["coarse", "head"])
    logits = head(TOKENS, role="coarse")
    assert logits.shape == (6, 40)
    assert logits.abs().max() <= 1.0 + 1e-6
    torch.testing.assert_close(head.trunk(TOKENS, role="coarse").norm(dim=-1), torch.ones(6))


def test_a_role_has_statistics_of_its_own_and_shares_the_rest() -> None:
    torch.manual_seed(0)
    trunk = Trunk(32, HEADS, roles=["coarse", "head"])
    assert torch.equal(trunk(TOKENS, role="coarse"), trunk(TOKENS, role="head"))
    trunk(TOKENS + 5.0, role="head")
    trunk.eval()
    assert not torch.allclose(trunk(TOKENS, role="coarse"), trunk(TOKENS, role="head"))


def test_norm_none_has_biases_instead() -> None:
    plain = Trunk(32, HeadConfig(hidden=48, bottleneck=16, norm="none"), roles=["coarse"])
    assert not plain.norms
    assert all(layer.bias is not None for layer in plain.layers)
    rows = plain(TOKENS, role="coarse")
    torch.testing.assert_close(plain(TOKENS[:2], role="coarse"), rows[:2])
