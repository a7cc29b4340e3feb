"""State dicts of K and M: read without unpickling code, every key or none."""

from pathlib import Path
from typing import Any

import torch

from vills.config.checks import ConfigError


def load_weights(module: torch.nn.Module, *, field: str, path: Path) -> None:
    """Load a state dict into `module`, every key or none.

    Raises:
        ConfigError: not a plain state dict, or keys or shapes that do not match.
    """
    state = _read_state(field, path)
    own = module.state_dict()
    missing = sorted(set(own) - set(state))
    unexpected = sorted(set(state) - set(own))
    shapes = sorted(k for k in set(own) & set(state) if own[k].shape != state[k].shape)
    problems = [
        f"{len(keys)} {label} (first: {keys[0]})"
        for label, keys in (
            ("missing keys", missing),
            ("unexpected keys", unexpected),
            ("keys of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise ConfigError(
            f"{field} = {path.name!r} does not fit {type(module).__name__}: {', '.join(problems)}. "
            "Allowed: weights of exactly this architecture. What to do: choose the file that "
            "belongs to the configured type."
        )
    module.load_state_dict(state, strict=True)


def _read_state(field: str, path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names a dozen kinds of damage by a dozen types
        raise ConfigError(
            f"{field} = {path.name!r} cannot be read as weights ({type(error).__name__}). Allowed: "
            "a state dict that torch.load(weights_only=True) accepts. What to do: fetch the file "
            "again; a file that needs unpickling of code is never opened."
        ) from error
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ConfigError(
            f"{field} = {path.name!r} is not a plain state dict. Allowed: a mapping of parameter "
            "names to tensors. What to do: save the model's state_dict() alone."
        )
    return state
