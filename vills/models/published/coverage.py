"""Does a file fill the encoder to the last tensor, and if not, what exactly is wrong with it."""

import re
from collections import Counter
from dataclasses import dataclass, field

from vills.data.files import compute_order
from vills.models.published.layouts import State
from vills.tensors import describe_faults, read_state

MAX_NAMES = 50
"""Names listed of a kind; beyond, counts by prefix."""

# What a name gives away about a file that is none of the layouts.
_GIVEAWAYS = {
    r"patch_embed\.conv\.": "it has the convolution stem of TransReID-SSL's ICS (instance and "
    "batch norm before the patches), which no patch embedding can replace: take the release "
    "without ICS",
    r"blocks\.(\d+\.)*mlp\.(w12|w3)\.": "it has SwiGLU feed-forward layers (DINOv2 ViT-g/14), the "
    "encoder has GELU ones: take ViT-S, B or L",
    r"rope_embed\.|storage_tokens": "it has rotary positions (DINOv3), the encoder a position "
    "table: take a DINOv2 release",
    r".*(relative_position|q_bias$)": "it has relative positions or split biases (BEiT, Swin)",
    r"(encoder\.)?layer[1-4]\.\d+\.(conv|bn)": "it is a ResNet",
    r"layers\.\d+\.blocks\.": "it is a Swin transformer (SOLIDER's are)",
    r"dist_token": "it is a distilled DeiT, with a second class token: take one without",
    r".*(flat_param|_fsdp_wrapped)": "it is a shard of FSDP: gather the state dict first",
    r"base\.": "it is a model fine-tuned with TransReID's or PASS's code: take the file that it "
    "started from",
    r"(vit\.)?encoder\.layer\.": "it has the names of Hugging Face's transformers: take timm's or "
    "the publisher's own file",
    r"(backbone\.)?encoder\.vit\.": "VILLS wrote it: use its folder, or convert it with "
    "`vills export`",
}


@dataclass(frozen=True)
class Mismatch:
    """All that keeps a file from being loaded."""

    missing: list[str]
    left_over: list[str]
    wrong_shape: list[str]
    """`name (3, 4) for (5, 4)`, the file's shape first."""
    problems: list[str] = field(default_factory=list)
    """Sentences about tensors that have the right names."""

    def __bool__(self) -> bool:
        """Whether anything is wrong."""
        return self.count() > 0

    def count(self) -> int:
        """How many names are wrong."""
        return sum(map(len, (self.missing, self.left_over, self.wrong_shape, self.problems)))

    def describe(self) -> str:
        """Return lists of all names, counted by prefix beyond MAX_NAMES."""
        lists = {
            "missing": self.missing,
            "left over": self.left_over,
            "of another shape": self.wrong_shape,
        }
        parts = [f"{title} {_list_names(names)}" for title, names in lists.items()]
        return "; ".join([*parts, *self.problems])


def find_mismatch(state: State, own: State, absent: set[str], *, problems: list[str]) -> Mismatch:
    """Compare a file's tensors, under the encoder's names, with the encoder's.

    Args:
        state: tensors of the file after conversion.
        own: the encoder's tensors that are expected.
        absent: names under which the layout has more tensors, which the file lacks.
        problems: what else is wrong.
    """
    if faults := describe_faults(read_state(state)):
        problems = [*problems, faults]
    return Mismatch(
        missing=list_sorted((own.keys() - state.keys()) | absent),
        left_over=list_sorted(state.keys() - own.keys()),
        wrong_shape=[
            f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
            for name in list_sorted(own.keys() & state.keys())
            if state[name].shape != own[name].shape
        ],
        problems=problems,
    )


def find_giveaways(state: State) -> list[str]:
    """Return what the file seems to be, from names that no supported layout has."""
    found = [
        text
        for pattern, text in _GIVEAWAYS.items()
        if any(re.match(pattern, name) for name in state)
    ]
    registers = state.get("register_tokens", state.get("reg_token"))
    if registers is not None and registers.ndim == 3 and registers.shape[1] != 3:
        found.append(
            f"it has {registers.shape[1]} register tokens, the encoder 3 beside the class token: "
            "take the release without registers"
        )
    return found


def list_sorted(names: set[str]) -> list[str]:
    """By name, numbers as numbers: block 2 comes before block 10."""
    return sorted(names, key=compute_order)


def _list_names(names: list[str]) -> str:
    if not names:
        return "none"
    text = f"({len(names)}): {', '.join(names[:MAX_NAMES])}"
    if len(names) > MAX_NAMES:
        prefixes = Counter(re.split(r"[.\s]", name)[0] for name in names[MAX_NAMES:])
        counts = ", ".join(f"{count} {prefix}.*" for prefix, count in prefixes.items())
        text += f" and {len(names) - MAX_NAMES} more: {counts}"
    return text
