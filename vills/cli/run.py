"""Commands on runs (`vills run`, `status`, `repro`, `explain`, `configure`), and their services."""

import json
import re
import socket
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from pathlib import Path


def set_up_run(parser: ArgumentParser) -> None:
    """Run stages, go on with them, or collect them if they are finished.

    reads:  params.yaml, the stage's inputs (artifacts/, data/inventories/)
    writes: runs/STAGE/FINGERPRINT/ and the stage's outs below artifacts/ or report/
    needs:  the stages before it; `dvc repro` runs them all in order
    """
    parser.add_argument(
        "stages",
        nargs="+",
        metavar="STAGE",
        help="miniature, curate, lse, pretrain, finetune@DATASET, ...; several run in order",
    )
    parser.set_defaults(handler=_run)


def _run(arguments: Namespace) -> int:
    from vills.config.checks import check_name
    from vills.runner.plan.launch import launch_stage

    for name in arguments.stages:
        # DVC_STAGE has the path of dvc.yaml before the name, where dvc was called in another folder
        stage, _, item = re.sub(r"^[^@]*dvc\.yaml:", "", name).partition("@")
        if item:
            check_name(f"data set of {stage}", item, "name an entry of params.yaml")
        launch_stage(Path.cwd(), stage=stage, item=item)
    return 0


def set_up_check(parser: ArgumentParser) -> None:
    """Check params.yaml: every name, type and range. The stage of that name does it before others.

    reads:  params.yaml
    writes: artifacts/check.txt, for DVC
    needs:  nothing
    """
    parser.set_defaults(handler=_check)


def _check(_: Namespace) -> int:
    from vills.config.load import PARAMS_FILE, load_params
    from vills.io import save_bytes
    from vills.pipeline import ARTIFACTS

    load_params(Path.cwd())
    # the same whatever the names are: what depends on it is not called anew for a new one
    save_bytes(Path.cwd() / ARTIFACTS / "check.txt", b"params.yaml has nothing to refuse\n")
    print(f"{PARAMS_FILE}: nothing to refuse")
    return 0


def set_up_status(parser: ArgumentParser) -> None:
    """Show the run of every stage, and whether it is done, begun or waits.

    reads:  params.yaml, artifacts/, runs/, git
    writes: runs/.digests.json, so that a file is read once; nothing where that cannot be written
    needs:  nothing; it works on an empty clone
    """
    parser.set_defaults(handler=_status)


def _status(arguments: Namespace) -> int:
    from vills.git import describe_commit, describe_git
    from vills.runner.plan.launch import describe_status

    print(describe_status(Path.cwd()))
    print(f"code: {describe_commit(describe_git(Path.cwd()))}")
    return 0


def set_up_repro(parser: ArgumentParser) -> None:
    """Run `dvc repro` with its long stages as cluster jobs; wait for them, or --detach.

    reads:  dvc.yaml, params.yaml, slurm/*.yaml
    writes: runs/, and what `dvc repro` writes
    needs:  sbatch, or this machine's own queue (--cluster local)
    """
    parser.add_argument("targets", nargs="*", metavar="STAGE", help="targets of `dvc repro`")
    parser.add_argument("--cluster", default="", help="slurm (if found: default), local or debug")
    parser.add_argument(
        "--detach", action="store_true", help="return at once, with status 75 while jobs are left"
    )
    parser.add_argument(
        "--retry", choices=("failed",), help="resubmit failed, lost, cancelled jobs"
    )
    parser.set_defaults(handler=_repro)


def _repro(arguments: Namespace) -> int:
    from vills.runner.plan.launch import run_repro

    return run_repro(
        Path.cwd(),
        targets=arguments.targets,
        cluster=arguments.cluster,
        detach=arguments.detach,
        retry=arguments.retry == "failed",
    )


def set_up_explain(parser: ArgumentParser) -> None:
    """Trace a number back to its runs, commits, data, parameters, jobs and GPU-hours.

    reads:  runs/, and artifacts/ for a number of `vills scores`
    writes: runs/.digests.json, as `vills status`
    needs:  the runs behind the number
    """
    parser.add_argument(
        "cell", help="SWEEP/POINT/COLUMN of a sweep's table, or DATASET/PROTOCOL/MODEL/METRIC"
    )
    parser.set_defaults(handler=_explain)


