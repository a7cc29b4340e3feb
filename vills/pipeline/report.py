"""Stage report: tables and pictures of everything above."""

from pathlib import Path
from typing import TYPE_CHECKING

from vills.config.evaluate import ReportConfig
from vills.pipeline import ARTIFACTS, Stage, StageContext

if TYPE_CHECKING:
    from vills.config.params import Params


def run(context: StageContext) -> None:
    """Write report/index.html and report/tables.md."""
    from vills.report.build import build_report
    from vills.report.inputs import ReportInputs

    evaluated = context.sections["evaluate"]
    inputs = ReportInputs(
        artifacts=context.inputs["metrics"].parent,
        items={item: entry.model for item, entry in evaluated.items()},
        sources={item: entry.source for item, entry in evaluated.items()},
        models=context.sections["finetune"],
    )
    config = context.config("report", ReportConfig)
    build_report(inputs, config=config, out=context.outs["report"], progress=context.progress)


def _inputs(params: "Params", item: str) -> dict[str, Path]:
    inputs = {
        "curated": ARTIFACTS / "curated",
        "metrics": ARTIFACTS / "metrics",
    }
    if params.lse.enabled:
        inputs["lse"] = ARTIFACTS / "lse"
    if params.pretrain.enabled:
        inputs |= {"pretrain": ARTIFACTS / "pretrain"}
        inputs |= {"plots_pretrain": ARTIFACTS / "plots" / "pretrain.csv"}
    for name in params.evaluate:
        inputs[f"evaluate_{name}"] = ARTIFACTS / "evaluate" / name
    for name in params.finetune:
        inputs[f"finetune_{name}"] = ARTIFACTS / "finetune" / name
        inputs[f"plots_{name}"] = ARTIFACTS / "plots" / f"finetune_{name}.csv"
    return inputs


STAGE = Stage(
    name="report",
    sections=("evaluate", "finetune", "report"),
    inputs=_inputs,
    publishes={"report": "report"},
    run=run,
)
