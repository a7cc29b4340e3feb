"""Unreadable inputs: counted, named, and refused in number."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vills.errors import UserError


class TooManyDamagedError(UserError, ValueError):
    """More of a source is unreadable than operation.max_corrupt_share allows."""


@dataclass
class DamageLog:
    """Unreadable inputs of one source.

    Attributes:
        source: Name of the source.
        total: Files of the source.
        max_share: Share of them that may be unreadable.
        entries: (raw relative path, reason) in the order of the source.
    """

    source: str
    total: int
    max_share: float
    entries: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, *, reason: str) -> None:
        """Count an unreadable file.

        Raises:
            TooManyDamagedError: it is one too many.
        """
        self.entries.append((path, reason))
        check_damage(self.source, self.entries, total=self.total, max_share=self.max_share)


def check_damage(
    source: str, entries: Sequence[tuple[str, str]], *, total: int, max_share: float
) -> None:
    """Refuse a source of whose `total` files more than `max_share` are unreadable.

    Raises:
        TooManyDamagedError: naming the last of `entries`, (raw relative path, reason).
    """
    if len(entries) > max_share * total:
        named = "; ".join(f"{name} ({why})" for name, why in entries[-5:])
        raise TooManyDamagedError(
            f"curate.sources.{source}: {len(entries)} of {total} files are unreadable, among them "
            f"{named}. Allowed: a share of operation.max_corrupt_share = {max_share}. What to do: "
            "replace or remove these files, or raise the share."
        )
