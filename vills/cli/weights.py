"""`vills weights`: fetch published weights by name, with their checksum."""

from argparse import ArgumentParser

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "fetch"))
    parser.add_argument("name", nargs="?", help="fetch: a name that list prints")


def _run(arguments: Arguments) -> int:
    from vills.data.published import fetch_weights, format_published
    from vills.pipeline import get_weights_root

    if arguments.action == "list":
        print(format_published())
        return 0
    path = fetch_weights(arguments.name, folder=get_weights_root())
    print(f"{path}: checksum as published")
    return 0


COMMANDS = (
    Command(
        name="weights",
        summary="List or fetch published weights of detectors and segmenters",
        reads="the publisher's address; nothing is ever fetched without this command",
        writes="a file below VILLS_WEIGHTS, only if its checksum is the published one",
        needs="VILLS_WEIGHTS, a network",
        add_arguments=_add,
        run=_run,
    ),
)
