"""`vills track`, `vills ui`: MLflow."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _sync(arguments: Arguments) -> int:
    from vills.runner.sweeps.track import sync_all

    return sync_all(Path.cwd())


def _add_ui(parser: ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=5000)


def _ui(arguments: Arguments) -> int:
    from vills.runner.sweeps.track import serve_ui

    return serve_ui(Path.cwd(), port=arguments.port)


COMMANDS = (
    Command(
        name="track",
        summary="Replay the journals of all runs into MLflow; every point arrives once",
        reads="runs/",
        writes="the MLflow store (MLFLOW_TRACKING_URI, default mlflow.db here)",
        needs="nothing; a run never waits for the tracker",
        add_arguments=lambda parser: None,
        run=_sync,
    ),
    Command(
        name="ui",
        summary="Serve the MLflow UI on 127.0.0.1",
        reads="the MLflow store (mlflow.db, mlartifacts/)",
        writes="nothing",
        needs="a free port",
        add_arguments=_add_ui,
        run=_ui,
    ),
)
