"""Says of a weights file what it holds and how it would be loaded: `vills weights inspect`."""

from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer

from vills.config.convention import parse_metadata
from vills.config.model import ModelConfig
from vills.models.description import WeightsError
from vills.models.encoder import build_timm_arguments
from vills.models.published.convert import Grid, find_table_grid, has_positions
from vills.models.published.coverage import find_giveaways, list_sorted
from vills.models.published.layouts import HEADS, LAYOUTS, State
from vills.models.published.load import Fit, compute_fit
from vills.models.published.tensor_file import Sizes, TensorFile, find_sizes, read_tensors

_HEADS_FIELD = "pretrain.model.num_heads"


def describe_file(path: Path, *, layout: str = "") -> str:
    """Lines for people: sizes, the layouts that fit, which tensors are used and dropped.

    Args:
        path: a .safetensors, or a file of torch.save.
        layout: look at this layout only; empty: at all.

    Raises:
        WeightsError: if the file is unreadable or fits no layout; it lists all names.
    """
    file = read_tensors(path)
    sizes = _find_sizes(file)
    fits = {name: _fit(file.state, name, sizes) for name in ([layout] if layout else LAYOUTS)}
    good = [name for name, (fit, _) in fits.items() if not fit.mismatch]
    if not good:
        # The layout with the fewest wrong names is the likeliest.
        name = min(fits, key=lambda name: fits[name][0].mismatch.count())
        hints = "; ".join(find_giveaways(file.state)) or "see docs/weights.md"
        raise WeightsError(
            f"{path} with {_say_sizes(sizes)} fits no layout of {', '.join(fits)}. As {name}: "
            f"{fits[name][0].mismatch.describe()}. What to do: {hints}."
        )
    fit, slots = fits[good[0]]
    assert fit.grid is not None, "a table without a grid is a mismatch"
    used = list_sorted({name for name in file.state if name not in fit.dropped})
    heads = HEADS.get(sizes.width, 0)
    lines = {
        "file": str(path),
        "fits layout": ", ".join(good),
        "inside": file.wrapper or "none: tensors at the top level",
        "sizes": _say_sizes(sizes) + (f", heads {heads} (as published)" if heads else ""),
        "positions": f"{fit.grid[0]}x{fit.grid[1]} patches, {slots} rows for prefix tokens",
        "used": f"{len(used)}: {', '.join(used)}",
        "dropped": f"{len(fit.dropped)}: {', '.join(fit.dropped)}",
        "left at random": ", ".join(fit.random) or "nothing",
        "set to zero": ", ".join(fit.zero) or "nothing",
        "pixels": LAYOUTS[good[0]].normalisation or _say_pixels(file),
        "to set": " ".join(sizes.build_settings())
        + (f" {_HEADS_FIELD}={heads}" if heads else f" and {_HEADS_FIELD}, which no file contains"),
    }
    return "\n".join(f"{title:15} {text}" for title, text in lines.items())


def _say_pixels(file: TensorFile) -> str:
    said = parse_metadata(file.path.name, file.metadata).describe()
    return said or "not said: set the file's normalisation to imagenet or half"


def _find_sizes(file: TensorFile) -> Sizes:
    """Sizes under the names of the first layout that tells them.

    Raises:
        WeightsError: if no layout does.
    """
    for layout in LAYOUTS.values():
        sizes = find_sizes(layout.convert(file.state))
        if all(vars(sizes).values()) and sizes.width >= 8:
            return sizes
    hints = "; ".join(find_giveaways(file.state)) or "see docs/weights.md"
    names = ", ".join(list_sorted(set(file.state)))
    raise WeightsError(
        f"{file.path} is not a ViT of a known layout. It holds {len(file.state)} tensors: {names}. "
        f"What to do: {hints}."
    )


def _fit(state: State, name: str, sizes: Sizes) -> tuple[Fit, int]:
    """How a file fits an encoder of its own sizes and grid, and its rows of prefix tokens."""
    layout = LAYOUTS[name]
    used = layout.convert({k: v for k, v in state.items() if not layout.is_dropped(k)})
    found = find_table_grid(used, layout, own=None) if has_positions(used) else None
    slots, grid = found or (0, (1, 1))
    return compute_fit(state, layout, own=_build_own(sizes, grid), grid=grid), slots


def _build_own(sizes: Sizes, grid: Grid) -> State:
    """Names and shapes of an encoder, without its memory."""
    config = ModelConfig(
        width=sizes.width,
        depth=sizes.depth,
        num_heads=HEADS.get(sizes.width, 1),
        patch_size=sizes.patch_size,
        image_size=[side * sizes.patch_size for side in grid],
    )
    with torch.device("meta"):
        vit = VisionTransformer(**build_timm_arguments(config))
    return dict(vit.state_dict())


def _say_sizes(sizes: Sizes) -> str:
    return f"width {sizes.width}, depth {sizes.depth}, patch {sizes.patch_size}"