def _explain(arguments: Namespace) -> int:
    from vills.runner.sweeps.explain import describe_cell

    print(describe_cell(Path.cwd(), arguments.cell))
    return 0


def set_up_configure(parser: ArgumentParser) -> None:
    """Write params.yaml from a profile, with single values changed.

    reads:  the profile, and params.yaml to find changes made by hand
    writes: params.yaml
    needs:  nothing; profiles: tiny, miniature, evidence, datasets, real, paper_vits, paper_vitb
    """
    parser.add_argument("settings", nargs="+", metavar="key=value", help="profile=NAME, values")
    parser.add_argument("--force", action="store_true", help="overwrite changes made by hand")
    parser.set_defaults(handler=_configure)


def _configure(arguments: Namespace) -> int:
    from vills.config.checks import ConfigError
    from vills.config.load import list_profiles, save_params

    settings: list[str] = arguments.settings
    profiles = [s.removeprefix("profile=") for s in settings if s.startswith("profile=")]
    if len(profiles) != 1:
        raise ConfigError(
            f"profile is given {len(profiles)} times. Allowed: once, one of "
            f"{', '.join(list_profiles())}. What to do: vills configure profile=miniature."
        )
    overrides = [s for s in settings if not s.startswith("profile=")]
    path = save_params(Path.cwd(), profile=profiles[0], overrides=overrides, force=arguments.force)
    print(f"wrote {path.name}; `vills status` shows what is to be done")
    return 0


def set_up_track(parser: ArgumentParser) -> None:
    """Send the journals of all runs to MLflow; every point is sent once.

    reads:  runs/
    writes: the MLflow store (MLFLOW_TRACKING_URI, default mlflow.db here)
    needs:  nothing; a run never waits for the tracker
    """
    parser.set_defaults(handler=_sync)


def _sync(arguments: Namespace) -> int:
    from vills.runner.sweeps.track import sync_all

    return sync_all(Path.cwd())


def set_up_ui(parser: ArgumentParser) -> None:
    """Serve the MLflow UI on 127.0.0.1.

    reads:  the MLflow store (mlflow.db, mlartifacts/), runs/
    writes: the MLflow store: the points of sweeps, every half minute
    needs:  a free port
    """
    parser.add_argument("--port", type=int, default=5000)
    parser.set_defaults(handler=_ui)


def _ui(arguments: Namespace) -> int:
    from vills.config.checks import check_range
    from vills.runner.sweeps.track import run_ui

    check_range("--port", arguments.port, low=1, high=65_535, remedy="give a free one")
    _check_port(arguments.port)
    return run_ui(Path.cwd(), port=arguments.port)


def _check_port(port: int) -> None:
    """Refuse a port that the server cannot have, naming one that it can."""
    from vills.config.checks import build_error

    with socket.socket() as probe, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        try:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise build_error(
                f"--port {port}",
                getattr(error, "strerror", "") or str(error),
                "a free port from 1024 to 65535",
                f"vills ui --port {other.getsockname()[1]}, or end what listens there",
            ) from error


def set_up_doctor(parser: ArgumentParser) -> None:
    """Show what will fail on this cluster and machine, each with its remedy.

    reads:  SLURM's configuration, slurm/*.yaml, params.yaml, mounts, environment variables
    writes: a file in runs/, which it removes
    needs:  nothing; without SLURM it checks the rest. The status is 1 if there is a fault
    """
    parser.add_argument(
        "--probe", action="store_true", help="also test two nodes, with a job of one minute"
    )
    parser.add_argument("--json", action="store_true", help="output for programs")
    parser.set_defaults(handler=_doctor)


def _doctor(arguments: Namespace) -> int:
    from vills.runner.doctor import render_findings
    from vills.runner.doctor.examine import run_checks

    findings = run_checks(Path.cwd(), probe=arguments.probe)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(render_findings(findings))
    return int(any(finding.level == "fault" for finding in findings))
