"""`vills weights`, `extract`, `export`: published weights, and what trained ones are used for."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vills.config.checks import ConfigError, check_range
from vills.config.evaluate import POOLINGS
from vills.config.model import WEIGHT_LAYOUTS
from vills.errors import UserError


def set_up_weights(parser: ArgumentParser) -> None:
    """List or fetch published weights, or say what a weights file holds.

    reads:  the publisher's address (only `fetch` downloads anything), or one file
    writes: with `fetch` a file below VILLS_WEIGHTS, only if its checksum is the published one
    needs:  VILLS_WEIGHTS; for `fetch` a network
    """
    parser.add_argument("action", choices=("list", "fetch", "inspect"))
    parser.add_argument(
        "name", nargs="?", help="fetch: a name from `vills weights list`; inspect: a weights file"
    )
    parser.add_argument("--layout", default="", choices=("", *WEIGHT_LAYOUTS), help="for inspect")
    parser.set_defaults(handler=_weights)


def _weights(arguments: Namespace) -> int:
    from vills.data.published import load_published_weights, render_published
    from vills.pipeline import get_folder, get_weights_path

    _check(arguments)
    if arguments.action == "list":
        print(render_published())
    elif arguments.action == "inspect":
        from vills.models.published.describe import describe_file  # loads torch

        path = Path(arguments.name)
        path = path if path.is_file() else get_weights_path(arguments.name)
        print(describe_file(path, layout=arguments.layout))
    else:
        path = load_published_weights(arguments.name, folder=get_folder("VILLS_WEIGHTS"))
        print(f"{path}: checksum as published")
    return 0


def _check(arguments: Namespace) -> None:
    """Refuse what an action needs and lacks, or would ignore."""
    action = arguments.action
    if action != "list" and not arguments.name:
        raise ConfigError(
            f"vills weights {action} needs a name. Allowed: for fetch a name that `vills weights "
            "list` prints, for inspect a file. What to do: add a name."
        )
    if action == "list" and arguments.name:
        raise ConfigError(
            f"vills weights list {arguments.name} is not allowed. Allowed: no name. What to do: "
            f"vills weights fetch {arguments.name}, or inspect for a file."
        )
    if action != "inspect" and arguments.layout:
        raise ConfigError(
            f"--layout {arguments.layout} is not allowed with vills weights {action}. Allowed: "
            "with inspect. What to do: remove --layout."
        )


def set_up_extract(parser: ArgumentParser) -> None:
    """Write the features of any images or videos that `evaluate@` compares, and their parts.

    reads:  PATH, the weights folder (artifacts/pretrain/teacher, artifacts/finetune/...)
    writes: a .parquet or .npz file, in which `about` says what its features are: by default after
            the neck, without flip, clips or frames of a video pooled by mean, norm not set to 1;
            files that cannot be read are named, and the status is 1
    needs:  weights; no labels, no params.yaml
    """
    parser.add_argument("path", type=Path, help="an image, a video, or a folder of them")
    parser.add_argument("--weights", type=Path, required=True, help="folder of exported weights")
    parser.add_argument("--out", type=Path, default=Path("features.parquet"), help=".parquet, .npz")
    parser.add_argument(
        "--tracklets",
        action="store_true",
        help="a folder of images is one tracklet, in natural order (2 before 10)",
    )
    parser.add_argument(
        "--neck", choices=("before", "after"), default="after",
        help="side of the neck, as evaluate.*.neck (default: after, as most protocols)",
    )  # fmt: skip
    parser.add_argument(
        "--flip", action="store_true",
        help="add the mirrored picture's feature, as evaluate.*.flip on (PRCC, LTCC)",
    )  # fmt: skip
    parser.add_argument("--pooling", choices=POOLINGS, default="mean", help="as evaluate.*.pooling")
    parser.add_argument(
        "--num-frames", type=int, metavar="T",
        help="frames per clip, as evaluate.*.num_frames (default: as fine-tuned, else 8)",
    )  # fmt: skip
    parser.set_defaults(handler=_extract)


def _extract(arguments: Namespace) -> int:
    from vills.evaluation.extract import extract_path
    from vills.evaluation.protocols.base import FeatureChoice

    if arguments.num_frames is not None:
        check_range("--num-frames", arguments.num_frames, low=1, high=10_000, remedy="give another")
    try:
        report = extract_path(
            arguments.path,
            weights=arguments.weights,
            out=arguments.out,
            tracklets=arguments.tracklets,
            choice=FeatureChoice(
                neck=arguments.neck, flip=arguments.flip, pooling=arguments.pooling
            ),
            num_frames=arguments.num_frames,
        )
    except (FileNotFoundError, ValueError) as error:
        raise UserError(str(error)) from error
    print(report.format())
    return 1 if report.bad else 0


def set_up_export(parser: ArgumentParser) -> None:
    """Convert the encoder into a plain timm ViT that works without this package.

    It gives tokens before the resampler and the neck: no feature that evaluate scores.

    reads:  the weights folder
    writes: OUT, a .safetensors file, and a .json beside it with timm's arguments; both say how it
            takes pictures (rgb 0-1 mean 0.5 std 0.5, and the size) and what it gives
    needs:  weights
    """
    parser.add_argument("--weights", type=Path, required=True, help="folder of exported weights")
    parser.add_argument("--out", type=Path, required=True, help="a .safetensors file")
    parser.set_defaults(handler=_export)


def _export(arguments: Namespace) -> int:
    from vills.models.weights import save_timm

    print(save_timm(arguments.weights, arguments.out))
    return 0
