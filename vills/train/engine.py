"""The only user of DeepSpeed: one module, AdamW under ZeRO 0 to 3, and its state as whole tensors.

Choices that are not DeepSpeed's defaults, and why:
- Precision is torch autocast with fp32 parameters. DeepSpeed's own bf16 mode casts parameters but
  not batch norm's buffers and stops in its first forward. Gradients are reduced in fp32.
- `torch.optim.AdamW`, not DeepSpeed's CPU Adam, and no shared-memory collectives: both are C++
  compiled at first use under a lock file that a killed process leaves behind, and the next start
  then waits for ever. `build_engine` compiles nothing.
- Optimizer state exists from the start, so that a checkpoint can be written and read before the
  first step.
- DeepSpeed is imported inside `build_engine`: it costs seconds and reads DS_ACCELERATOR.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from vills.config.pretrain import PretrainConfig
from vills.distributed import get_device, get_rank, get_world_size, init_process_group
from vills.train.consensus import NonFiniteError
from vills.train.param_groups import build_param_groups

BETAS = (0.9, 0.999)
MOMENTS = ("exp_avg", "exp_avg_sq")
BUCKET = 50_000_000
"""Scalars per reduction; DeepSpeed's 5e8 default allocates 2 GB whatever the model's size."""


class Engine:
    """A trainable module behind DeepSpeed, the same to its user at every ZeRO stage."""

    def __init__(self, wrapped: Any, *, stage: int) -> None:
        """Take over what `deepspeed.initialize` returned.

        Args:
            wrapped: DeepSpeed's engine.
            stage: its ZeRO stage.
        """
        self._wrapped = wrapped
        self.stage = stage
        self.module: nn.Module = wrapped.module
        self._optimizer: torch.optim.Optimizer = (
            wrapped.optimizer.optimizer if stage else wrapped.optimizer
        )
        self._prime_optimizer()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Live optimizer groups: `lr` and `weight_decay` are written here every step."""
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return groups

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Forward; one per step, since ZeRO-3 gathers and frees parameters around it."""
        return self._wrapped(*args, **kwargs)

    def backward(self, loss: Tensor) -> None:
        """Gradients of `loss`, averaged over ranks."""
        self._wrapped.backward(loss)

    def step(self) -> float:
        """Clip, update, clear gradients; returns the global gradient norm before clipping.

        Raises:
            NonFiniteError: if a gradient is NaN or inf; no parameter has moved then.
        """
        norm = self._compute_plain_norm() if self.stage == 0 else 0.0
        if self.stage == 0 and not torch.isfinite(torch.tensor(norm)):
            raise NonFiniteError("gradient is not finite")
        self._wrapped.step()
        if self.stage:
            if not self._wrapped.was_step_applied():
                raise NonFiniteError("gradient is not finite")
            norm = float(self._wrapped.get_global_grad_norm() or 0.0)
        return norm

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """All parameters in the module's order; under ZeRO-3 each holds a shard only."""
        return list(self.module.named_parameters())

    @contextlib.contextmanager
    def gathered_parameters(self, *, write: bool = False) -> Iterator[list[nn.Parameter]]:
        """All parameters, whole inside the context; with `write`, rank 0's edits are kept."""
        params = list(self.module.parameters())
        if self.stage < 3:
            yield params
            return
        import deepspeed

        with deepspeed.zero.GatheredParameters(params, modifier_rank=0 if write else None):
            yield params

    def compute_state(self) -> dict[str, Tensor]:
        """Parameters and buffers, fp32, whole, on CPU; the same at any stage and world size."""
        with self.gathered_parameters():
            return {k: v.detach().cpu().clone() for k, v in self.module.state_dict().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of `compute_state`."""
        with self.gathered_parameters(write=True):
            self.module.load_state_dict(state)
        if self.stage:
            self._set_full(state, key=None)

    def compute_optimizer_state(self) -> dict[str, dict[str, Tensor]]:
        """AdamW's moments by parameter name, whole, on CPU, and its `step` per parameter."""
        state = {key: self._get_full(key) for key in MOMENTS}
        if self.stage:
            steps = [entry["step"] for entry in self._optimizer.state.values()]
            state["step"] = dict.fromkeys(state["exp_avg"], steps[0].cpu().clone())
        else:
            state["step"] = {
                name: self._optimizer.state[p]["step"].cpu().clone() for name, p in self._trained()
            }
        return state

    def load_optimizer_state(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Inverse of `compute_optimizer_state`, from any stage and world size."""
        for key in MOMENTS:
            self._set_full(state[key], key=key)
        last = max(state["step"].values(), key=float)
        if self.stage:
            for entry in self._optimizer.state.values():
                entry["step"].copy_(last)
        else:
            for name, p in self._trained():
                self._optimizer.state[p]["step"].copy_(state["step"][name])

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, p) for name, p in self.named_parameters() if p.requires_grad]

    def _compute_plain_norm(self) -> float:
        grads = [p.grad for p in self.module.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(grads))

    def _get_full(self, key: str) -> dict[str, Tensor]:
        if not self.stage:
            return {n: self._optimizer.state[p][key].cpu().clone() for n, p in self._trained()}
        from deepspeed.utils import safe_get_full_optimizer_state

        whole = {n: safe_get_full_optimizer_state(p, key) for n, p in self._trained()}
        return {name: value.cpu().clone() for name, value in whole.items()}

    def _set_full(self, values: dict[str, Tensor], *, key: str | None) -> None:
        """Write fp32 master parameters (`key` None) or a moment into this rank's shards."""
        for name, p in self._trained():
            value = values[name].to(p.device)
            if not self.stage:
                self._optimizer.state[p][key].copy_(value)
            elif self.stage < 3:
                _set_partitioned(p, value, key)
            else:
                _set_sharded(p, value, key)

    def _prime_optimizer(self) -> None:
        """Create AdamW's state, which torch would create in its first step."""
        zero = self._wrapped.optimizer
        flats = [p for group in self.param_groups for p in group["params"]]
        if self.stage == 3:
            flats = list(zero.fp32_partitioned_groups_flat)
        for p in flats:
            # Fused AdamW wants its step counter beside the parameters.
            step = torch.zeros((), dtype=torch.float32, device=p.device)
            self._optimizer.state[p] = {"step": step, **{k: torch.zeros_like(p) for k in MOMENTS}}
        if self.stage in (1, 2):
            from deepspeed.utils import lazy_init_hp_params_optimizer_state

            for params, flat in zip(
                zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True
            ):
                lazy_init_hp_params_optimizer_state(params, flat, self._optimizer.state)


def _set_partitioned(p: nn.Parameter, value: Tensor, key: str | None) -> None:
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    if key is None:
        safe_set_full_fp32_param(p, value)
    else:
        safe_set_full_optimizer_state(p, value, key)


def _set_sharded(p: Any, value: Tensor, key: str | None) -> None:
    """ZeRO-3: cut this rank's piece ourselves, since DeepSpeed's cut refuses uneven ones."""
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size = p.ds_tensor.numel()
    padded = value.new_zeros(size * get_world_size())
    padded[: value.numel()] = value.flatten()
    piece = padded[get_rank() * size : (get_rank() + 1) * size]
    if key is None:
        safe_set_local_fp32_param(p, piece)
    else:
        safe_set_local_optimizer_state(p, piece, key)


def build_engine(module: nn.Module, *, config: PretrainConfig) -> Engine:
    """Put `module` behind DeepSpeed as `config` says; joins the process group if need be."""
    init_process_group()
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.setdefault("LOCAL_RANK", str(get_rank()))
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops

        # What is not listed as compatible is never compiled; the probe that fills this list
        # starts compilers too.
        deepspeed.ops.__compatible_ops__ = {}
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        optimizer = torch.optim.AdamW(
            build_param_groups(module.named_parameters()), lr=0.0, betas=BETAS, fused=True
        )
        wrapped, _, _, _ = deepspeed.initialize(
            model=module,
            optimizer=optimizer,
            config=build_deepspeed_config(
                config, num_parameters=sum(p.numel() for p in module.parameters())
            ),
            # Else DeepSpeed takes the GPU of LOCAL_RANK, which a process may not see.
            args=SimpleNamespace(device_rank=get_device().index or 0),
            dist_init_required=False,
        )
    return Engine(wrapped, stage=config.zero_stage)


def build_deepspeed_config(config: PretrainConfig, *, num_parameters: int) -> dict[str, Any]:
    """DeepSpeed's own dictionary; batches are ours, so its batch size is a formality of 1."""
    bucket = min(num_parameters + num_parameters % 2, BUCKET)  # ZeRO-1 asks for an even number
    result: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.optim.clip_grad,
        "steps_per_print": 10**12,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
            "overlap_comm": False,
        },
    }
    if config.precision == "bf16":
        # An empty list of safe modules: gradients of linear layers are reduced in fp32 too.
        result["torch_autocast"] = {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        }
    return result
