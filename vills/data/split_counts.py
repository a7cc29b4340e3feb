"""Counts of what a layout holds, per split and in all."""

from dataclasses import dataclass, field

from vills.data.layouts import Layout, RawImage, RawTracklet, RawVideo


@dataclass
class SplitCount:
    """Rows of one split."""

    rows: int = 0
    """Images, tracklets or videos that are not junk."""
    junk: int = 0
    """Rows of pid -1 in a split with labels."""
    distractors: int = 0
    """Rows of pid 0; counted in `rows` too."""
    files: int = 0
    """Images, frames and videos of all rows."""
    pids: set[int] = field(default_factory=set)
    """People."""
    camids: dict[int, int] = field(default_factory=dict)
    """Rows of each known camera, from 0."""
    clothes: set[int] = field(default_factory=set)
    """Known outfits."""
    shortest: int = 0
    """Frames of the shortest tracklet; 0: no tracklet."""
    longest: int = 0
    """Frames of the longest tracklet."""
    tracklets: int = 0
    """Rows that are tracklets."""
    frames: int = 0
    """Frames of all tracklets."""

    def add(self, row: RawImage | RawTracklet | RawVideo) -> None:
        """Count one row."""
        is_junk = row.pid == -1 and row.split != "pretrain"
        self.junk += is_junk
        self.rows += not is_junk
        self.distractors += row.pid == 0
        self.files += len(row.paths) if isinstance(row, RawTracklet) else 1
        if row.pid > 0:
            self.pids.add(row.pid)
        if row.camid >= 0:
            self.camids[row.camid] = self.camids.get(row.camid, 0) + 1
        if row.clothes_id >= 0:
            self.clothes.add(row.clothes_id)
        if isinstance(row, RawTracklet):
            length = len(row.paths)
            self.shortest = min(length, self.shortest or length)
            self.longest = max(length, self.longest)
            self.tracklets += 1
            self.frames += length


def count_splits(layout: Layout) -> dict[str, SplitCount]:
    """Counts by split, in the order of their work: pretrain, train, query, gallery."""
    counts: dict[str, SplitCount] = {}
    for rows in (layout.images, layout.tracklets, layout.videos):
        for row in rows:
            counts.setdefault(row.split, SplitCount()).add(row)
    order = ("pretrain", "train", "query", "gallery")
    return {split: counts[split] for split in order if split in counts}


def flatten_counts(counts: dict[str, SplitCount], *, num_splits: int = 0) -> dict[str, int]:
    """Counts under the names of the official ones (vills.data.layouts.official)."""
    flat: dict[str, int] = {}
    for split, count in counts.items():
        flat[split] = count.rows
        flat[f"{split} ids"] = len(count.pids)
        flat[f"{split} junk"] = count.junk
        flat[f"{split} distractors"] = count.distractors
        flat[f"{split} images"] = count.files
        for camid, rows in count.camids.items():
            flat[f"{split} camera {camid + 1}"] = rows
    flat["ids"] = len(set().union(*(count.pids for count in counts.values())))
    flat["cameras"] = len(set().union(*(count.camids for count in counts.values())))
    flat["images"] = sum(count.files for count in counts.values())
    tested = [counts[split] for split in ("query", "gallery") if split in counts]
    flat["test images"] = sum(count.files for count in tested)
    if num_splits:
        flat["splits"] = num_splits
    return flat
