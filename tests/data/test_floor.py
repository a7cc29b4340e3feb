import subprocess
import sys

import pytest
import torch

from vills.data.loading import normalise
from vills.data.samplers import sample_key, sample_rng


@pytest.mark.slow
@pytest.mark.parametrize("module", ["records", "shards", "inventory", "layouts", "predictions"])
def test_light_modules_import_no_torch(module: str) -> None:
    code = f"import sys, vills.data.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_normalise() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(2, 3, 1, 3)
    values = normalise(pixels, weight=torch.tensor([1.0, 0.0]))
    assert values[0, 0, 0].tolist() == pytest.approx([-1.0, -0.6, 1.0], abs=1e-6)
    assert not values[1].any()


def test_generators_differ_by_key_alone() -> None:
    keys = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]
    draws = [tuple(sample_rng(*key).random(4)) for key in keys]
    assert draws == [tuple(sample_rng(*key).random(4)) for key in keys]
    assert len(set(draws)) == len(keys)


def test_sample_keys_are_distinct_and_fit_a_long() -> None:
    keys = {sample_key(0, s, e, i) for s in range(2) for e in range(20) for i in range(500)}
    assert len(keys) == 20_000
    assert 0 <= min(keys) < max(keys) < 2**63
    bits = torch.tensor(sorted(keys))[:, None].bitwise_right_shift(torch.arange(63)) & 1
    assert (bits.float().mean(dim=0) - 0.5).abs().max() < 0.02
