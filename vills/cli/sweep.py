"""`python sweeps/launch.py`: sweeps, and what can be done with them."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from vills.config.overrides import check_repeats
from vills.config.resources import PREFIX
from vills.endings import run_main
from vills.errors import UserError
from vills.runner.clusters.jobs import select_cluster
from vills.runner.plan.context import LaunchContext
from vills.runner.sweeps.report import build_report
from vills.runner.sweeps.sweep import FOLDER, list_records
from vills.runner.sweeps.sweeping import (
    build_sweep_plan,
    cancel_sweep,
    find_logs,
    launch_sweep,
    list_over,
    load_sweep_state,
)
from vills.runner.sweeps.text import render_plan, render_state
from vills.runner.sweeps.track import sync_open_runs
from vills.runner.sweeps.tracking import sync_report, sync_sweep

POLL_SECONDS = 5.0
ACTIONS = ("status", "logs", "cancel", "report", "reconcile")
EPILOG = """\
  launch.py NAME [key=value ...]     launch a sweep, or attach to it: submit what is missing
  launch.py NAME --plan              what there is to do and what it costs; nothing is submitted
  launch.py status [NAME] [--watch]  state of every point
  launch.py logs NAME POINT [STAGE]  log files of a point's jobs, and their last lines
  launch.py cancel NAME [POINT ...]  cancel its jobs; finished runs are kept
  launch.py report NAME              its tables, with the published numbers
  launch.py reconcile                end runs in MLflow whose jobs are over

