"""Files of a sweep's tables, and the facts about their numbers."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from vills.io import load_json
from vills.report.sweep_tables import SweepFacts, save_sweep_report
from vills.runner.store.result import RESULT_NAME
from vills.runner.sweeps.cells import collect_cells
from vills.runner.sweeps.sweep import SweepState


def build_report(state: SweepState, *, out: Path) -> list[Path]:
    """Write a sweep's tables and plot to `out`; missing cells say why they are."""
    return save_sweep_report(
        out,
        name=state.sweep.name,
        sweep=state.sweep.config,
        cells=collect_cells(state),
        facts=collect_facts(state),
    )


def collect_facts(state: SweepState) -> SweepFacts:
    """Return the commits, dates and scale of what the tables hold."""
    runs = sorted(
        {
            found.run
            for plan in state.plans.values()
            for node in plan.values()
            if node.step.stage in ("pretrain", "evaluate")
            and (found := state.states[node.key]).state == "done"
            and found.run is not None
            and (found.run / RESULT_NAME).exists()  # else DVC brought what it would have made
        }
    )
    receipts = [load_json(run / "receipt.json") for run in runs]
    commits = sorted(
        str(git["commit"] or "no git")[:12] + (" with uncommitted changes" if git["dirty"] else "")
        for git in (receipt["git"] for receipt in receipts)
    )
    ended = [load_json(run / RESULT_NAME)["finished_ms"] for run in runs]
    last = datetime.fromtimestamp(max(ended) / 1000, UTC).date().isoformat() if ended else "none"
    command = " ".join(["python sweeps/launch.py", state.sweep.file, *state.sweep.overrides])
    return SweepFacts(
        params=f"{state.sweep.params}, edition {state.sweep.fingerprint[:12]}",
        commit=", ".join(dict.fromkeys(commits)) or "none",
        date=last,
        command=command,
        notes=tuple(_note_scale(state)),
    )


def _note_scale(state: SweepState) -> Iterator[str]:
    """Return what sets these numbers apart from the paper's, whatever their trend."""
    plans = [plan for plan in state.plans.values() if plan]
    if any("miniature" in plan for plan in plans):
        yield (
            "These are people of the embedded, rendered world, not the paper's data sets: the "
            "table shows that the sweep works, not that its numbers compare."
        )
    sections = [p["pretrain"].step.sections["pretrain"] for p in plans if "pretrain" in p]
    widths = sorted({int(section["model"]["width"]) for section in sections})
    if widths and widths[0] < 384:
        epochs = sorted({section["epochs"] for section in sections})
        yield (
            f"The encoder is {', '.join(map(str, widths))} wide (the paper's ViT-S: 384), "
            f"pre-trained for {', '.join(f'{e:g}' for e in epochs)} epochs of few images."
        )
