"""DeepSpeed against plain torch, its stages against each other, and no compiler anywhere."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vills.config.pretrain import OptimConfig, PretrainConfig
from vills.train.consensus import NonFiniteError
from vills.train.engine import BETAS, Engine, build_deepspeed_config, build_engine
from vills.train.meta_arch import update_ema
from vills.train.param_groups import build_param_groups, set_schedule

CLIP = 0.2
INPUTS = torch.randn(6, 16, 13, generator=torch.Generator().manual_seed(5))


def build_net() -> nn.Module:
    # Odd sizes, so that shards of parameters are uneven; layer norm, since a bias before batch norm
    # has a true gradient of zero, whose rounding noise Adam would blow up.
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(13, 15), nn.LayerNorm(15), nn.GELU(), nn.Linear(15, 7))


def build(stage: int, **changes: Any) -> Engine:
    config = PretrainConfig(zero_stage=stage, optim=OptimConfig(clip_grad=CLIP), **changes)
    return build_engine(build_net(), config=config)


def train(engine: Engine, steps: range) -> list[tuple[float, float]]:
    trace = []
    for step in steps:
        set_schedule(engine.param_groups, lr=1e-3 * (step + 1), prototype_lr=0, weight_decay=0.1)
        loss = engine(INPUTS[step]).square().mean()
        engine.backward(loss)
        trace.append((loss.item(), engine.step()))
    return trace


def train_plain() -> tuple[list[tuple[float, float]], dict[str, Tensor]]:
    net = build_net()
    optimizer = torch.optim.AdamW(build_param_groups(net.named_parameters()), lr=0.0, betas=BETAS)
    trace = []
    for step in range(6):
        set_schedule(optimizer.param_groups, lr=1e-3 * (step + 1), prototype_lr=0, weight_decay=0.1)
        optimizer.zero_grad()
        loss = net(INPUTS[step]).square().mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        optimizer.step()
        trace.append((loss.item(), float(norm)))
    return trace, net.state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_steps_equal_plain_adamw_with_clipping_and_moving_rates(stage: int) -> None:
    expected, weights = train_plain()
    engine = build(stage)
    trace = train(engine, range(6))
    assert min(norm for _, norm in trace) > CLIP  # clipping is at work
    torch.testing.assert_close(torch.tensor(trace), torch.tensor(expected))
    torch.testing.assert_close(engine.compute_state(), dict(weights), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0), (1, 3), (3, 1), (2, 2), (3, 3)])
def test_state_moves_between_stages(first: int, second: int) -> None:
    source = build(first)
    train(source, range(3))
    state, optimizer = source.compute_state(), source.compute_optimizer_state()
    expected = train(source, range(3, 6))
    target = build(second)
    target.load_state(state)
    target.load_optimizer_state(optimizer)
    trace = train(target, range(3, 6))
    if first == second:
        assert trace == expected
    torch.testing.assert_close(torch.tensor(trace), torch.tensor(expected))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 3])
def test_not_finite_gradient_stops_before_any_parameter_moves(stage: int) -> None:
    engine = build(stage)
    before = engine.compute_state()
    set_schedule(engine.param_groups, lr=0.1, prototype_lr=0, weight_decay=0.1)
    engine.backward(engine(INPUTS[0]).sum() * float("inf"))
    with pytest.raises(NonFiniteError, match="gradient"):
        engine.step()
    assert all(torch.equal(value, before[name]) for name, value in engine.compute_state().items())


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_teacher_is_the_moving_average_of_the_student(stage: int) -> None:
    engine, teacher = build(stage), build_net()
    expected = {name: value.clone() for name, value in teacher.state_dict().items()}
    for step in range(3):
        train(engine, range(step, step + 1))
        update_ema(teacher, student=engine, momentum=0.9)
        for name, value in engine.compute_state().items():
            expected[name] = 0.9 * expected[name] + 0.1 * value
    torch.testing.assert_close(dict(teacher.state_dict()), expected)


def test_frozen_prototypes_do_not_move() -> None:
    torch.manual_seed(0)
    net = nn.ModuleDict({"body": nn.Linear(13, 4), "prototypes": nn.Linear(4, 3, bias=False)})
    net.forward = lambda x: net["prototypes"](net["body"](x))
    engine = build_engine(net, config=PretrainConfig())
    before = engine.compute_state()
    set_schedule(engine.param_groups, lr=0.1, prototype_lr=0.0, weight_decay=0.4)
    engine.backward(engine(INPUTS[0]).square().mean())
    engine.step()
    after = engine.compute_state()
    assert torch.equal(after["prototypes.weight"], before["prototypes.weight"])
    assert not torch.equal(after["body.weight"], before["body.weight"])


def test_deepspeed_dictionary_follows_the_configuration() -> None:
    config = PretrainConfig(zero_stage=2, precision="bf16", optim=OptimConfig(clip_grad=1.5))
    made = build_deepspeed_config(config, num_parameters=1001)
    assert made["zero_optimization"]["stage"] == 2
    assert made["gradient_clipping"] == 1.5
    assert made["torch_autocast"]["dtype"] == "bfloat16"
    assert "torch_autocast" not in build_deepspeed_config(PretrainConfig(), num_parameters=1)


@pytest.mark.slow
def test_nothing_is_compiled_and_a_stale_compiler_lock_is_not_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir()
    lock.touch()
    script = (
        "from tests.train.test_engine import build, train\n"
        "engine = build(1)\n"
        "print(len(train(engine, range(2))))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "TORCH_EXTENSIONS_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert result.stdout == "2\n"
    assert result.stderr == ""
    assert [p.name for p in tmp_path.rglob("*")] == ["deepspeed_shm_comm", "lock"]
