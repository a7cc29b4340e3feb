"""Fills an encoder from a published file, or says all that is wrong with the file."""

from dataclasses import dataclass
from pathlib import Path

from vills.config.convention import NAMED, Convention, parse_convention, parse_metadata
from vills.models.description import WeightsError
from vills.models.encoder import Encoder
from vills.models.published.convert import (
    Grid,
    convert_normalisation,
    convert_positions,
    has_positions,
)
from vills.models.published.coverage import Mismatch, find_giveaways, find_mismatch, list_sorted
from vills.models.published.layouts import HEADS, LAYOUTS, Layout, State, has_qkv_bias
from vills.models.published.tensor_file import TensorFile, find_sizes, read_tensors


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a published file are in the encoder, and which are not."""

    file: str
    layout: str
    wrapper: str
    """Part of the file that was used, such as teacher; empty: the file as it is."""
    num_used: int
    """Tensors of the file that the encoder holds."""
    dropped: list[str]
    """Tensors of the file that belong to no encoder: heads, decoders, mask tokens."""
    random: list[str]
    """Tensors of the encoder that the layout lacks and that keep their random start."""
    zero: list[str]
    """Biases of the encoder that the file's architecture lacks, which is the same as zeros."""
    normalisation: str
    """Of pixels, that the file expects: half as here, or imagenet, folded into the embedding."""
    file_grid: tuple[int, int]
    """Patches down and across of the file's position table."""
    grid: tuple[int, int]
    """The encoder's, to which the table is resampled if they differ."""


@dataclass(frozen=True)
class Fit:
    """A file's tensors under the encoder's names, and how they fit."""

    state: State
    dropped: list[str]
    random: list[str]
    zero: list[str]
    grid: Grid | None
    """Of the file's position table."""
    mismatch: Mismatch


def load_published(
    encoder: Encoder, path: Path, *, layout: str, normalisation: str = "publisher"
) -> LoadReport:
    """Fill `encoder` from a published file, its position table resampled to the encoder's grid.

    Args:
        encoder: of the file's width, depth and patch size.
        path: a .safetensors, or a file of torch.save, which is read as data only.
        layout: one of vills.config.model.WEIGHT_LAYOUTS.
        normalisation: of the pixels that the file expects, one of NORMALISATIONS there.

    Returns:
        What was used, dropped and left at random.

    Raises:
        WeightsError: if the file is unreadable, or any tensor is missing, left over, of another
            shape or not finite; it lists all of them. The encoder is then unchanged.
    """
    if layout not in LAYOUTS:
        raise WeightsError(
            f"layout {layout!r} is not allowed. Allowed: {', '.join(LAYOUTS)}. "
            "What to do: choose the layout whose names the file's tensors have."
        )
    file, own = read_tensors(path), encoder.vit.state_dict()
    fit = compute_fit(file.state, LAYOUTS[layout], own=own, grid=encoder.grid)
    if fit.mismatch:
        raise WeightsError(_explain(file, layout, fit, own=own, grid=encoder.grid))
    _check_heads(encoder, file, LAYOUTS[layout])
    if normalisation == "publisher":
        normalisation = LAYOUTS[layout].normalisation or _read_normalisation(file)
    state = convert_normalisation(fit.state) if normalisation == "imagenet" else fit.state
    encoder.vit.load_state_dict({**{name: own[name] for name in fit.random}, **state})
    assert fit.grid is not None, "a table without a grid is a mismatch"
    return LoadReport(
        file=path.name,
        layout=layout,
        wrapper=file.wrapper,
        num_used=len(file.state) - len(fit.dropped),
        dropped=fit.dropped,
        random=fit.random,
        zero=fit.zero,
        normalisation=normalisation,
        file_grid=fit.grid,
        grid=encoder.grid,
    )


def _read_normalisation(file: TensorFile) -> str:
    """Read from a file's metadata which pixels it expects: `vills export` writes that.

    Raises:
        WeightsError: it does not say, or says something else than the two that can be folded.
    """
    said = parse_metadata(file.path.name, file.metadata)
    for name in ("imagenet", "half"):
        known = parse_convention("", NAMED[name])
        _, wrong = said.join(known)
        if not said.missing and not wrong:
            return name
    told = f"says {said.describe()!r}" if said != Convention() else "does not say"
    raise WeightsError(
        f"{file.path} {told} how its pixels are normalised, and models of timm differ. Allowed: "
        "normalisation imagenet or half. What to do: set it to what timm.data."
        "resolve_model_data_config says of the model: imagenet for mean 0.485 0.456 0.406, half "
        "for 0.5."
    )


def compute_fit(state: State, layout: Layout, *, own: State, grid: Grid) -> Fit:
    """Convert a file's tensors as `layout` and compare them with the encoder's `own`."""
    dropped = list_sorted({name for name in state if layout.is_dropped(name)})
    kept = {name: tensor for name, tensor in state.items() if not layout.is_dropped(name)}
    absent, used = layout.find_missing(kept), layout.convert(kept)
    problems, old = [], None
    if has_positions(used):
        rows = used["pos_embed"].shape[1]
        used, old = convert_positions(used, layout, grid=grid)
        if old is None:
            problems = [
                f"pos_embed of {rows} rows is not a patch grid (allowed: a square, one twice as "
                f"high as wide, or {grid[0]}x{grid[1]}, with the layout's rows for prefix tokens)"
            ]
    # area tokens, which a layout may lack
    random = sorted({"reg_token"} - used.keys())
    expected = {name: own[name] for name in own.keys() - set(random)}
    mismatch = find_mismatch(used, expected, absent, problems=problems)
    zero = [name for name in used if name.endswith(".qkv.bias") and not has_qkv_bias(kept)]
    return Fit(used, dropped, random, list_sorted(set(zero)), old, mismatch)


def _explain(file: TensorFile, layout: str, fit: Fit, *, own: State, grid: Grid) -> str:
    """All names, what the file seems to be, and the setting that would help."""
    text = f"{file.path} does not fit as layout {layout}: {fit.mismatch.describe()}."
    giveaways = find_giveaways(file.state)
    if giveaways:
        return f"{text} What to do: {'; '.join(giveaways)}."
    others = [
        name
        for name, other in LAYOUTS.items()
        if name != layout and not compute_fit(file.state, other, own=own, grid=grid).mismatch
    ]
    if others:
        return f"{text} What to do: set its layout: it fits {' and '.join(others)}."
    settings = find_sizes(fit.state).build_settings(find_sizes(own))
    if settings:
        return (
            f"{text} What to do: set the file's sizes, {' '.join(settings)} (image sides must be "
            "multiples of the patch size), and pretrain.model.num_heads to the publisher's."
        )
    return f"{text} What to do: check the layout and the file (see docs/weights.md)."


def _check_heads(encoder: Encoder, file: TensorFile, layout: Layout) -> None:
    """Refuse a number of heads that is known to be wrong: it fits every tensor all the same."""
    width = find_sizes(encoder.vit.state_dict()).width
    if layout.known_heads and encoder.num_heads != HEADS.get(width, encoder.num_heads):
        raise WeightsError(
            f"{file.path} is of layout {layout.name} and width {width}, whose ViT has "
            f"{HEADS[width]} attention heads, the encoder {encoder.num_heads}. What to do: set "
            f"pretrain.model.num_heads={HEADS[width]}."
        )
