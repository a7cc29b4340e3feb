"""`vills data`: check raw data sets, take the inventory of one, and verify it."""

from argparse import ArgumentParser, Namespace
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from vills.errors import UserError

if TYPE_CHECKING:
    from vills.config.curate import SourceConfig
    from vills.data.layouts import Layout, RawVideo


def set_up_data(parser: ArgumentParser) -> None:
    """Check raw data sets against the official releases, or register and verify one.

    reads:  check: a folder; register, verify: VILLS_DATA and params.yaml (curate.sources)
    writes: register: data/inventories/SOURCE.parquet; check and verify: nothing
    needs:  VILLS_DATA, or a folder to check; check needs no params.yaml
    """
    actions = parser.add_subparsers(title="actions", dest="action", required=True)
    check = actions.add_parser(
        "check",
        help="find every data set below a folder, and compare it with the official release",
        description="Find every data set below ROOT (three levels deep), count it, compare it with "
        "the official release, and say what is wrong with it. Exit status: 1 if one is broken.",
    )
    check.add_argument("root", nargs="?", type=Path, help="folder (default: VILLS_DATA)")
    check.add_argument("--full", action="store_true", help="decode every pixel, not only headers")
    check.set_defaults(handler=_check)
    register = actions.add_parser("register", help="write the inventory that DVC tracks")
    register.set_defaults(handler=_register)
    verify = actions.add_parser("verify", help="compare a data set with its inventory")
    verify.add_argument("--full", action="store_true", help="compare contents, not only sizes")
    verify.set_defaults(handler=_verify)
    for action in (register, verify):
        action.add_argument("source", help="its name in params.yaml (curate.sources)")


def _check(arguments: Namespace) -> int:
    from vills.data.survey import BROKEN, compute_surveys, render_surveys
    from vills.pipeline import get_folder
    from vills.progress import ProgressLine

    with closing(ProgressLine("check")) as progress:
        surveys = list(
            compute_surveys(
                arguments.root or get_folder("VILLS_DATA"),
                full=arguments.full,
                check_video=_check_video,
                progress=progress,
            )
        )
    print(render_surveys(surveys))
    return 1 if any(survey.verdict == BROKEN for survey in surveys) else 0


def _check_video(layout: "Layout", video: "RawVideo", full: bool) -> tuple[str, list[str]]:
    """Read a video's first frame and its length, or all of it, as curation would."""
    from vills.curation.video import VideoStream

    file = layout.root / video.path
    if not full:
        stream = VideoStream(file, video.path)
        stream.check_ends()
        return stream.damage, stream.changes
    stream = VideoStream(file, video.path, start=video.start, stop=video.stop, unit=video.unit)
    for _ in stream:
        pass
    return stream.damage, stream.changes


def _register(arguments: Namespace) -> int:
    from vills.data.files import save_table
    from vills.data.inventory import build_inventory
    from vills.data.layouts import read_layout
    from vills.progress import ProgressLine

    source, root, path = _find_source(arguments.source)
    read_layout(source.layout, root, filter_list=source.filter, keep=source.keep)
    with closing(ProgressLine("register")) as progress:
        table = build_inventory(root, progress)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_table(path, table)
    print(f"{arguments.source}: {table.num_rows} files -> {path.relative_to(Path.cwd())}")
    return 0


def _verify(arguments: Namespace) -> int:
    from vills.data.inventory import check_inventory, load_inventory
    from vills.progress import ProgressLine

    _, root, path = _find_source(arguments.source)
    try:
        table = load_inventory(path)
    except FileNotFoundError as error:
        raise UserError(str(error)) from error
    with closing(ProgressLine("verify")) as progress:
        check_inventory(root, table, digests=arguments.full, progress=progress)
    print(f"{arguments.source}: as registered")
    return 0


def _find_source(name: str) -> "tuple[SourceConfig, Path, Path]":
    """Return configuration, folder and inventory of a data set of params.yaml."""
    from vills.config.checks import ConfigError
    from vills.config.load import load_params
    from vills.pipeline import INVENTORIES, get_folder

    project = Path.cwd()
    sources = load_params(project).curate.sources
    if name not in sources:
        raise ConfigError(
            f"source = {name!r} is not in params.yaml. Allowed: {', '.join(sources)}. What to do: "
            "add it to curate.sources first."
        )
    source = sources[name]
    return source, get_folder("VILLS_DATA") / source.path, project / INVENTORIES / f"{name}.parquet"
