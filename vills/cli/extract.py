"""`vills extract`, `vills export`: use trained weights."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add_extract(parser: ArgumentParser) -> None:
    parser.add_argument("path", type=Path, help="an image, a video, or a folder of them")
    parser.add_argument("--weights", type=Path, required=True, help="folder of exported weights")
    parser.add_argument("--out", type=Path, default=Path("features.parquet"), help=".parquet, .npz")
    parser.add_argument(
        "--tracklets", action="store_true", help="a folder of images is one tracklet, in order"
    )


def _extract(arguments: Arguments) -> int:
    from vills.errors import UserError
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
