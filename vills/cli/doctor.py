"""`vills doctor`: what will bite here, and what to do about it."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add_doctor(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--probe", action="store_true", help="also look from two nodes, by a job of a minute"
    )
    parser.add_argument("--json", action="store_true", help="for programs")


def _doctor(arguments: Arguments) -> int:
    from vills.runner.doctor import format_findings
    from vills.runner.doctor.examine import examine

    findings = examine(Path.cwd(), probe=arguments.probe)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(format_findings(findings))
    return int(any(finding.level == "fault" for finding in findings))


COMMANDS = (
    Command(
        name="doctor",
        summary="Say what will bite on this cluster and machine, each with its remedy",
        reads="SLURM's configuration, slurm/*.yaml, params.yaml, mounts, environment variables",
        writes="nothing that stays; a file in runs/ for a moment",
        needs="nothing; without SLURM it looks at the rest. The status is 1 if there is a fault",
        add_arguments=_add_doctor,
        run=_doctor,
    ),
)
