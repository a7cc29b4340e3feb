"""Counts of what a layout holds, those of the official releases, and what a difference means.

Sources: liangzheng06/MARS-evaluation (counted in its index files); torchreid, fast-reid and SOLIDER
for Market-1501; CAL (guxinqian/Simple-CCReID) for PRCC and LTCC; splits_prid2011.json; the README
of LUPerson.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from vills.data.layouts.base import Layout, RawRow, RawTracklet
from vills.data.layouts.labelled_images import count_val
from vills.data.records import DISTRACTOR_PID, JUNK_PID, SPLITS

OFFICIAL_COUNTS: dict[str, dict[str, int]] = {
    "market1501": {
        "train": 12_936,
        "train ids": 751,
        "query": 3_368,
        "query ids": 750,
        "gallery": 15_913,
        "gallery ids": 750,
        "cameras": 6,
    },
    "prcc": {
        "train": 17_896,
        "train ids": 150,
        "query": 7_416,
        "query ids": 71,
        "query camera 2": 3_873,
        "query camera 3": 3_543,
        "gallery": 3_384,
        "gallery ids": 71,
        "val": 5_002,
        "cameras": 3,
    },
    "ltcc": {"train": 9_576, "query": 493, "gallery": 7_050, "ids": 152, "cameras": 12},
    "mars": {
        "train": 8_298,
        "train ids": 625,
        "query": 1_980,
        "query ids": 626,
        "gallery": 9_330,
        "gallery ids": 620,
        "gallery junk": 870,
        "gallery distractors": 3_248,
        "train images": 509_914,
        "test images": 681_089,
        "cameras": 6,
    },
    "prid2011": {
        "train": 178,
        "train ids": 89,
        "query": 89,
        "query ids": 89,
        "gallery": 89,
        "gallery ids": 89,
        "ids": 178,
        "cameras": 2,
        "splits": 10,
    },
    "luperson": {"images": 4_180_243},
}
"""Rows (images; tracklets for MARS and PRID2011) per split without junk (pid -1), and people."""

ALSO_OFFICIAL = {"market1501": {"gallery": (15_913 + 500_000,)}}
"""Counts that are as right: the gallery with the 500k distractors."""

KNOWN_COUNTS: dict[str, dict[tuple[str, int], str]] = {
    "market1501": {
        ("gallery", 15_913 + 3_368): "bounding_box_test holds the query images as well: take them "
        "out, or unpack the official archive again",
    },
    "prcc": {
        ("train", 17_896 + 5_002): "train also holds the images of val: CAL and later papers train "
        "on train only; unpack the official archive again",
    },
    "ltcc": {
        ("gallery", 7_050 + 493): "test also holds the query images: remove them, or unpack "
        "the official archive again",
    },
}
"""Counts of copies that are often met, and what to do about them."""

_SPLITS = ("train", "query", "gallery")
_ALWAYS = (*_SPLITS, *(f"{split} ids" for split in _SPLITS))
_LUPERSON_NL = 10_000_000


@dataclass(frozen=True)
class Difference:
    """A count that is not the official one."""

    key: str
    found: int
    official: int

    def format(self) -> str:
        """Return what is found, what is official, and by how much they differ."""
        gap = abs(self.found - self.official)
        side = "fewer" if self.found < self.official else "more"
        found = f"{self.found:,} {self.key}"
        return f"{found}, the official release has {self.official:,} ({gap:,} {side})"


def list_differences(name: str, counts: Mapping[str, int]) -> list[Difference]:
    """Return the counts that differ from the official ones of layout `name`.

    Rows and people of a split count as 0 where they are absent; other counts are compared only
    where they are given.
    """
    also = ALSO_OFFICIAL.get(name, {})
    return [
        Difference(key, counts.get(key, 0), official)
        for key, official in OFFICIAL_COUNTS.get(name, {}).items()
        if (key in counts or key in _ALWAYS)
        and counts.get(key, 0) not in (official, *also.get(key, ()))
    ]


def describe_count_differences(name: str, counts: Mapping[str, int]) -> list[str]:
    """Lines for a report where `counts` differ from the official ones; a subset is no failure."""
    return [f"{name}: {difference.format()}" for difference in list_differences(name, counts)]


def describe_causes(name: str, counts: Mapping[str, int]) -> list[str]:
    """Why counts differ, most specific first, and what to do; empty where they do not."""
    differences = list_differences(name, counts)
    if not differences:
        return []
    known = KNOWN_COUNTS.get(name, {})
    lines = [known[d.key, d.found] for d in differences if (d.key, d.found) in known]
    if lines:
        return lines
    if name == "luperson":
        if counts.get("images", 0) > _LUPERSON_NL:
            return ["this is LUPerson-NL (10.68 M images), another data set than LUPerson"]
        return [
            "a subset, or another extraction (everybody extracts LUPerson from videos again): give "
            "the number of images with your results"
        ]
    fewer = [d for d in differences if d.found < d.official]
    cameras = next((d for d in differences if d.key == "cameras"), None)
    if cameras and cameras.found > cameras.official:
        return [
            f"another data set or version: it has {cameras.found} cameras, not {cameras.official}; "
            "unpack the official archive, or use layout = folder"
        ]
    if len(fewer) == len(differences):
        where = ", ".join(dict.fromkeys(d.key.split()[0] for d in fewer))
        return [
            f"incompletely unpacked, or a subset: fewer than official in {where}; unpack the "
            "official archive again and compare its checksum; an intended subset is no error, but "
            "its numbers are not those of the literature"
        ]
    if not fewer:
        return [
            "another version, or duplicate files: more than official; unpack the official "
            "archive into an empty folder"
        ]
    return [
        "another version or another data set: some counts are above and some below the official "
        "ones; unpack the official archive into an empty folder"
    ]


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
    camids: Counter[int] = field(default_factory=Counter)
    """Rows of each known camera, from 0."""
    clothes: set[int] = field(default_factory=set)
    """Known outfits."""
    lengths: Counter[int] = field(default_factory=Counter)
    """Tracklets of each number of frames."""

    def add(self, row: RawRow) -> None:
        """Count one row."""
        is_junk = row.pid == JUNK_PID and row.split != "pretrain"
        self.junk += is_junk
        self.rows += not is_junk
        self.distractors += row.pid == DISTRACTOR_PID
        self.files += len(row.paths)
        if row.pid > DISTRACTOR_PID:
            self.pids.add(row.pid)
        if row.camid >= 0:
            self.camids[row.camid] += 1
        if row.clothes_id >= 0:
            self.clothes.add(row.clothes_id)
        if isinstance(row, RawTracklet):
            self.lengths[len(row.paths)] += 1


def count_splits(layout: Layout) -> dict[str, SplitCount]:
    """Return the counts by split, in the order of their work: pretrain, train, query, gallery."""
    counts: dict[str, SplitCount] = {}
    for rows in (layout.images, layout.tracklets, layout.videos):
        for row in rows:
            counts.setdefault(row.split, SplitCount()).add(row)
    return {split: counts[split] for split in SPLITS if split in counts}


def convert_counts(counts: dict[str, SplitCount], *, layout: Layout) -> dict[str, int]:
    """Return the counts under the names of the official ones (vills.data.layouts.counts)."""
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
    if layout.splits:
        flat["splits"] = len(layout.splits)
    if layout.name == "prcc":
        flat["val"] = count_val(layout.root)
    return flat
