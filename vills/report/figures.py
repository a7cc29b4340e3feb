"""Curves as PNG, the same bytes for the same numbers."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Label -> (x, y)."""
Bands = Mapping[str, tuple[Sequence[float], Sequence[float]]]
"""Label -> (low, high) around its line."""

COLOURS = ("#1f6f8b", "#d1495b", "#66a182", "#edae49", "#7a5195", "#4f4f4f", "#c8553d", "#2d936c")
_DASHES = ("-", "--", ":")
MAX_INSIDE = 6
"""Lines whose names fit inside a panel; those of more stand beside it."""


def build_curves(
    panels: Mapping[str, Series],
    *,
    x_label: str,
    columns: int = 3,
    smooth: int = 1,
    title: str = "",
    bands: Mapping[str, Bands] | None = None,
) -> bytes:
    """Draw a PNG with a panel for each set of lines that has any, by its title.

    `bands` has shaded bands of the lines by the title of their panel; `smooth` is the number of
    points that a line is averaged over.
    """
    panels = {name: series for name, series in panels.items() if series}
    rows = -(-len(panels) // columns)
    width = 5.4 if max(map(len, panels.values()), default=0) > MAX_INSIDE else 4.2
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, 2.7 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    if title:
        figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    for axis, (name, series) in zip(axes.flat, panels.items(), strict=False):
        shades = (bands or {}).get(name, {})
        for number, (label, (x, y)) in enumerate(series.items()):
            xs, ys = _smooth(x, y, smooth)
            colour = COLOURS[number % len(COLOURS)]
            dashes = _DASHES[number // len(COLOURS) % len(_DASHES)]
            marker = "o" if len(xs) < 25 else None
            axis.plot(
                xs, ys, dashes, label=label, color=colour, lw=1.6, marker=marker, markersize=3
            )
            if label in shades:
                low, high = (np.asarray(edge, dtype=float) for edge in shades[label])
                axis.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
        axis.set_title(name, fontsize=10, loc="left")
        axis.set_xlabel(x_label, fontsize=8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if len(series) > MAX_INSIDE:
            axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
        elif len(series) > 1:
            axis.legend(fontsize=7, frameon=False)
    return build_png(figure)


def build_png(figure: Figure) -> bytes:
    """Return a figure's bytes, and close it."""
    buffer = io.BytesIO()
    # The writer's name and version would make the bytes depend on the installation.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
    return buffer.getvalue()


def _smooth(x: Sequence[float], y: Sequence[float], window: int) -> tuple[np.ndarray, np.ndarray]:
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if window <= 1 or len(ys) < 4 * window:
        return xs, ys
    kernel = np.ones(window) / window
    return xs[window - 1 :], np.convolve(ys, kernel, mode="valid")
