"""`vills scores`: the score tables."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("items", nargs="*", metavar="DATASET", help="default: all evaluated ones")
    parser.add_argument(
        "--splits", action="store_true", help="the rows of each split, not their means"
    )


def _run(arguments: Arguments) -> int:
    from vills.config.load import PARAMS_FILE, load_params
    from vills.report.scores import format_scores, load_scores

    project = Path.cwd()
    # scores may have been pulled into a folder without parameters
    order = tuple(load_params(project).evaluate) if (project / PARAMS_FILE).is_file() else ()
    rows = load_scores(project, items=arguments.items, order=order)
    print(format_scores(rows, splits=arguments.splits))
    return 0


COMMANDS = (
    Command(
        name="scores",
        summary="Print the retrieval scores by data set and protocol, each with its run",
        reads="artifacts/metrics/evaluate_*.json, artifacts/evaluate/*/results.json; the order "
        "of data sets from params.yaml, if it is there",
        writes="nothing",
        needs="a finished evaluate stage",
        add_arguments=_add,
        run=_run,
    ),
)
