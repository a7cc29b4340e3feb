"""A labelled source: who is in train, query and gallery of one of its splits."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.config.checks import ConfigError
from vills.data.records import (
    DISTRACTOR_PID,
    SPLITS_FILE,
    TEMPLATES_FILE,
    Manifest,
    find_counted,
    find_people,
    load_manifest,
)
from vills.data.samplers import TrainingPeople
from vills.data.shards import ShardReader

KINDS_OF = {"image": ("image",), "video": ("tracklet",), "mixed": ("image", "tracklet")}
"""Kinds of record that a modality is trained on. Without the last there is nothing to train: images
alone would be clips that stand still."""
REPORT_FILE = "report.json"
EVERYBODY = TrainingPeople()
_PARTS = ("train", "query", "gallery")
_SHOWN = 5


@dataclass(frozen=True)
class ReidData:
    """One split of a source."""

    name: str
    """Name of the source."""
    train: Manifest
    """People to learn from, of the modality's kinds; pids from 1."""
    query: Manifest
    """Of every kind; junk (pid -1) left out."""
    gallery: Manifest
    """Of every kind, with distractors (pid 0) and junk (pid -1), which protocols drop."""
    reader: ShardReader
    """Shards of all three."""
    split_id: int = 0
    """Which of the source's splits this is."""
    templates: pa.Table | None = None
    """Templates of a sigset: group, name, pid, record_ids; None for other sources."""
    left_out: tuple[str, ...] = ()
    """Rows that are in none of these: how many, and why; and images that are there twice."""
    val: Manifest | None = None
    """People held out of train, with records of every kind; None: nobody."""

    @property
    def labels(self) -> np.ndarray:
        """int64 [len(train)]: pids of train relabelled 0..num_ids - 1, in the order of pids."""
        _, labels = np.unique(self.train.column("pid"), return_inverse=True)
        return np.asarray(labels, dtype=np.int64)

    @property
    def num_ids(self) -> int:
        """People of train."""
        return len(np.unique(self.train.column("pid")))

    @property
    def num_lacking(self) -> dict[str, int]:
        """Kind -> training people without it, where train has both: the other kind is used."""
        pids, kinds = self.train.column("pid"), self.train.column("kind").astype(str)
        people = {kind: np.unique(pids[kinds == kind]) for kind in np.unique(kinds)}
        return {kind: self.num_ids - len(owners) for kind, owners in people.items()}

    def describe(self) -> str:
        """Write one line of statistics, with everything that is unusual."""
        parts = []
        for part in (*_PARTS, *(["val"] if self.val else [])):
            manifest: Manifest = getattr(self, part)
            pids, cameras = manifest.column("pid"), manifest.column("camid")
            people = len(np.unique(pids[find_people(pids)]))
            seen = len(np.unique(cameras))
            parts.append(f"{part} {len(manifest):,} of {people:,} people in {seen} cameras")
        pids = self.gallery.column("pid")
        junk, strangers = (~find_counted(pids)).sum(), (pids == DISTRACTOR_PID).sum()
        unusual = list(self.left_out)
        # a triplet of theirs has the sample itself repeated
        if single := (np.unique(self.train.column("pid"), return_counts=True)[1] == 1).sum():
            unusual.append(f"{single:,} training people with a single sample")
        unusual += [
            f"{count:,} training people without {kind}, the other kind is used"
            for kind, count in self.num_lacking.items()
            if count
        ]
        if absent := (~np.isin(self.query.column("pid"), pids)).sum():
            unusual.append(f"{absent:,} queries whose person is not in the gallery")
        name = f"{self.name}, split {self.split_id}" if self.split_id else self.name
        text = f"{name}: {', '.join(parts)} ({strangers:,} distractors, {junk:,} junk)"
        return "; ".join([text, *unusual])


def load_reid_data(
    folder: Path, *, modality: str = "", split_id: int = 0, people: TrainingPeople = EVERYBODY
) -> ReidData:
    """Load a split of a curated folder, with its training records of `modality`.

    Query and gallery hold every kind of record: what a model is trained on must not change who is
    searched for.

    Args:
        folder: manifest.parquet and shards; splits.json and entries.parquet if the source has them.
        modality: image, video, or mixed (both); empty: whatever there is, train may be empty.
        split_id: which of the splits of splits.json; 0 for a source without.
        people: how many training people are held out, and how many are learned.

    Raises:
        ConfigError: if there is no such split, its training part holds nothing of the modality (of
            a mixed one: no tracklet) or fewer than `people` asks for, or query or gallery are
            empty.
    """
    manifest = load_manifest(folder / "manifest.parquet")
    parts, left_out = _split_by_people(manifest, folder, split_id)
    left_out += _find_remarks(folder / REPORT_FILE)
    kinds = manifest.column("kind").astype(str)
    pids, everybody = manifest.column("pid"), parts["train"]
    if modality:
        parts["train"] = parts["train"][np.isin(kinds[parts["train"]], KINDS_OF[modality])]
    # neither strangers nor unknown people are one person to learn
    for part, find in (("train", find_people), ("query", find_counted)):
        known = find(pids[parts[part]])
        if not known.all():
            left_out.append(f"{(~known).sum():,} rows of {part} without a person left out")
        parts[part] = parts[part][known]
    for part in _PARTS if modality else _PARTS[1:]:
        found = kinds[parts[part]]
        if part == "train":
            found = found[found == KINDS_OF[modality][-1]]
        if not len(found):
            raise ConfigError(_explain_empty(folder, manifest, part=part, modality=modality))
    val, parts["train"], others = _draw_people(pids, everybody, parts["train"], people)
    if others:
        left_out.append(f"{others:,} rows of train beyond {people.num_train_ids:,} people left out")
    templates = folder / TEMPLATES_FILE
    return ReidData(
        folder.name,
        **{part: manifest.take(rows) for part, rows in parts.items()},
        reader=ShardReader(folder),
        split_id=split_id,
        templates=pq.read_table(templates) if templates.is_file() else None,
        left_out=tuple(left_out),
        val=manifest.take(val) if people.num_val_ids else None,
    )


