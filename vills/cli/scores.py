"""`vills scores`: the score table."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("items", nargs="*", metavar="DATASET", help="default: all evaluated ones")


def _run(arguments: Arguments) -> int:
    from vills.report.scores import format_scores, load_scores

    print(format_scores(load_scores(Path.cwd(), items=arguments.items)))
    return 0


COMMANDS = (
    Command(
        name="scores",
        summary="Print the retrieval scores, each with its run's fingerprint",
        reads="artifacts/metrics/evaluate_*.json",
        writes="nothing",
        needs="a finished evaluate stage",
        add_arguments=_add,
        run=_run,
    ),
)