NAME is a file of sweeps/, or the path of your own .yaml. key=value changes the sweep (seeds=[0,1]),
the parameters (pretrain.epochs=10, profile=paper_vits) or the jobs (slurm.pretrain.nodes=2).
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Give one command; the exit status."""

    def work() -> int:
        action, parsed = parse_words(list(sys.argv[1:] if arguments is None else arguments))
        return _RUN[action](parsed)

    return run_main("launch.py", work)


def parse_words(words: Sequence[str]) -> tuple[str, argparse.Namespace]:
    """Return what is to be done (`launch`, or one of ACTIONS), and with what."""
    if words and words[0] in ACTIONS:
        return words[0], _build_action_parser(words[0]).parse_args(words[1:])
    return "launch", _build_launch_parser().parse_intermixed_args(words)


def _build_launch_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="launch.py",
        description="Launch the points of a sweep as jobs; nothing is computed twice.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help=f"a sweep, or one of {', '.join(ACTIONS)}")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--plan", action="store_true", help="show what is to be done, and stop")
    parser.add_argument("--cluster", default="", help="slurm (if found: default), local or debug")
    parser.add_argument(
        "--max-parallel", type=_parse_count, default=0, metavar="N", help="jobs per stage at once"
    )
    parser.add_argument(
        "--retry", choices=("failed",), help="resubmit failed, lost, cancelled jobs"
    )
    stay = parser.add_mutually_exclusive_group()
    stay.add_argument("--wait", action="store_true", help="wait until all jobs have ended")
    stay.add_argument("--detach", action="store_true", help="follow jobs in a background process")
    return parser


def _build_action_parser(action: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"launch.py {action}")
    if action == "reconcile":
        return parser
    optional = action == "status"
    parser.add_argument("name", nargs="?" if optional else None, help="a sweep that was launched")
    if action == "status":
        parser.add_argument("--watch", action="store_true", help="repeat until all jobs have ended")
    if action == "logs":
        parser.add_argument("point")
        parser.add_argument("stage", nargs="?", default="", help="STAGE or STAGE@DATASET")
        parser.add_argument("--lines", type=_parse_count, default=20, metavar="N")
    if action == "cancel":
        parser.add_argument("points", nargs="*", metavar="POINT")
    if action == "report":
        parser.add_argument("--out", type=Path, help="folder (default: below runs/)")
    return parser


def _launch(arguments: argparse.Namespace) -> int:
    words: list[str] = arguments.overrides
    check_repeats(words)
    context = LaunchContext(Path.cwd(), slurm=[word for word in words if word.startswith(PREFIX)])
    overrides = [word for word in words if not word.startswith(PREFIX)]
    if arguments.plan:
        state = build_sweep_plan(context, arguments.name, overrides)
        print(render_plan(state, get_resources=context.get_resources))
        return 0
    state = launch_sweep(
        context,
        arguments.name,
        overrides,
        cluster=select_cluster(arguments.cluster),
        max_parallel=arguments.max_parallel,
        retry=arguments.retry == "failed",
    )
    if arguments.wait:
        return _watch(context, state.sweep.name)
    print(render_state(state))
    if arguments.detach:
        print(f"a background process follows it; see {_detach(context, state.sweep.name)}")
        return 0
    return _finish(context, state.sweep.name)


def _detach(context: LaunchContext, name: str) -> Path:
    """Leave `status NAME --watch` behind, which outlives this terminal; the path of its log."""
    path = context.runs / FOLDER / f"{name}.log"
    with path.open("ab") as log:
        subprocess.Popen(
            [sys.executable, "sweeps/launch.py", "status", name, "--watch"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=context.project,
            start_new_session=True,
        )
    return path


def _status(arguments: argparse.Namespace) -> int:
    context = LaunchContext(Path.cwd())
    if arguments.watch and arguments.name:
        return _watch(context, arguments.name)
    names = [arguments.name] if arguments.name else list_records(context.runs)
    if not names:
        raise UserError(f"no sweep was launched here ({context.runs})")
    for name in names:
        print(render_state(load_sweep_state(context, name)), end="\n\n" if len(names) > 1 else "\n")
    return 0


def _watch(context: LaunchContext, name: str) -> int:
    """Show the table again and again; the status is 1 if anything is over without a result."""
    shown = ""
    while True:
        state = load_sweep_state(context, name)
        text = render_state(state)
        if text != shown:
            shown = text
            if sys.stdout.isatty():
                print("\x1b[H\x1b[2J", end="")
            print(time.strftime("%H:%M:%S"), text, flush=True)
        sync_sweep(context, state)
        if state.is_over():
            break
        time.sleep(POLL_SECONDS)
    _finish(context, name)
    return 1 if list_over(state) else 0


def _finish(context: LaunchContext, name: str) -> int:
    """Tell the tracker, and write the tables as soon as anything is in them."""
    state = load_sweep_state(context, name)
    sync_sweep(context, state, every=0.0)
    if any(state.is_done(label) for label in state.plans):
        print(f"tables: python sweeps/launch.py report {name}")
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    paths = find_logs(
        LaunchContext(Path.cwd()), arguments.name, point=arguments.point, stage=arguments.stage
    )
    if not paths:
        print("no job of this point has written anything yet")
    for path in paths:
        print(f"== {path}")
        lines = path.read_text(errors="replace").splitlines()
        print("\n".join(lines[-arguments.lines :] if arguments.lines else lines))
    return 0


def _cancel(arguments: argparse.Namespace) -> int:
    jobs = cancel_sweep(LaunchContext(Path.cwd()), arguments.name, points=arguments.points)
    print(f"{len(jobs)} job(s) cancelled: {', '.join(jobs)}" if jobs else "no job to cancel")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    context = LaunchContext(Path.cwd())
    state = load_sweep_state(context, arguments.name)
    out = arguments.out or context.runs / FOLDER / arguments.name
    paths = build_report(state, out=out)
    sync_report(context, state, paths)
    markdown = next(path for path in paths if path.suffix == ".md")
    print(markdown.read_text())
    print("\n".join(str(path) for path in paths))
    return 0


def _reconcile(_: argparse.Namespace) -> int:
    return sync_open_runs(LaunchContext(Path.cwd()), say=print)


def _parse_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 to 999999")
    return int(text)


_RUN: dict[str, Callable[[argparse.Namespace], int]] = {
    "launch": _launch,
    "status": _status,
    "logs": _logs,
    "cancel": _cancel,
    "report": _report,
    "reconcile": _reconcile,
}