def _draw_people(
    pids: np.ndarray, everybody: np.ndarray, train: np.ndarray, people: TrainingPeople
) -> tuple[np.ndarray, np.ndarray, int]:
    """Draw rows of who is held out and who of `train` is learned, and count who is neither.

    Who is held out is drawn from people of every kind of record, so that all modalities hold out
    the same ones.
    """
    everybody = everybody[find_people(pids[everybody])]
    held = people.draw_val(pids[everybody])
    train = train[~np.isin(pids[train], held)]
    learned = np.isin(pids[train], people.draw_train(pids[train]))
    return everybody[np.isin(pids[everybody], held)], train[learned], int((~learned).sum())


def _find_remarks(path: Path) -> list[str]:
    """Name raw files that curation could not read, since a query among them lacks a score.

    And copies of images, which a query finds too easily.
    """
    if not path.is_file():
        return []
    report = json.loads(path.read_text(encoding="utf-8"))
    damaged, copies = report["damaged"], list(report.get("copies", ()))
    if not damaged["count"]:
        return copies
    named = [f"{file['path']} ({file['reason']})" for file in damaged["named"]]
    rest = ["..."] if len(named) > _SHOWN else []
    return [
        f"{damaged['count']:,} of {damaged['files']:,} raw files that could not be read: "
        f"{', '.join([*named[:_SHOWN], *rest])}",
        *copies,
    ]


def _split_by_people(
    manifest: Manifest, folder: Path, split_id: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Find the rows of train, query and gallery, and what is in none of them."""
    split = manifest.column("split").astype(str)
    people = _load_people(folder / SPLITS_FILE, split_id, source=folder.name)
    if people is None:
        return {part: np.flatnonzero(split == part) for part in _PARTS}, []
    pids, camids = manifest.column("pid"), manifest.column("camid")
    tested = np.isin(pids, people["test"])
    strangers = ~find_people(pids) & (split != "train")
    rows = {
        "train": np.isin(pids, people["train"]),
        "query": tested & (camids == 0),
        "gallery": tested & (camids != 0) | strangers & (split == "gallery"),
    }
    others = int((~np.any(list(rows.values()), axis=0)).sum())
    noted = [f"{others:,} rows of people who are not in split {split_id} left out"]
    return {part: np.flatnonzero(mask) for part, mask in rows.items()}, noted if others else []


def _load_people(path: Path, split_id: int, *, source: str) -> dict[str, list[int]] | None:
    """Load pids of train and test in a split; None if the source has one split only.

    Raises:
        ConfigError: if there is no such split, or the file is damaged.
    """
    has_several = path.is_file()
    if not has_several and split_id == 0:
        return None
    try:
        splits: Any = json.loads(path.read_text(encoding="utf-8")) if has_several else []
        people = [
            {part: [int(pid) for pid in split[part]] for part in ("train", "test")}
            for split in splits
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not a list of splits ({type(error).__name__}: {error}). Allowed: "
            '[{"train": [pids], "test": [pids]}, ...]. What to do: run the curate stage again.'
        ) from error
    if not 0 <= split_id < len(people):
        allowed = f"0 to {len(people) - 1}" if has_several else "0 (it has one split)"
        raise ConfigError(
            f"split {split_id} of {source} does not exist. Allowed: {allowed}. What to do: set "
            f"split_ids to those in the entries of finetune and evaluate whose source is {source}."
        )
    both = set(people[split_id]["train"]) & set(people[split_id]["test"])
    if both:
        raise ConfigError(
            f"{path}: split {split_id} has person {min(both)} in train and in test. What to do: "
            "correct the raw data set's file of splits and run the curate stage again."
        )
    return people[split_id]


def _explain_empty(folder: Path, manifest: Manifest, *, part: str, modality: str) -> str:
    kinds = ", ".join(np.unique(manifest.column("kind").astype(str))) or "nothing"
    splits = ", ".join(np.unique(manifest.column("split").astype(str)))
    trained = bool(modality) and part == "train"
    wanted = KINDS_OF[modality][-1] if trained else "record"
    todo = (
        "set modality to a kind that the data set holds, in the entries of finetune whose source "
        f"is {folder.name}, and "
        if trained
        else ""
    )
    return (
        f"{folder.name} has no {wanted} in split {part}; it holds {kinds} in {splits}. What to "
        f"do: {todo}check that its source has role reid and all three splits."
    )
