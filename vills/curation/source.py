"""One raw source to `manifest.parquet`, shards and `report.json`."""

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.crops import KEPT
from vills.curation.detector import build_detector, compute_weights_digest
from vills.curation.images import read_images
from vills.curation.packer import Candidate, DamageLog, Packer
from vills.curation.report import (
    build_report,
    build_video_report,
    save_splits,
    save_templates,
)
from vills.curation.units import TRACKS_SCHEMA, UnitStore
from vills.curation.videos import VideoCurator, read_units
from vills.data.files import save_table
from vills.data.inventory import Registered
from vills.data.layouts import Layout, RawImage, RawRow, RawTracklet, RawVideo, read_layout
from vills.data.readable import describe_video_changes
from vills.data.records import SPLITS_FILE, TEMPLATES_FILE, Manifest
from vills.errors import InputError, UserError
from vills.io import load_json, open_atomic
from vills.parts import SUFFIX, is_sealed, load_intact, load_seal, save_seal
from vills.progress import Progress

REPORT, MANIFEST, TRACKS = "report.json", "manifest.parquet", "tracks.parquet"
OUTPUTS = (REPORT, MANIFEST, TRACKS, TEMPLATES_FILE, SPLITS_FILE)
"""What is written beside the shards."""
DONE = f"done{SUFFIX}"
"""Seals them, when nothing is left to do for a source."""


class EmptySourceError(UserError, ValueError):
    """Nothing of a source was kept."""


def run_source(
    name: str,
    source: SourceConfig,
    config: CurateConfig,
    *,
    root: Path,
    out: Path,
    work: Path,
    weights_root: Path | None = None,
    progress: Progress | None = None,
    max_corrupt_share: float = 0.05,
    registered: Registered | None = None,
) -> dict[str, Any]:
    """Curate one raw data set, `source` below `root`, into `out`, as `name` from here on.

    Images and tracklets of images are copied byte for byte, or stored as PNG where the fast decoder
    would read other pixels; of videos, the tracklets of the people in them are cut out (paper
    section 4.1), and of labelled videos the longest. Killed at any
    moment, the same call goes on at the video, or the shard, it was on, to the same bytes.

    `out` receives manifest.parquet, shards, report.json, tracks.parquet for videos, and
    entries.parquet and splits.json for layouts that have some. `work` keeps what is finished until
    all is, for this source and configuration alone. Weights of the detector are below
    `weights_root`. What is read is compared with `registered`. `progress` is called with what is
    done, how much, and of how much.

    Returns:
        The content of report.json.

    Raises:
        LayoutError: the folder is missing, empty, or holds another layout.
        ConfigError: predictions or weights of the detector are missing.
        TooManyDamagedError: more files are unreadable than `max_corrupt_share`.
        EmptySourceError: no record was kept.
        InventoryError: a file has another content than was registered.
        InputError: `work` belongs to another source or configuration.
    """
    layout = read_layout(
        source.layout, root / source.path, filter_list=source.filter, keep=source.keep
    )
    layout = replace(layout, registered=registered)
    say = progress or (lambda *_: None)
    job = _Job(name, source, config, layout, out, work, say, max_corrupt_share)
    job.claim(compute_weights_digest(config, weights_root=weights_root) if job.num_videos else "")
    if job.is_done:
        return dict(load_json(out / REPORT))
    checked = work / f"inventory-checked{SUFFIX}"
    if registered and not is_sealed(checked):  # before anything is made of it; not at each start
        registered.check_others()
        save_seal(checked, [], locate=work.joinpath)
    if job.num_videos:
        detector = build_detector(config, folder=layout.root, weights_root=weights_root)
        job.fill_units(VideoCurator(config, layout.root, detector, registered))
    return job.pack()


def is_finished(work: Path) -> bool:
    """Whether a source was finished in this folder of unfinished work; nothing of it is read."""
    return is_sealed(work / DONE)


