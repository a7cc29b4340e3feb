"""What a sub-command states about itself; help answers without importing what it runs."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

Arguments = argparse.Namespace


@dataclass(frozen=True)
class Command:
    """One sub-command."""

    name: str
    summary: str
    """One line, for `vills --help`."""
    reads: str
    writes: str
    needs: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Arguments], int]
    """Returns the exit status."""

    def add_to(self, subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
        """Register with the parser of `vills`."""
        parser = subparsers.add_parser(
            self.name,
            help=self.summary,
            description=f"{self.summary}.",
            epilog=f"reads:  {self.reads}\nwrites: {self.writes}\nneeds:  {self.needs}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_arguments(parser)
        parser.set_defaults(handler=self.run)
