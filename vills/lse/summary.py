"""Counts of what extraction found and what it lost."""

from dataclasses import asdict, dataclass, field
from typing import Any

from vills.areas import AREAS

_MAX_NAMES = 1000


@dataclass
class AreaCounts:
    """Fate of one area over the frames."""

    found: int = 0
    """Frames with a mask."""
    no_mask: int = 0
    """Frames whose keypoints gave no positive point, or where the segmenter found nothing."""
    too_small: int = 0
    """Frames whose mask is below min_area."""
    total_score: int = 0
    """Sum of the segmenter's scores over found masks, in millionths: exact in any order."""

    def add(self, other: "AreaCounts") -> None:
        """Count another part of the records in."""
        self.found += other.found
        self.no_mask += other.no_mask
        self.too_small += other.too_small
        self.total_score += other.total_score


@dataclass
class Summary:
    """Counts over some records."""

    records: int = 0
    """Images and tracklets."""
    frames: int = 0
    """Decoded images and frames."""
    no_person: int = 0
    """Frames in which K found nobody."""
    areas: dict[str, AreaCounts] = field(
        default_factory=lambda: {area: AreaCounts() for area in AREAS}
    )
    """By area."""
    corrupt: list[str] = field(default_factory=list)
    """Records with a frame that cannot be decoded."""

    def add(self, other: "Summary") -> None:
        """Count another part of the records in."""
        self.records += other.records
        self.frames += other.frames
        self.no_person += other.no_person
        self.corrupt += other.corrupt
        for area, counts in self.areas.items():
            counts.add(other.areas[area])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Summary":
        """Rebuild from `to_dict`."""
        areas = {area: AreaCounts(**counts) for area, counts in values["areas"].items()}
        return cls(**{**values, "areas": areas})

    def to_report(self) -> dict[str, Any]:
        """Return what report.json of the source says."""
        return {
            "records": self.records,
            "frames": self.frames,
            "frames_without_person": self.no_person,
            "areas": {
                area: {
                    "found": counts.found,
                    "missing": counts.no_mask + counts.too_small,
                    "missing_no_mask": counts.no_mask,
                    "missing_too_small": counts.too_small,
                    "mean_score": round(counts.total_score / max(counts.found, 1) / 1e6, 6),
                }
                for area, counts in self.areas.items()
            },
            "corrupt_records": len(self.corrupt),
            "corrupt": sorted(self.corrupt)[:_MAX_NAMES],
        }
