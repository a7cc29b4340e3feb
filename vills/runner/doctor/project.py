"""The project: parameters, data, weights, tracker."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

from vills.config.load_sweep import list_sweeps, load_sweep
from vills.config.params import Params
from vills.errors import UserError
from vills.runner.doctor.finding import Finding, Level

SECONDS = 2.0
LOOPBACK = ("localhost", "127.0.0.1", "::1")
_GROUP = "project"


def check_folders(params: Params) -> Iterator[Finding]:
    """VILLS_DATA and VILLS_WEIGHTS are there when the parameters need them."""
    needs = {
        "VILLS_DATA": ["curate.root"] if params.curate.root == "data" else [],
        "VILLS_WEIGHTS": list_weights(params),
    }
    for variable, why in needs.items():
        value = os.environ.get(variable, "")
        remedy = f"export {variable}=/path/that/every/node/sees"
        if not why and not value:
            yield Finding(_GROUP, variable, "ok", "not needed by params.yaml")
        elif not value:
            found = f"not set, and params.yaml needs it ({', '.join(why)})"
            yield Finding(_GROUP, variable, "fault", found, remedy)
        elif not os.access(value, os.R_OK | os.X_OK) or not Path(value).is_dir():
            level: Level = "fault" if why else "note"
            yield Finding(_GROUP, variable, level, f"{value} is no readable folder", remedy)
        else:
            lost = [name for name in why if name.startswith("/") or _is_lost(value, name)]
            if lost and variable == "VILLS_WEIGHTS":
                found = f"{value} lacks {', '.join(lost)}"
                yield Finding(_GROUP, variable, "fault", found, "put them there: docs/weights.md")
            else:
                yield Finding(_GROUP, variable, "ok", value)


def _is_lost(folder: str, name: str) -> bool:
    return not (Path(folder) / name).is_file()


def list_weights(params: Params) -> list[str]:
    """Weights files that the parameters name, below VILLS_WEIGHTS."""
    names = [
        params.curate.detector_weights,
        params.lse.keypoint_weights,
        params.lse.segmenter_weights,
        params.pretrain.initial.file,
    ]
    for tuned in params.finetune.values():
        names += [published.file for published in tuned.published.values()]
    names += [scored.onnx_weights for scored in params.evaluate.values()]
    return list(dict.fromkeys(name for name in names if name))


def check_tracker(uri: str | None, *, num_nodes: int) -> Iterator[Finding]:
    """A server answers; what the database lies on is told with the files."""
    name = "tracker"
    if uri is None:
        remedy = "unset VILLS_TRACKING; `vills track` brings in what the journals hold"
        yield Finding(_GROUP, name, "note", "VILLS_TRACKING=off: no curves in MLflow", remedy)
        return
    if not uri.startswith("http"):
        yield Finding(_GROUP, name, "ok", uri)
        return
    if num_nodes > 1 and urlparse(uri).hostname in LOOPBACK:
        found = f"{uri}: the nodes' own loopback, not this machine's; curves stay in journals"
        remedy = "MLFLOW_TRACKING_URI with a name that nodes resolve, or `vills track` here"
        yield Finding(_GROUP, name, "note", found, remedy)
        return
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=SECONDS) as reply:
            yield Finding(_GROUP, name, "ok", f"{uri} answers {reply.status}")
    except urllib.error.HTTPError as error:  # it is there; a password is the client's business
        level: Level = "note" if error.code in (401, 403) else "ok"
        remedy = "export MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        shown = f"{uri} answers {error.code}"
        yield Finding(_GROUP, name, level, shown, remedy if level == "note" else "")
    except (OSError, ValueError) as error:
        found = f"{uri}: {error}; runs go on, their curves wait in journals"
        remedy = "start the server (docs/cluster.md), then `vills track`"
        yield Finding(_GROUP, name, "note", found, remedy)


def count_points(folder: Path) -> dict[str, int]:
    """Jobs of a stage by sweep: points times seeds. Sweeps that are refused are left out."""
    found = {}
    for name in list_sweeps(folder):
        try:
            sweep = load_sweep(name, folder=folder)
        except UserError:
            continue  # launching it says why
        found[name] = len(sweep.points) * max(1, len(sweep.seeds))
    return found
