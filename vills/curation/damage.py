"""Unreadable inputs: counted, named, and refused in number."""

from dataclasses import dataclass, field

from vills.errors import UserError


class TooManyDamagedError(UserError, ValueError):
    """More of a source is unreadable than curate.max_corrupt_share allows."""


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
        if len(self.entries) > self.max_share * self.total:
            named = "; ".join(f"{name} ({why})" for name, why in self.entries[-5:])
            raise TooManyDamagedError(
                f"curate.sources.{self.source}: {len(self.entries)} of {self.total} files are "
                f"unreadable, among them {named}. Allowed: a share of "
                f"curate.max_corrupt_share = {self.max_share}. What to do: replace or remove "
                "these files, or raise the share."
            )
