"""What curation found in one video, kept until it is packed: the unit that a kill can cost."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vills.curation.tracklets import CORNERS, EVERYBODY, NOT_THE_SUBJECT, Tracklet
from vills.data.files import save_table
from vills.io import open_atomic
from vills.parts import SUFFIX, load_intact, load_seal, save_seal

TRACKS_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("frame", pa.int32()),
        ("track_id", pa.int32()),
        *((name, pa.float32()) for name in CORNERS),
        ("score", pa.float32()),
        ("record_id", pa.string()),
        ("reason", pa.string()),
    ]
)
"""tracks.parquet: every tracked box; record_id is empty where `reason` kept it out of one."""

_CROPS_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("track_id", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("frames", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.list_(pa.int32()))),
        ("crops", pa.list_(pa.binary())),
    ]
)


@dataclass(frozen=True)
class VideoSummary:
    """Counts of one video.

    Attributes:
        num_frames: Frames decoded.
        num_lost: Frames known to be lost.
        num_detections: Boxes that the detector gave on the frames read.
        damage: What of the video was lost; empty for a whole one.
        detections: Rejected boxes by reason.
        frames: Tracked boxes by reason of rejection, kept ones under the empty reason.
        tracklets: Tracklets likewise.
        num_jumps: Moments at which a track went over to another person, and was split.
        subject: Track of the one person of a labelled video, which alone is kept; NO_SUBJECT if
            it has none, EVERYBODY in a video without a label.
        subject_seconds: For how long the crops of that track show it, s.
        changes: What was done to the video, or left out.
    """

    num_frames: int
    num_detections: int
    damage: str
    detections: dict[str, int]
    frames: dict[str, int]
    tracklets: dict[str, int]
    num_jumps: int = 0
    subject: int = EVERYBODY
    subject_seconds: float = 0.0
    num_lost: int = 0
    changes: Sequence[str] = ()


class UnitStore:
    """Units of one source by the number of their video; a unit is there once it is sealed.

    The summary is in the seal (`vills.parts`).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __contains__(self, number: int) -> bool:
        """Whether video `number` is done; what was kept of it is not looked at."""
        return load_seal(self._get_seal(number)) is not None

    def remove_damaged(self, number: int) -> bool:
        """Whether video `number` is to be done again: its unit is read whole, and is damaged."""
        path = self._get_seal(number)
        if load_intact(path, locate=self._folder.joinpath):
            return False
        path.unlink(missing_ok=True)
        return True

    @contextmanager
    def write(self, number: int, *, path: str, record_id: str) -> Iterator["UnitWriter"]:
        """Write the unit of video `number` at the raw relative `path`.

        It is put in place once the block has succeeded. The writer's summary, which the block has
        to set, comes last and makes the unit count.
        """
        with (
            open_atomic(self._path(number, "crops.parquet")) as temporary,
            # Crops are compressed already, and statistics of them are of no use.
            pq.ParquetWriter(
                temporary,
                _CROPS_SCHEMA,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
            ) as crops,
        ):
            unit = UnitWriter(crops, path=path, record_id=record_id)
            yield unit
        save_table(self._path(number, "tracks.parquet"), unit.build_tracks())
        save_seal(
            self._get_seal(number),
            [self._path(number, kind).name for kind in ("crops.parquet", "tracks.parquet")],
            locate=self._folder.joinpath,
            value=asdict(unit.summary),
        )

    def load_summary(self, number: int) -> VideoSummary:
        """Read the counts of video `number`."""
        seal = load_seal(self._get_seal(number))
        assert seal is not None, f"video {number} was done and has no unit"
        return VideoSummary(**seal.value)

    def load_tracks(self, number: int) -> pa.Table:
        """Read the tracked boxes of video `number`."""
        return pq.read_table(self._path(number, "tracks.parquet"))

    def load_tracklets(self, number: int) -> Iterator[dict[str, Any]]:
        """Give the kept tracklets of video `number`, rows of the crops' table, one at a time."""
        subject = self.load_summary(number).subject
        with pq.ParquetFile(self._path(number, "crops.parquet")) as file:
            for i in range(file.num_row_groups):
                track_id = file.read_row_group(i, columns=["track_id"])["track_id"][0].as_py()
                if subject not in (EVERYBODY, track_id):
                    continue
                yield from file.read_row_group(i).to_pylist()

    def _get_seal(self, number: int) -> Path:
        return self._folder / f"{number:06d}{SUFFIX}"

    def _path(self, number: int, suffix: str) -> Path:
        return self._folder / f"{number:06d}.{suffix}"


class UnitWriter:
    """Takes the tracklets of one video as they end; no crop of them stays in memory."""

    summary: VideoSummary

    def __init__(self, crops: pq.ParquetWriter, *, path: str, record_id: str) -> None:
        self._crops, self._path, self._record_id = crops, path, record_id
        self._rows: list[pa.Table] = []

    def add(self, tracklet: Tracklet) -> None:
        """Take a tracklet, kept or rejected."""
        record_id = ""
        if not tracklet.reason:
            record_id = f"{self._record_id}_t{tracklet.track_id:04d}_{tracklet.part:02d}"
            height, width = tracklet.looks[0].size
            row = {
                "record_id": record_id,
                "track_id": tracklet.track_id,
                "width": width,
                "height": height,
                "frames": [look.frame for look in tracklet.looks],
                "boxes": [look.box for look in tracklet.looks],
                "crops": [look.content for look in tracklet.looks],
            }
            self._crops.write_table(pa.Table.from_pylist([row], schema=_CROPS_SCHEMA))
        rows = [
            seen
            | {
                "path": self._path,
                "track_id": tracklet.track_id,
                "record_id": "" if seen["reason"] else record_id,
                "reason": seen["reason"] or tracklet.reason,
            }
            for seen in tracklet.tracked
        ]
        self._rows.append(pa.Table.from_pylist(rows, schema=TRACKS_SCHEMA))

    def build_tracks(self) -> pa.Table:
        """Build the table of all tracked boxes, by frame; only the subject's are in a record."""
        tracks = pa.concat_tables([TRACKS_SCHEMA.empty_table(), *self._rows])
        subject = self.summary.subject
        if subject != EVERYBODY:
            other = pc.and_(
                pc.not_equal(tracks["record_id"], ""), pc.not_equal(tracks["track_id"], subject)
            )
            for name, value in (("reason", NOT_THE_SUBJECT), ("record_id", "")):
                column = pc.if_else(other, value, tracks[name])
                tracks = tracks.set_column(tracks.schema.get_field_index(name), name, column)
        return tracks.sort_by([("frame", "ascending"), ("track_id", "ascending")])
