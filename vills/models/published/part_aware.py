"""PASS (Zhu et al. 2022): three part tokens; every prefix token has a position of its own.

The position table covers patches only. A token and its position are always added, so that their
sum is all that the encoder needs. Pre-trained with ImageNet's normalisation, but fine-tuned by its
authors with mean and deviation 0.5 (PASS_transreid/configs), which is followed here.
"""

import torch

from vills.areas import AREAS
from vills.models.published.layout import OWN, PERSON, SQUARE, Layout, State

# The parts are the top, middle and bottom of a person.
_PARTS = {"head": 1, "upper_body": 2, "lower_body": 3}
_PAIRS = {area: (f"part_token{part}", f"part{part}_pos") for area, part in _PARTS.items()}
_REQUIRED = {"cls_token", "cls_pos"} | {name for pair in _PAIRS.values() for name in pair}


def _find_missing(state: State) -> set[str]:
    return _REQUIRED - state.keys()


def _convert(state: State) -> State:
    shapes = {state[name].shape for name in _REQUIRED & state.keys()}
    if not state.keys() >= _REQUIRED or [len(shape) for shape in shapes] != [3]:
        return state  # what does not fit to each other is then listed
    converted = {name: tensor for name, tensor in state.items() if name not in _REQUIRED}
    converted["cls_token"] = state["cls_token"] + state["cls_pos"]
    tokens = [state[token] + state[position] for token, position in (_PAIRS[a] for a in AREAS)]
    converted["reg_token"] = torch.cat(tokens, dim=1)
    return converted


PASS = Layout(
    "pass",
    source="CASIA-IVA-Lab/PASS-reID",
    convert=_convert,
    find_missing=_find_missing,
    slots=("none",),
    grids=(OWN, PERSON, SQUARE),
    normalisation="half",
)
