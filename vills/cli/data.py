"""`vills data`: take the inventory of a raw data set, and check it."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("register", "check"))
    parser.add_argument("source", help="name of the data set in params.yaml (curate.sources)")
    parser.add_argument("--full", action="store_true", help="check: compare contents, not sizes")


def _run(arguments: Arguments) -> int:
    from vills.config.checks import ConfigError
    from vills.config.load import load_params
    from vills.data.inventory import (
        build_inventory,
        check_inventory,
        load_inventory,
        save_inventory,
    )
    from vills.data.layouts import read_layout
    from vills.pipeline import INVENTORIES, get_data_root

    project = Path.cwd()
    sources = load_params(project).curate.sources
    if arguments.source not in sources:
        raise ConfigError(
            f"source = {arguments.source!r} is not in params.yaml. Allowed: {', '.join(sources)}. "
            "What to do: add it to curate.sources first."
        )
    source = sources[arguments.source]
    root = get_data_root() / source.path
    path = project / INVENTORIES / f"{arguments.source}.parquet"
    if arguments.action == "check":
        check_inventory(root, load_inventory(path), digests=arguments.full)
        print(f"{arguments.source}: as registered")
        return 0
    read_layout(source.layout, root)
    table = build_inventory(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_inventory(path, table)
    print(f"{arguments.source}: {table.num_rows} files -> {path.relative_to(project)}")
    return 0


COMMANDS = (
    Command(
        name="data",
        summary="Register a raw data set (its inventory is what DVC tracks), or check it",
        reads="the data set below VILLS_DATA, params.yaml (curate.sources)",
        writes="register: data/inventories/SOURCE.parquet; check: nothing",
        needs="VILLS_DATA",
        add_arguments=_add,
        run=_run,
    ),
)
