"""Accuracy over the epochs of fine-tuning, initialisations overlaid (supplement Fig. 2)."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vills.config.finetune import FinetuneConfig, list_variants
from vills.data.records import load_manifest
from vills.evaluation.protocols import PROTOCOLS, get_native_protocol
from vills.report.figures import build_curves
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, build_picture

METRICS = {"map": "mAP, %", "rank1": "rank-1, %"}
"""Column of the plot file -> title of its panel."""

Points = dict[int, dict[str, float]]
"""Epoch -> column -> share."""


@dataclass
class AccuracyPlot:
    """Curves of one data set, in percent."""

    lines: dict[str, dict[str, tuple[list[int], list[float]]]] = field(default_factory=dict)
    """Panel -> initialisation -> (epochs, mean over its splits)."""
    bands: dict[str, dict[str, tuple[list[float], list[float]]]] = field(default_factory=dict)
    """Panel -> initialisation -> mean minus and plus the deviation, where there are splits."""

    @property
    def has_curves(self) -> bool:
        """Whether any line has more than its last point."""
        return any(len(x) > 1 for lines in self.lines.values() for x, _ in lines.values())


def build_accuracy(metrics: Mapping[str, Mapping[str, str]], inputs: ReportInputs) -> Section:
    """Build the section: a figure per fine-tuned data set; its title names people and protocol."""
    blocks = []
    for model, config in inputs.models.items():
        people = f"{config.num_val_ids} validation people" if config.num_val_ids else "test people"
        path = inputs.artifacts / "plots" / f"finetune_{model}.csv"
        plot = build_plot(load_points(path), config)
        if not plot.has_curves:
            where = f"{path.stem}.json in artifacts/metrics" if config.num_val_ids else "Scores"
            text = f"{model} was measured on {people} only after its last epoch: see {where}."
            blocks.append(Block(text=text))
            continue
        protocol = find_title(config, inputs.artifacts / "curated" / config.source)
        title = f"{model}, {people}, protocol: {protocol}"
        picture = build_curves(
            plot.lines, x_label="epoch", columns=2, title=title, bands=plot.bands
        )
        caption = f"Accuracy of {people} of {model} per epoch, protocol: {protocol}."
        if plot.bands:
            num = len(config.split_ids)
            caption += f" Lines are means over {num} splits, bands one standard deviation."
        run = metrics.get(f"finetune_{model}", {}).get("fingerprint", "")
        blocks.append(replace(build_picture(picture, caption=caption, plot=True), run=run))
    note = Block(
        text="Recorded during fine-tuning; it selects nothing: always the last epoch is kept."
    )
    return Section("Accuracy", [note, *blocks] if blocks else [])


def find_title(config: FinetuneConfig, curated: Path) -> str:
    """Find the full name of the protocol of the accuracy per epoch."""
    if config.protocol:
        return PROTOCOLS[config.protocol].title
    modality = config.modality
    if modality == "mixed":
        gallery = load_manifest(curated / "manifest.parquet").where(split="gallery")
        modality = "video" if "tracklet" in gallery.column("kind").astype(str) else "image"
    return get_native_protocol(modality).title


def load_points(path: Path) -> dict[str, Points]:
    """Load model variant -> its points."""
    found: dict[str, Points] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values = {column: float(row[column]) for column in METRICS if row[column]}
            found.setdefault(row["initialisation"], {})[int(row["epoch"])] = values
    return found


def build_plot(points: Mapping[str, Points], config: FinetuneConfig) -> AccuracyPlot:
    """Build the curves; variants of one initialisation become one line."""
    groups: dict[str, list[Points]] = {}
    for variant in list_variants(config):
        if variant.name in points:
            groups.setdefault(variant.initialisation, []).append(points[variant.name])
    plot = AccuracyPlot()
    for column, title in METRICS.items():
        for name, curves in groups.items():
            epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
            values = 100 * np.array(
                [[curve[epoch][column] for epoch in epochs] for curve in curves]
            )
            mean, spread = values.mean(axis=0), values.std(axis=0)
            plot.lines.setdefault(title, {})[name] = (epochs, mean.tolist())
            if len(curves) > 1:
                band = ((mean - spread).tolist(), (mean + spread).tolist())
                plot.bands.setdefault(title, {})[name] = band
    return plot
