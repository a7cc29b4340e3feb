"""What every format says around a sweep's tables: origin, what is missing, what marks mean."""

from dataclasses import dataclass

from vills.config.sweep import SweepConfig
from vills.report.sweep_grid import NOT_PUBLISHED, Grids


@dataclass(frozen=True, kw_only=True)
class SweepFacts:
    """What the tables cannot know of their numbers."""

    params: str
    """Profile, or a digest of the parameters."""
    commit: str
    date: str
    """Given, so that the same numbers give the same bytes."""
    command: str = ""
    """What was given; empty: the sweep's own."""
    notes: tuple[str, ...] = ()
    """What a reader must be told: that the parameters are not of the paper's scale, for example."""


def build_origin(name: str, *, sweep: SweepConfig, facts: SweepFacts) -> str:
    """Where the numbers come from, in one line."""
    seeds = ", ".join(map(str, sweep.seeds)) or "of the parameters"
    return (
        f"Sweep: {name}. Parameters: {facts.params}. Commit: {facts.commit}. Date: {facts.date}. "
        f"Seeds: {seeds}. Command: {facts.command or sweep.command}."
    )


def build_legend(grids: Grids) -> str:
    """What the marks mean; only of those that occur."""
    parts = ["Percent; bold: the best of its column, ours and the paper's apart"]
    if any(entry.cell.std is not None for entry in grids.entries):
        parts.append("±: sample standard deviation over seeds (n - 1)")
    if grids.num_partial:
        parts.append("n of m seeds: the others have no score")
    if any(entry.published is None for entry in grids.entries):
        parts.append(f"{NOT_PUBLISHED}: not given by the paper")
    return "; ".join(parts) + "."


def build_missing(grids: Grids) -> str:
    """How many cells have no score, or not all of them."""
    total = len(grids.entries)
    if not grids.num_missing and not grids.num_partial:
        return f"All {total} cells have the scores of all seeds."
    text = f"Missing: {grids.num_missing} of {total} cells."
    if grids.num_partial:
        text += f" Scores of some seeds only: {grids.num_partial} cells."
    return text
