"""What a listing of a raw data set says, before anything of it is read."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from vills.data.layouts import Layout, RawImage, RawTracklet, RawVideo


@dataclass(frozen=True)
class Survey:
    """Rows by kind, files, and a digest of the rows with their labels, in order."""

    num_images: int
    num_tracklets: int
    num_videos: int
    num_files: int
    digest: str


def survey_layout(layout: Layout) -> Survey:
    """Go through a layout once; nothing of it is kept."""
    listing = hashlib.sha256()
    counts = []
    num_files = 0
    rows: Iterable[RawImage | RawTracklet | RawVideo]
    for rows in (layout.images, layout.tracklets, layout.videos):
        count = 0
        for row in rows:
            count += 1
            num_files += len(row.paths) if isinstance(row, RawTracklet) else 1
            listing.update(repr(row).encode() + b"\n")
        counts.append(count)
    for part in (*layout.entries, *layout.splits):
        listing.update(repr(part).encode() + b"\n")
    images, tracklets, videos = counts
    return Survey(images, tracklets, videos, num_files, listing.hexdigest())
