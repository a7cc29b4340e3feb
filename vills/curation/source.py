"""One raw source to `manifest.parquet`, shards and `report.json`."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.candidate import Candidate
from vills.curation.damage import DamageLog
from vills.curation.detector import build_detector, weights_digest
from vills.curation.filters import KEPT
from vills.curation.images import read_images, read_tracklets
from vills.curation.packer import Packer
from vills.curation.report import build_report, build_video_report
from vills.curation.units import TRACKS_SCHEMA, UnitStore
from vills.curation.videos import Progress, VideoCurator, read_units
from vills.data.files import atomic_path, save_table
from vills.data.layouts import Layout, RawImage, RawTracklet, RawVideo, read_layout
from vills.data.records import Manifest
from vills.errors import UserError


class EmptySourceError(UserError, ValueError):
    """Nothing of a source was kept."""


def curate_source(
    name: str,
    source: SourceConfig,
    config: CurateConfig,
    *,
    root: Path,
    out: Path,
    work: Path,
    weights_root: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Curate one raw data set into `out`.

    Images and tracklets of images are copied byte for byte; of videos, the tracklets of the people
    in them are cut out (paper section 4.1). Killed at any moment, the same call goes on at the
    video, or the shard of images, it was on, to the same bytes.

    Args:
        name: Name of the source from here on.
        source: Its layout and folder.
        config: Detector, tracker, filters, shards.
        root: Folder that `source.path` is below.
        out: Receives manifest.parquet, shards, report.json, and tracks.parquet for videos.
        work: Keeps what is finished until all is; for this source and this configuration alone.
        weights_root: Folder that `config.detector_weights` is below.
        progress: Called with what is done, how much, and of how much.

    Returns:
        The content of report.json.

    Raises:
        LayoutError: the folder is missing, empty, or holds another layout.
        ConfigError: predictions or weights of the detector are missing.
        TooManyDamagedError: more files are unreadable than `config.max_corrupt_share`.
        EmptySourceError: no record was kept.
        ValueError: `work` belongs to another source or configuration.
    """
    layout = read_layout(source.layout, root / source.path)
    digest = weights_digest(config, weights_root=weights_root) if layout.videos else ""
    job = _Job(name, source, config, layout, _survey(layout), out, work, progress or _say_nothing)
    job.claim(digest)
    if job.is_done:
        return dict(json.loads((out / "report.json").read_text()))
    if layout.videos:
        detector = build_detector(config, folder=layout.root, weights_root=weights_root)
        job.fill_units(VideoCurator(config, folder=layout.root, detector=detector))
    return job.finish(job.pack())


def _say_nothing(label: str, done: int, total: int) -> None:
    """Report no progress."""


@dataclass(frozen=True)
class _Survey:
    """What a listing of the source says: rows, files, and a digest of their names in order."""

    num_rows: int
    num_files: int
    digest: str


def _survey(layout: Layout) -> _Survey:
    listing = hashlib.sha256()
    num_rows = num_files = 0
    rows: Iterable[RawImage | RawTracklet | RawVideo]
    rows = chain(layout.images, layout.tracklets, layout.videos)
    for row in rows:
        paths = row.paths if isinstance(row, RawTracklet) else (row.path,)
        num_rows, num_files = num_rows + 1, num_files + len(paths)
        for path in paths:
            listing.update(path.encode() + b"\n")
    return _Survey(num_rows, num_files, listing.hexdigest())


@dataclass
class _Job:
    """The curation of one source, step by step; each step goes on where a kill left it."""

    name: str
    source: SourceConfig
    config: CurateConfig
    layout: Layout
    survey: _Survey
    out: Path
    work: Path
    progress: Progress

    def __post_init__(self) -> None:
        self.units = UnitStore(self.work / "units")

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        outputs = (self.out / "report.json", self.out / "manifest.parquet")
        return all(path.is_file() for path in (self.work / "done", *outputs))

    def claim(self, weights: str) -> None:
        """Mark `work` as that of this source and configuration.

        Raises:
            ValueError: it is that of another.
        """
        config = {key: value for key, value in asdict(self.config).items() if key != "sources"}
        parts = [self.name, asdict(self.source), config, self.survey.digest, weights]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        path = self.work / "key"
        if path.is_file() and path.read_text() != key:
            raise ValueError(
                f"{self.work} holds unfinished work on other files or with other parameters. What "
                "to do: remove that folder, or go back to its parameters."
            )
        with atomic_path(path) as temporary:
            temporary.write_text(key)

    def fill_units(self, curator: VideoCurator) -> None:
        """Curate the videos that have no unit yet.

        Raises:
            TooManyDamagedError: more videos are unreadable than allowed.
        """
        damage = self._build_log()
        for number, video in enumerate(self.layout.videos):
            if number not in self.units:
                curator.curate(video, number=number, units=self.units, progress=self.progress)
            self.progress(f"{self.name}: videos", number + 1, self.survey.num_rows)
            if broken := self.units.load_summary(number).damage:
                damage.add(video.path, reason=broken)

    def pack(self) -> dict[str, Any]:
        """Write shards and manifest, and return the report so far.

        Raises:
            TooManyDamagedError: more files are unreadable than allowed.
            EmptySourceError: no record was kept.
        """
        packer = Packer(out=self.out, work=self.work, shard_mb=self.config.shard_mb)
        damage = self._build_log()
        num_items = self.survey.num_rows
        if self.layout.videos:
            kept = (self.units.load_summary(number) for number in range(self.survey.num_rows))
            num_items = sum(unit.tracklets.get(KEPT, 0) + bool(unit.damage) for unit in kept)
        packer.pack(
            self._read_candidates(start=packer.num_items),
            damage=damage,
            progress=lambda done: self.progress(f"{self.name}: records", done, num_items),
        )
        manifest = Manifest(packer.save_manifest())
        report = build_report(
            manifest, source=self.source, damage=damage, num_shards=packer.num_shards
        )
        if self.layout.videos:
            report["video"] = self._finish_videos()
        if not len(manifest):
            raise EmptySourceError(
                f"curate.sources.{self.name}: nothing was kept: {json.dumps(report)}. What to do: "
                "see which reason rejected most, and relax its parameter."
            )
        return report

    def finish(self, report: dict[str, Any]) -> dict[str, Any]:
        """Write the report and drop what was only needed on the way."""
        with atomic_path(self.out / "report.json") as temporary:
            temporary.write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
        (self.work / "done").touch()
        self.units.clear()
        return report

    def _finish_videos(self) -> dict[str, Any]:
        numbers = range(self.survey.num_rows)
        tables = [self.units.load_tracks(number) for number in numbers]
        tracks = pa.concat_tables([TRACKS_SCHEMA.empty_table(), *tables])
        save_table(self.out / "tracks.parquet", tracks.combine_chunks())
        return build_video_report(
            (self.units.load_summary(number) for number in numbers), config=self.config
        )

    def _read_candidates(self, *, start: int) -> Iterator[Candidate]:
        folder, name = self.layout.root, self.name
        if self.layout.videos:
            units = read_units(self.layout.videos, units=self.units, source=name)
            return islice(units, start, None)
        if self.layout.tracklets:
            tracklets = islice(self.layout.tracklets, start, None)
            return read_tracklets(tracklets, folder=folder, source=name)
        images = islice(self.layout.images, start, None)
        return read_images(images, folder=folder, source=name)

    def _build_log(self) -> DamageLog:
        return DamageLog(self.name, self.survey.num_files, self.config.max_corrupt_share)
