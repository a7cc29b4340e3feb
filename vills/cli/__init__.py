"""The `vills` command: one file beside this one per group of sub-commands."""

import argparse
import inspect
from collections.abc import Sequence

import vills
from vills.cli import data, evaluate, run, weights
from vills.endings import run_main

COMMANDS = {
    "run": run.set_up_run,
    "check": run.set_up_check,
    "status": run.set_up_status,
    "repro": run.set_up_repro,
    "explain": run.set_up_explain,
    "configure": run.set_up_configure,
    "data": data.set_up_data,
    "weights": weights.set_up_weights,
    "extract": weights.set_up_extract,
    "export": weights.set_up_export,
    "evaluate": evaluate.set_up_evaluate,
    "scores": evaluate.set_up_scores,
    "sheet": evaluate.set_up_sheet,
    "track": run.set_up_track,
    "ui": run.set_up_ui,
    "doctor": run.set_up_doctor,
}
"""What adds a command's arguments and its handler, by name; its docstring is the help."""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `vills` and of all its sub-commands."""
    parser = argparse.ArgumentParser(
        prog="vills",
        description="One encoder for person re-identification from unlabelled images and videos.",
        epilog="The whole pipeline is `dvc repro`. `vills COMMAND --help` says what a command "
        "reads, writes and needs.",
    )
    parser.add_argument("--version", action="version", version=f"vills {vills.__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, add_arguments in COMMANDS.items():
        summary, _, details = inspect.cleandoc(add_arguments.__doc__ or "").partition("\n\n")
        command = subparsers.add_parser(
            name,
            help=summary.removesuffix("."),
            description=summary,
            epilog=details.replace("\n        ", " "),  # a line that the docstring broke
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command; the exit status."""

    def work() -> int:
        parsed = build_parser().parse_args(arguments)
        status: int = parsed.handler(parsed)
        return status

    return run_main("vills", work)
