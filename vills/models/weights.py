"""Weights out and in: `model.safetensors` beside a `model.json` that says how to use them.

The JSON holds the architecture, the file's SHA-256, which token is which role, how pixels are
normalised, and the arguments with which plain timm is the encoder; so timm and safetensors alone
are enough to use the encoder, without this package.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vills.config.finetune import FinetuneConfig
from vills.config.model import ModelConfig
from vills.data.transforms import MEAN, RESIZE, STD
from vills.errors import InputError
from vills.io import compute_sha256, load_json, open_atomic, save_json
from vills.models.backbone import Backbone
from vills.models.description import WeightsError, check_description
from vills.models.encoder import build_timm_arguments
from vills.models.reid import ReidModel
from vills.tensors import describe_faults, read_state

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
TIMM_OUTPUT = (
    "normed tokens of the encoder: coarse, areas, patches; before the resampler and the neck, so "
    "no feature that vills scores (vills extract writes those)"
)
"""What forward_features of an exported ViT gives."""
_FORMAT = 1
_VIT = "encoder.vit."
_MASK_TOKEN = "encoder.mask_token"


Model = TypeVar("Model", bound=nn.Module)


def save_backbone(backbone: Backbone, folder: Path) -> None:
    """Write the encoder and resampler, without the mask token: only pre-training masks."""
    state = {name: value for name, value in backbone.state_dict().items() if name != _MASK_TOKEN}
    _save(folder, state, {"kind": "backbone", **_describe(backbone, prefix="")})


def save_reid(model: ReidModel, folder: Path, *, trained: FinetuneConfig | None = None) -> None:
    """Write a fine-tuned model: backbone, neck and classifier.

    `trained` says on what pictures and clips it was trained: whoever uses it later takes the same.
    Without, the size is the backbone's.
    """
    state = model.state_dict()
    state.pop(f"backbone.{_MASK_TOKEN}", None)
    neck = "none" if model.neck is None else "bnneck"
    size = list(trained.input_size if trained else model.backbone.config.image_size)
    reid = {"num_ids": model.num_ids, "modality": model.modality, "neck": neck, "input_size": size}
    if trained and model.modality != "image":
        reid["num_frames"] = trained.num_frames
    described = _describe(model.backbone, "backbone.", size=size)
    _save(folder, state, {"kind": "reid", "reid": reid, **described})


def load_backbone(folder: Path) -> Backbone:
    """Return the backbone of a folder that `save_backbone` or `save_reid` wrote.

    Raises:
        WeightsError: if something is missing, damaged or does not fit.
    """
    description = load_description(folder)
    state = _load_state(folder, description)
    if description["kind"] == "reid":
        prefix = "backbone."
        state = {
            name.removeprefix(prefix): value
            for name, value in state.items()
            if name.startswith(prefix)
        }
    return _fill(build_backbone(description), state, folder)


def load_reid(folder: Path) -> ReidModel:
    """Return the fine-tuned model of a folder that `save_reid` wrote.

    Raises:
        WeightsError: if something is missing, damaged or does not fit.
    """
    description = load_description(folder)
    if description["kind"] != "reid":
        raise WeightsError(
            f"{folder / DESCRIPTION_FILE} holds a {description['kind']}, not a fine-tuned model. "
            "What to do: name a folder that the finetune stage wrote."
        )
    reid = description["reid"]
    model = ReidModel(
        build_backbone(description),
        num_ids=reid["num_ids"],
        modality=reid["modality"],
        neck=reid.get("neck", "bnneck"),
    )
    return _fill(model, _load_state(folder, description), folder)


def load_description(folder: Path) -> dict[str, Any]:
    """Return the checked content of a folder's model.json.

    Raises:
        WeightsError: if it is missing, damaged or of another format.
    """
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist. What to do: name a folder of exported weights, such as "
            "artifacts/pretrain/teacher."
        )
    try:
        description = load_json(path, remedy="export it again")
    except InputError as error:
        raise WeightsError(str(error)) from error
    if description.get("format") != _FORMAT or description.get("kind") not in ("backbone", "reid"):
        raise WeightsError(
            f"{path} has format {description.get('format')!r} and kind "
            f"{description.get('kind')!r}. Allowed: format {_FORMAT}, kind backbone or reid. "
            "What to do: export the weights again with this version."
        )
    check_description(path, description)
    return description


def describe_architecture(
    config: ModelConfig, *, areas: Sequence[str], video: bool
) -> dict[str, Any]:
    """Return the entry `architecture` of a model.json: what a backbone is, without its weights."""
    model = {**asdict(config), "image_size": list(config.image_size)}
    return {"model": model, "areas": list(areas), "video": video}


def build_backbone(description: Mapping[str, Any]) -> Backbone:
    """Return a backbone of the architecture that a model.json describes, with random weights."""
    architecture = description["architecture"]
    return Backbone(
        ModelConfig(**architecture["model"]),
        areas=architecture["areas"],
        video=architecture["video"],
    )


def build_timm_state(backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Arguments of timm's VisionTransformer, and its state: the same tokens as the encoder's."""
    return build_timm_arguments(backbone.config), dict(backbone.encoder.vit.state_dict())


