"""Raw videos to units: decode, detect, track, filter, crop; one frame batch in memory at a time."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from vills.config.curate import CurateConfig
from vills.curation.candidate import Candidate
from vills.curation.detections import Detections
from vills.curation.detector import Detector
from vills.curation.frame import Frame
from vills.curation.person_tracker import PersonTracker
from vills.curation.tracklets import TrackletBuilder
from vills.curation.units import UnitStore, VideoSummary
from vills.curation.video import VideoStream
from vills.data.layouts import RawVideo
from vills.data.records import Record, make_record_id

Progress = Callable[[str, int, int], None]
# Frames that a detector gets at once; a GPU wants several, and this many are held in memory.
DETECT_BATCH = 8


class VideoCurator:
    """Finds the tracklets of one video after another."""

    def __init__(self, config: CurateConfig, *, folder: Path, detector: Detector) -> None:
        self._config = config
        self._folder = folder
        self._detector = detector

    def curate(self, video: RawVideo, *, number: int, units: UnitStore, progress: Progress) -> None:
        """Write the unit of a video.

        A video that breaks off gives the tracklets before the break.

        Args:
            video: The raw file.
            number: Its position in the source.
            units: Takes what is found.
            progress: Called with the frames decoded so far, of how many.
        """
        stream = VideoStream(self._folder / video.path, video.path, step=self._config.frame_step)
        tracker = PersonTracker(self._config)
        rejected: Counter[str] = Counter()
        num_detections = 0
        record_id = make_record_id(video.path)
        with units.write(number, path=video.path, record_id=record_id) as unit:
            builder = TrackletBuilder(self._config, sink=unit.add)
            for frame, found in self._detect(stream):
                detections = found.above(self._config.low_confidence or self._config.confidence)
                tracked = tracker.update(detections)
                num_detections += len(found)
                rejected["low_confidence"] += len(found) - len(detections)
                rejected["untracked"] += len(detections) - len(tracked)
                builder.add(frame, tracked=tracked, detections=detections)
                progress(f"frames of {video.path}", stream.num_frames, stream.expected_frames)
            builder.finish()
            unit.commit(
                VideoSummary(
                    num_frames=stream.num_frames,
                    num_detections=num_detections,
                    damage=stream.damage,
                    detections=dict(rejected),
                    frames=dict(builder.frames),
                    tracklets=dict(builder.tracklets),
                )
            )

    def _detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        stream = iter(frames)
        while batch := list(islice(stream, DETECT_BATCH)):
            yield from zip(batch, self._detector.detect(batch), strict=True)


def read_units(videos: Iterable[RawVideo], *, units: UnitStore, source: str) -> Iterator[Candidate]:
    """Make candidates of the tracklets of all videos, and one without a record per damaged one."""
    for number, video in enumerate(videos):
        damage = units.load_summary(number).damage
        if damage:
            yield Candidate(None, damaged=((video.path, damage),))
        for record_id, tracklet in units.load_tracklets(number):
            record = Record(
                record_id=record_id,
                kind="tracklet",
                source=source,
                split="pretrain",
                pid=-1,
                camid=-1,
                clothes_id=-1,
                video_id=video.video_id,
                origin=video.path,
                width=tracklet.width,
                height=tracklet.height,
                shard="",
                offsets=(0,) * len(tracklet.frames),
                lengths=(0,) * len(tracklet.frames),
                frames=tuple(tracklet.frames),
                boxes=tuple(
                    (float(a), float(b), float(c), float(d)) for a, b, c, d in tracklet.boxes
                ),
            )
            yield Candidate(record, tuple(tracklet.crops))
