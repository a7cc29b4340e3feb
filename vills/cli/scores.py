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
    from vills.report.scores import format_scores, load_scores

    rows = load_scores(Path.cwd(), items=arguments.items)
    print(format_scores(rows, splits=arguments.splits))
    return 0


COMMANDS = (
    Command(
        name="scores",
        summary="Print the retrieval scores by data set and protocol, each with its run",
        reads="artifacts/metrics/evaluate_*.json, artifacts/evaluate/*/results.json",
        writes="nothing",
        needs="a finished evaluate stage",
        add_arguments=_add,
        run=_run,
    ),
)
