"""`vills run`, `vills status`: stages of the DAG."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("stage", help="miniature, curate, lse, pretrain, finetune@DATASET, ...")


def _run(arguments: Arguments) -> int:
    from vills.launch.local import launch_stage

    stage, _, item = arguments.stage.partition("@")
    return launch_stage(Path.cwd(), stage=stage, item=item)


def _status(arguments: Arguments) -> int:
    from vills.launch.status import compute_status, format_status

    print(format_status(compute_status(Path.cwd())))
    return 0


COMMANDS = (
    Command(
        name="run",
        summary="Run one stage, go on with it, or collect it if it is finished",
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
)