@dataclass
class _Job:
    """The curation of one source, step by step; each step goes on where a kill left it.

    They raise what `run_source` does.
    """

    name: str
    source: SourceConfig
    config: CurateConfig
    layout: Layout
    out: Path
    work: Path
    progress: Progress
    max_corrupt_share: float

    def __post_init__(self) -> None:
        """Go through the layout once; nothing of it is kept, and nothing of its files is read."""
        self.units = UnitStore(self.work / "units")
        self.num_images = self.num_videos = self.num_files = 0
        listing = hashlib.sha256()
        layout = self.layout
        rows: Iterator[RawRow] = chain(layout.images, layout.tracklets, layout.videos)
        for row in rows:
            if isinstance(row, RawVideo):
                self.num_videos += 1
            else:
                self.num_images += 1  # or tracklets of images
            self.num_files += len(row.paths)
            listing.update(repr(row).encode() + b"\n")
        for part in (*layout.templates, *layout.splits):
            listing.update(repr(part).encode() + b"\n")
        self.digest = listing.hexdigest()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do: all that was made is read, and is whole."""
        if not is_finished(self.work):
            return False
        done, packer = load_intact(self.work / DONE, locate=self.out.joinpath), self.build_packer()
        if done is None or done.value != packer.num_shards:
            return False
        return not packer.list_damaged()

    def build_packer(self) -> Packer:
        """Build what knows the finished shards."""
        return Packer(out=self.out, work=self.work, shard_mb=self.config.shard_mb)

    def claim(self, weights: str) -> None:
        """Mark `work` as that of this source and configuration."""
        config = {key: value for key, value in asdict(self.config).items() if key != "sources"}
        parts = [self.name, asdict(self.source), config, self.digest, weights]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        path = self.work / f"key{SUFFIX}"
        claimed = load_seal(path)
        if claimed and claimed.value != key:
            raise InputError(
                f"{self.work} holds unfinished work with other files or parameters. What "
                "to do: remove that folder, or use its parameters again."
            )
        save_seal(path, [], locate=self.work.joinpath, value=key)

    def fill_units(self, curator: VideoCurator) -> None:
        """Curate the videos that have no unit yet."""
        damage = self._build_log()
        for number, video in enumerate(self.layout.videos):
            if number not in self.units:
                curator.curate(video, number=number, units=self.units, progress=self.progress)
            self.progress(f"{self.name}: videos", number + 1, self.num_videos)
            if broken := self.units.load_summary(number).damage:
                damage.add(video.path, reason=broken)
        for number, video in enumerate(self.layout.videos):
            if self.units.remove_damaged(number):
                curator.curate(video, number=number, units=self.units, progress=self.progress)

    def pack(self) -> dict[str, Any]:
        """Write shards, manifest and report, and drop what was only needed on the way."""
        (self.work / DONE).unlink(missing_ok=True)
        packer = self.build_packer()
        damage = self._build_log()
        videos = [self.units.load_summary(number) for number in range(self.num_videos)]
        changes = Counter(change for video in videos for change in video.changes)
        num_items = self.num_images
        num_items += sum(video.tracklets.get(KEPT, 0) + bool(video.damage) for video in videos)
        packer.pack(
            self._read_candidates,
            damage=damage,
            progress=lambda done: self.progress(f"{self.name}: records", done, num_items),
        )
        manifest = Manifest(packer.save_manifest())
        report = build_report(
            manifest,
            source=self.source,
            damage=damage,
            num_shards=packer.num_shards,
            layout=self.layout,
            notes=describe_video_changes(changes),
        )
        if self.num_videos:
            tables = [self.units.load_tracks(number) for number in range(self.num_videos)]
            tracks = pa.concat_tables([TRACKS_SCHEMA.empty_table(), *tables])
            save_table(self.out / TRACKS, tracks.combine_chunks())
            report["video"] = build_video_report(self.layout.videos, videos, config=self.config)
        if self.layout.templates:
            report["entries"] = save_templates(self.out, self.layout.templates, manifest=manifest)
        if self.layout.splits:
            save_splits(self.out, self.layout.splits)
        if not len(manifest):
            raise EmptySourceError(
                f"curate.sources.{self.name}: nothing was kept: {json.dumps(report)}. What to do: "
                "find the reason that rejected most, and relax its parameter."
            )
        with open_atomic(self.out / REPORT) as temporary:
            temporary.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        made = sorted(path.name for path in self.out.iterdir() if path.name in OUTPUTS)
        save_seal(self.work / DONE, made, locate=self.out.joinpath, value=packer.num_shards)
        shutil.rmtree(self.work / "units", ignore_errors=True)
        return report

    def _read_candidates(self, start: int) -> Iterator[Candidate]:
        """Candidates from number `start` on: of images, then tracklets, then videos."""
        layout = self.layout
        files: Iterator[RawImage | RawTracklet] = chain(layout.images, layout.tracklets)
        units = read_units(layout.videos, units=self.units, source=self.name)
        return chain(
            read_images(islice(files, start, None), read=layout.read_bytes, source=self.name),
            islice(units, max(start - self.num_images, 0), None),
        )

    def _build_log(self) -> DamageLog:
        return DamageLog(self.name, self.num_files, self.max_corrupt_share)