def save_timm(folder: Path, out: Path) -> Path:
    """Write the encoder of a weights folder as a plain timm ViT: a .safetensors and a .json.

    Args:
        folder: weights folder.
        out: file to write, ending in .safetensors; the arguments go beside it as .json.

    Returns:
        The file written.

    Raises:
        WeightsError: if the weights are refused or `out` has another ending.
    """
    if out.suffix != ".safetensors":
        raise WeightsError(
            f"--out {out} is not allowed. Allowed: a name that ends in .safetensors. What to do: "
            "give another."
        )
    backbone = load_backbone(folder)
    arguments, state = build_timm_state(backbone)
    told = {"convention": build_statement(backbone.config.image_size), "output": TIMM_OUTPUT}
    _save_tensors(out, state, metadata=told)
    content = {"class": "VisionTransformer", "arguments": arguments, **told, "resize": RESIZE}
    save_json(out.with_suffix(".json"), content, sort=False)
    return out


def build_statement(size: Sequence[int]) -> str:
    """State how our models take pictures, see vills.config.convention."""
    return f"rgb 0-1 mean {MEAN:g} std {STD:g} nchw {size[0]}x{size[1]}"


def _describe(
    backbone: Backbone, prefix: str, *, size: Sequence[int] | None = None
) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "architecture": describe_architecture(
            backbone.config, areas=backbone.areas, video=backbone.video
        ),
        "roles": {modality: backbone.get_roles(modality) for modality in ("image", "video")},
        "normalisation": {"mean": [MEAN] * 3, "std": [STD] * 3},
        "convention": build_statement(size or backbone.config.image_size),
        "resize": RESIZE,
        "timm": {
            "class": "VisionTransformer",
            "arguments": build_timm_arguments(backbone.config),
            "prefix": prefix + _VIT,
        },
    }


def _save(folder: Path, state: Mapping[str, Tensor], description: dict[str, Any]) -> None:
    """Weights first: a description without its weights is refused, the other way round too."""
    _save_tensors(folder / WEIGHTS_FILE, state)
    digest = compute_sha256(folder / WEIGHTS_FILE)
    content = {**description, "file": WEIGHTS_FILE, "sha256": digest}
    save_json(folder / DESCRIPTION_FILE, content, sort=False)


def _save_tensors(
    path: Path, state: Mapping[str, Tensor], *, metadata: dict[str, str] | None = None
) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in sorted(state.items())}
    with open_atomic(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _load_state(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / Path(description["file"]).name  # never outside the folder
    if not path.is_file():
        raise WeightsError(f"{path} does not exist. What to do: export or copy the weights again.")
    digest = compute_sha256(path)
    if digest != description["sha256"]:
        raise WeightsError(
            f"{path} has SHA-256 {digest}, but {DESCRIPTION_FILE} says {description['sha256']}: "
            "the file is damaged or another one. What to do: export or copy the weights again."
        )
    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise WeightsError(
            f"{path} is no .safetensors ({error}). What to do: export or copy the weights again."
        ) from error
    if faults := describe_faults(read_state(state)):
        raise WeightsError(
            f"{path} holds {faults}. Allowed: finite numbers. What to do: the training that wrote "
            "it went wrong: take the weights of an earlier one, or train again."
        )
    return state


def _fill(model: Model, state: Mapping[str, Tensor], folder: Path) -> Model:
    """Load a state that must fit to the last key and shape."""
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape)
    if missing or unexpected or wrong:
        raise WeightsError(
            f"{folder / WEIGHTS_FILE} does not fit {DESCRIPTION_FILE}: missing {_say(missing)}; "
            f"unexpected {_say(unexpected)}; of another shape {_say(wrong)}. "
            "What to do: export the weights again with this version."
        )
    model.load_state_dict(dict(state))
    return model


def _say(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
