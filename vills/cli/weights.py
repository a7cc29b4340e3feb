"""`vills weights`, `extract`, `export`: published weights, and what trained ones are used for."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command
from vills.config.checks import ConfigError
from vills.config.model import WEIGHT_LAYOUTS
from vills.errors import UserError


def _add_weights(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "fetch", "inspect"))
    parser.add_argument(
        "name", nargs="?", help="fetch: a name that list prints; inspect: a file to start from"
    )
    parser.add_argument("--layout", default="", choices=("", *WEIGHT_LAYOUTS), help="inspect as it")


def _weights(arguments: Arguments) -> int:
    from vills.data.published import fetch_weights, format_published
    from vills.pipeline import get_weights_root

    _check(arguments)
    if arguments.action == "list":
        print(format_published())
        return 0
    if arguments.action == "inspect":
        print(_inspect(arguments.name, arguments.layout))
        return 0
    path = fetch_weights(arguments.name, folder=get_weights_root())
    print(f"{path}: checksum as published")
    return 0


def _check(arguments: Arguments) -> None:
    """Refuse what an action needs and lacks, or would ignore."""
    action = arguments.action
    if action != "list" and not arguments.name:
        raise ConfigError(
            f"vills weights {action} needs a name. Allowed: for fetch a name that `vills weights "
            "list` prints, for inspect a file. What to do: add it."
        )
    if action == "list" and arguments.name:
        raise ConfigError(
            f"vills weights list {arguments.name} is not allowed. Allowed: no name. What to do: "
            f"vills weights fetch {arguments.name}, or inspect for a file."
        )
    if action != "inspect" and arguments.layout:
        raise ConfigError(
            f"--layout {arguments.layout} is not allowed with vills weights {action}. Allowed: "
            "with inspect. What to do: leave it out."
        )


def _inspect(name: str, layout: str) -> str:
    from vills.models.published.describe import describe_file
    from vills.pipeline import get_weights_path

    path = Path(name)
    return describe_file(path if path.is_file() else get_weights_path(name), layout=layout)


def _add_extract(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="an image, a video, or a folder of them")
    parser.add_argument("--weights", type=Path, required=True, help="folder of exported weights")
    parser.add_argument("--out", type=Path, default=Path("features.parquet"), help=".parquet, .npz")
    parser.add_argument(
        "--tracklets", action="store_true", help="a folder of images is one tracklet, in order"
    )


def _extract(arguments: Arguments) -> int:
    from vills.evaluation.extract import extract_path

    try:
        report = extract_path(
            arguments.path,
            weights=arguments.weights,
            out=arguments.out,
            tracklets=arguments.tracklets,
        )
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    print(report.format())
    return 1 if report.bad else 0


def _add_export(parser: ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="folder of exported weights")
    parser.add_argument("--out", type=Path, required=True, help="a .safetensors file")


def _export(arguments: Arguments) -> int:
    from vills.models.weights import save_timm

    print(save_timm(arguments.weights, arguments.out))
    return 0


COMMANDS = (
    Command(
        name="weights",
        summary="List or fetch published weights, or say what a weights file holds",
        reads="the publisher's address (nothing is ever fetched but by `fetch`), or one file",
        writes="with `fetch` a file below VILLS_WEIGHTS, only if its checksum is the published one",
        needs="VILLS_WEIGHTS; for `fetch` a network",
        add_arguments=_add_weights,
        run=_weights,
    ),
    Command(
        name="extract",
        summary="Write coarse, area and temporal features of any images or videos",
        reads="PATH, the weights folder (artifacts/pretrain/teacher, artifacts/finetune/...)",
        writes="a .parquet or .npz file; files that cannot be read are named, and the status is 1",
        needs="weights; no labels, no params.yaml",
        add_arguments=_add_extract,
        run=_extract,
    ),
    Command(
        name="export",
        summary="Turn weights into a plain timm ViT that needs none of this package",
        reads="the weights folder",
        writes="OUT, a .safetensors file, and a .json beside it with timm's arguments",
        needs="weights",
        add_arguments=_add_export,
        run=_export,
    ),
)
