"""Scores over the varied value: a panel per data set and group, ours beside the paper's."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from vills.config.sweep import ColumnConfig, PointConfig, SweepConfig
from vills.report.figures import COLOURS, build_png
from vills.report.sweep_grid import Cell, Cells
from vills.report.sweep_labels import render_mathtext

CAPTION = (
    "Solid, left axis: ours, with one standard deviation where there are several seeds. Dashed, "
    "right axis: the paper's, where it has scores. The axes differ: compare shapes here, and "
    "levels in the tables. Values are drawn at equal distances."
)


@dataclass(frozen=True)
class _Panel:
    group: str
    head: str
    points: Mapping[str, PointConfig]
    columns: Mapping[str, ColumnConfig]

    @property
    def has_published(self) -> bool:
        """Whether the paper has a score for any of its places."""
        return any(key in point.published for key in self.columns for point in self.points.values())


def build_trend(sweep: SweepConfig, cells: Cells) -> bytes:
    """Draw a PNG, the same bytes for the same numbers; empty if no point has an x."""
    rows = _arrange(sweep)
    if not rows:
        return b""
    if max(map(len, rows)) == 1:
        rows = [[panel for row in rows for panel in row]]
    width = max(map(len, rows))
    figure, axes = plt.subplots(
        len(rows),
        width,
        figsize=(4.4 * width, 2.7 * len(rows) + 0.4),
        squeeze=False,
        layout="constrained",
    )
    labels: list[str] = []
    for panels, line in zip(rows, axes, strict=True):
        for axis in line[len(panels) :]:
            axis.axis("off")
        for panel, axis in zip(panels, line, strict=False):
            labels += [c.label for c in panel.columns.values() if c.label not in labels]
            _draw(axis, panel, cells, labels)
    handles = [
        Line2D([], [], color=COLOURS[i % len(COLOURS)], label=render_mathtext(label))
        for i, label in enumerate(labels)
    ]
    styles = (("-", "ours (left axis)"), ("--", "paper (right axis)"))
    has_published = any(panel.has_published for panels in rows for panel in panels)
    for style, label in styles if has_published else ():
        handles.append(Line2D([], [], color="#4f4f4f", ls=style, label=label))
    num = min(len(handles), 2 * width)
    figure.legend(handles=handles, loc="outside lower center", ncols=num, frameon=False)
    return build_png(figure)


def _arrange(sweep: SweepConfig) -> list[list[_Panel]]:
    """Arrange rows of panels: a row per table and data set, a panel per group that has places."""
    rows = []
    for key, table in sweep.tables.items():
        groups: dict[str, dict[str, PointConfig]] = {}
        for name, point in sweep.list_points(key).items():
            if point.x is not None:
                groups.setdefault(point.group, {})[name] = point
        heads = dict.fromkeys(column.head for column in table.columns.values())
        for head in heads if groups else ():
            columns = {k: column for k, column in table.columns.items() if column.head == head}
            rows.append([_Panel(g, head, points, columns) for g, points in groups.items()])
    return rows


def _draw(axis: Any, panel: _Panel, cells: Cells, labels: Sequence[str]) -> None:
    points = dict(sorted(panel.points.items(), key=lambda item: float(item[1].x or 0)))
    places = list(range(len(points)))
    right = axis.twinx() if panel.has_published else None
    num_ours = 0
    for key, column in panel.columns.items():
        colour = COLOURS[labels.index(column.label) % len(COLOURS)]
        own = [cells.get((name, key), Cell()) for name in points]
        num_ours += sum(cell.mean is not None for cell in own)
        # NaN leaves a gap: no line is drawn through what is missing
        axis.errorbar(
            places,
            [math.nan if cell.mean is None else 100 * cell.mean for cell in own],
            yerr=[0.0 if cell.std is None else 100 * cell.std for cell in own],
            color=colour,
            lw=1.6,
            marker="o",
            markersize=3.5,
            capsize=2,
        )
        if right is not None:
            published = [point.published.get(key, math.nan) for point in points.values()]
            right.plot(places, published, "--", color=colour, lw=1.1, marker="s", markersize=2.5)
    if not num_ours:
        axis.set_yticks([])
        axis.text(0.02, 0.03, "ours: no score yet", transform=axis.transAxes, fontsize=8)
    title = f"{panel.head}, {panel.group}" if panel.group else panel.head
    axis.set_title(render_mathtext(title), fontsize=10, loc="left")
    # what the labels say is varied, such as λ2 of 'w/ L^m, λ2 = 1.0', if they agree
    found = [re.search(r"(\S+) = \S+$", point.label) for point in points.values()]
    names = {match[1] for match in found if match}
    axis.set_xlabel(render_mathtext(names.pop() if len(names) == 1 else ""), fontsize=9)
    axis.set_xticks(places, [f"{point.x:g}" for point in points.values()])
    axis.set_xlim(-0.4, len(points) - 0.6)
    axis.grid(alpha=0.25)
    for side in [axis] if right is None else [axis, right]:
        side.tick_params(labelsize=8)
        side.spines[["top"]].set_visible(False)
