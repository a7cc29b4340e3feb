"""`vills run`, `vills status`: stages of the DAG."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument(
        "stages",
        nargs="+",
        metavar="STAGE",
        help="miniature, curate, lse, pretrain, finetune@DATASET, ...; several: one by one",
    )


def _run(arguments: Arguments) -> int:
    from vills.runner.plan.launch import launch_stage

    for name in arguments.stages:
        stage, _, item = name.partition("@")
        launch_stage(Path.cwd(), stage=stage, item=item)
    return 0


def _status(arguments: Arguments) -> int:
    from vills.runner.plan.launch import compute_status, format_status

    print(format_status(compute_status(Path.cwd())))
    return 0


def _add_repro(parser: ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="as of `dvc repro`")
    parser.add_argument("--cluster", default="", help="slurm, local or debug (default: what is)")
    parser.add_argument(
        "--detach", action="store_true", help="leave with status 75 while jobs are left"
    )
    parser.add_argument("--retry", choices=("failed",), help="ask again for what is over and bad")


def _repro(arguments: Arguments) -> int:
    from vills.runner.plan.launch import reproduce

    return reproduce(
        Path.cwd(),
        targets=arguments.targets,
        cluster=arguments.cluster,
        detach=arguments.detach,
        retry=arguments.retry == "failed",
    )


def _add_explain(parser: ArgumentParser) -> None:
    parser.add_argument(
        "cell", help="SWEEP/POINT/COLUMN of a sweep's table, or DATASET/PROTOCOL/MODEL/METRIC"
    )


def _explain(arguments: Arguments) -> int:
    from vills.runner.sweeps.explain import explain_cell

    print(explain_cell(Path.cwd(), arguments.cell))
    return 0


COMMANDS = (
    Command(
        name="run",
        summary="Run stages, go on with them, or collect them if they are finished",
        reads="params.yaml, the stage's inputs (artifacts/, data/inventories/)",
        writes="runs/STAGE/FINGERPRINT/ and the stage's outs below artifacts/ or report/",
        needs="the stages before it; `dvc repro` runs them all in order",
        add_arguments=_add_run,
        run=_run,
    ),
    Command(
        name="status",
        summary="Say of every stage which run it names and whether it is done, begun or waits",
        reads="params.yaml, artifacts/, runs/",
        writes="nothing",
        needs="nothing; it works on an empty clone",
        add_arguments=lambda parser: None,
        run=_status,
    ),
    Command(
        name="repro",
        summary="Run `dvc repro` with its heavy stages as jobs of a cluster, waiting or --detach",
        reads="dvc.yaml, params.yaml, slurm/*.yaml",
        writes="runs/, and what `dvc repro` writes",
        needs="sbatch, or this machine's own queue (--cluster local)",
        add_arguments=_add_repro,
        run=_repro,
    ),
    Command(
        name="explain",
        summary="Trace a number back to its runs, commits, data, parameters, jobs and GPU-hours",
        reads="runs/, and artifacts/ for a number of `vills scores`",
        writes="nothing",
        needs="the runs behind the number",
        add_arguments=_add_explain,
        run=_explain,
    ),
)
