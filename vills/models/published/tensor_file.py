"""Reads a weights file as data, and the sizes that its tensors tell: no code of it is ever run.

Legend: D width, C colours, p patch side.
"""

import argparse
import pickle
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from vills.models.description import WeightsError
from vills.models.published.layouts import State

WRAPPERS = ("teacher", "state_dict", "model", "student")
"""Where publishers keep the tensors; a checkpoint with two networks gives its teacher."""
_PREFIXES = ("module.", "_orig_mod.", "backbone.", "model.")
_STARTS = {
    b"version https://git-lfs": "a pointer of Git LFS: git lfs pull fetches the file itself",
    b"<": "a web page, perhaps a question before the download",
}
"""What stands in place of weights, by its first bytes."""
_DAMAGE = (
    *(RuntimeError, ValueError, LookupError, TypeError, AttributeError, AssertionError),
    *(OSError, EOFError, struct.error, pickle.UnpicklingError, SafetensorError, OverflowError),
)


@dataclass(frozen=True)
class TensorFile:
    """Tensors of a file in fp32, wrappers and prefixes taken off."""

    path: Path
    state: State
    wrapper: str
    """Where they were: `teacher`, `model`, or empty."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What a .safetensors says of itself."""


def read_tensors(path: Path) -> TensorFile:
    """Read a .safetensors, or a file of torch.save.

    Raises:
        WeightsError: if it is missing or damaged, holds anything but data, or no tensors by name.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist. What to do: name a weights file.")
    content, wrappers = _load(path), []
    while isinstance(content, Mapping):
        found = [name for name in WRAPPERS if isinstance(content.get(name), Mapping)]
        if not found:
            break
        wrappers.append(found[0])
        content = content[found[0]]
    if isinstance(content, Mapping) and _holds_tensors(content):
        content, network = _select_network(content)
        wrappers += network
    if not isinstance(content, Mapping) or not content or not _holds_tensors(content):
        raise WeightsError(
            f"{path} holds no named tensors{_describe(content)}. Allowed: a state dict, directly "
            f"or under {', '.join(WRAPPERS)}. What to do: check that this is a weights file."
        )
    metadata: dict[str, str] = {}
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    return TensorFile(path, _build_state(content, path), ".".join(wrappers), metadata)


def _select_network(content: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], list[str]]:
    """Take one of the networks that DINOv2's training keeps side by side, as `teacher.NAME`."""
    for network in WRAPPERS:
        start = f"{network}.backbone."
        if any(name.startswith(start) for name in content):
            own = [name for name in content if name.startswith(f"{network}.")]
            return {n.removeprefix(f"{network}."): content[n] for n in own}, [network]
    return content, []


def _load(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # Full checkpoints of DINO, PASS and MAE carry their command line, which is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about files that are then refused
            return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        objects = _find_objects(path, str(error))
        if objects:
            raise WeightsError(
                f"{path} holds objects that would run code when read: {', '.join(objects)}. "
                "Allowed: tensors, numbers, text, lists and dicts. What to do: only if you trust "
                "its author, load it with the code that wrote it and save only its state dict."
            ) from error
        raise WeightsError(
            f"{path} cannot be read as weights ({_find_reason(path, error)}). Allowed: a "
            ".safetensors, or a file of torch.save. What to do: fetch it again: the copy may be "
            "incomplete, or a web page."
        ) from error


def _find_objects(path: Path, message: str) -> list[str]:
    """Names of classes and functions in the file that are no data, without calling any."""
    if path.suffix == ".safetensors":
        return []
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except _DAMAGE:  # torch lists them for its newer format only; its message names the first
        return re.findall(r"GLOBAL ([\w.]+)", message)[:1]


def _find_reason(path: Path, error: Exception) -> str:
    """Return what the file is instead, or the line of torch's message that says something."""
    with path.open("rb") as file:
        beginning = file.read(64).lstrip()
    for start, text in _STARTS.items():
        if beginning.startswith(start):
            return f"it is {text}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "WeightsUnpickler error" in line]
    return f"{type(error).__name__}: {[*told, *lines, ''][0][:200]}"


def _holds_tensors(content: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())


def _describe(content: Any) -> str:
    """Return what is there instead, for the message."""
    if not isinstance(content, Mapping):
        return f", but a {type(content).__name__}"
    others = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    return f" ({', '.join(others)}: no tensors)" if others else ""


def _build_state(content: Mapping[str, Tensor], path: Path) -> State:
    """Tensors by their names without prefixes; two that become one are refused."""
    origins: dict[str, str] = {}
    for name in content:
        first = origins.setdefault(_strip(name), name)
        if first != name:
            raise WeightsError(
                f"{path} has two tensors {_strip(name)}: {first} and {name}. Allowed: one. "
                "What to do: save the one network that you need in a separate file."
            )
    return {name: _to_float32(content[origin]) for name, origin in origins.items()}


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _strip(name: str) -> str:
    while True:
        short = name
        for prefix in _PREFIXES:
            short = short.removeprefix(prefix)
        if short == name:
            return name
        name = short


@dataclass(frozen=True)
class Sizes:
    """Fields of ModelConfig that a file fixes; 0 where it does not say."""

    width: int
    depth: int
    patch_size: int

    def build_settings(self, other: "Sizes | None" = None) -> list[str]:
        """`pretrain.model.width=384` and so on, only what differs from `other`."""
        return [
            f"pretrain.model.{name}={value}"
            for name, value in vars(self).items()
            if value and (other is None or value != getattr(other, name))
        ]


def find_sizes(state: State) -> Sizes:
    """Sizes of tensors under timm's names."""
    # FSDP nests them, `blocks.CHUNK.BLOCK`
    blocks = [re.match(r"blocks\.(?:\d+\.)?(\d+)\.", name) for name in state]
    depth = 1 + max((int(match[1]) for match in blocks if match), default=-1)
    patches, token = state.get("patch_embed.proj.weight"), state.get("cls_token")
    width = token.shape[-1] if token is not None else 0
    if patches is None or patches.ndim != 4:
        return Sizes(width, depth, 0)
    return Sizes(patches.shape[0], depth, patches.shape[-1])
