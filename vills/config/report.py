"""Parameters of the report stage."""

from dataclasses import dataclass

from vills.config.checks import check_range


@dataclass
class ReportConfig:
    """What the report shows."""

    num_strips: int = 8
    """Ranked retrieval strips per protocol."""
    strip_length: int = 8
    """Gallery entries of a strip."""
    num_attention: int = 4
    """People whose attention is drawn."""

    def __post_init__(self) -> None:
        for name in ("num_strips", "strip_length", "num_attention"):
            check_range(f"report.{name}", getattr(self, name), low=1)
