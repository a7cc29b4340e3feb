"""`vills sheet`: contact sheets for the eye."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("what", choices=("world", "masks"))
    parser.add_argument("--source", default="luperson", help="masks: which curated source")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"))


def _run(arguments: Arguments) -> int:
    from vills.pipeline import ARTIFACTS

    if arguments.what == "world":
        from vills.miniature.contact_sheet import build_contact_sheet

        build_contact_sheet(ARTIFACTS / "miniature", arguments.out)
    else:
        from vills.lse.contact_sheet import build_mask_sheet

        curated, lse = (ARTIFACTS / part / arguments.source for part in ("curated", "lse"))
        build_mask_sheet(curated, lse, arguments.out)
    print(f"wrote {arguments.out}")
    return 0


COMMANDS = (
    Command(
        name="sheet",
        summary="Draw a contact sheet of the miniature world, or of the area masks",
        reads="artifacts/miniature, or artifacts/curated and artifacts/lse",
        writes="a PNG",
        needs="a finished miniature, or lse, stage",
        add_arguments=_add,
        run=_run,
    ),
)
