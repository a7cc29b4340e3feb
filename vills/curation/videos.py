"""Raw videos to units: decode, detect, track, filter, crop; one frame batch in memory at a time."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from vills.config.curate import CurateConfig
from vills.curation.crops import KEPT
from vills.curation.detector import Detector
from vills.curation.packer import Candidate
from vills.curation.person_tracker import PersonTracker, compute_rate
from vills.curation.tracklets import EVERYBODY, TrackletBuilder
from vills.curation.units import UnitStore, VideoSummary
from vills.curation.video import Detections, Frame, VideoStream
from vills.data.inventory import Registered
from vills.data.layouts import RawVideo
from vills.data.records import JUNK_PID, Record, build_record_id
from vills.progress import Progress

# Frames that a detector gets at once; a GPU wants several, and this many are held in memory.
DETECT_BATCH = 8


def build_video_id(video: RawVideo) -> str:
    """Begin of the record ids of a video; segments of one file have different ones."""
    name = build_record_id(video.path)
    if (video.start, video.stop) == (0, -1):
        return name
    stop = "end" if video.stop < 0 else f"{video.stop:06d}"
    return f"{name}_{video.unit}{video.start:06d}-{stop}"


@dataclass(frozen=True)
class VideoCurator:
    """Finds the tracklets of one video after another."""

    config: CurateConfig
    folder: Path
    detector: Detector
    registered: Registered | None = None
    """What was registered, which is compared with each video before its unit is kept."""

    def curate(self, video: RawVideo, *, number: int, units: UnitStore, progress: Progress) -> None:
        """Write the unit of a video.

        A damaged video gives the tracklets of what can be decoded. Of a labelled video only the
        longest track is kept, as its person; `curate.min_seconds` does not apply to it, since a
        short probe is a hard one, and to drop it would make the test easier.

        `number` is the position of the video in the source; `progress` is called with the frames
        decoded so far, and of how many.
        """
        stream = VideoStream(
            self.folder / video.path,
            video.path,
            rate=self.config.frames_per_second,
            start=video.start,
            stop=video.stop,
            unit=video.unit,
        )
        with units.write(number, path=video.path, record_id=build_video_id(video)) as unit:
            is_labelled = video.pid > JUNK_PID  # with a known person
            config = replace(self.config, min_seconds=0.0) if is_labelled else self.config
            builder = TrackletBuilder(config, sink=unit.add)
            found = self._track(stream, builder=builder, progress=progress)
            if self.registered:
                self.registered.check_file(video.path)
            subject = builder.reject_others() if is_labelled else EVERYBODY
            unit.summary = VideoSummary(
                num_frames=stream.num_frames,
                num_lost=stream.num_lost,
                num_detections=found.total(),
                damage=stream.damage,
                detections={reason: count for reason, count in found.items() if reason != KEPT},
                frames=dict(builder.frames),
                tracklets=dict(builder.tracklets),
                num_jumps=builder.num_jumps,
                subject=subject,
                subject_seconds=round(builder.kept_seconds.get(subject, 0.0), 6),
                changes=stream.changes,
            )

    def _track(
        self, stream: VideoStream, *, builder: TrackletBuilder, progress: Progress
    ) -> Counter[str]:
        """Give the builder all frames, and return the boxes by what became of them."""
        rejected: Counter[str] = Counter()
        pairs = self._detect(stream)
        first = list(islice(pairs, DETECT_BATCH))
        tracker = PersonTracker(self.config, rate=compute_rate([frame.time for frame, _ in first]))
        for frame, found in chain(first, pairs):
            detections = found.above(self.config.low_confidence or self.config.confidence)
            tracked = tracker.update(detections, time=frame.time)
            rejected[KEPT] += len(tracked)
            rejected["low_confidence"] += len(found) - len(detections)
            rejected["untracked"] += len(detections) - len(tracked)
            builder.add(frame, tracked=tracked, detections=detections)
            builder.finish(tracker.alive)
            progress(f"frames of {stream.path}", stream.num_frames, stream.expected_frames)
        builder.finish()
        return rejected

    def _detect(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Detections]]:
        stream = iter(frames)
        while batch := list(islice(stream, DETECT_BATCH)):
            yield from zip(batch, self.detector.detect(batch), strict=True)


def read_units(videos: Iterable[RawVideo], *, units: UnitStore, source: str) -> Iterator[Candidate]:
    """Make candidates of the tracklets of all videos, and one without a record per damaged one."""
    for number, video in enumerate(videos):
        damage = units.load_summary(number).damage
        if damage:
            yield Candidate(None, damaged=((video.path, damage),))
        for tracklet in units.load_tracklets(number):
            frames, boxes = tracklet["frames"], tracklet["boxes"]
            record = Record(
                record_id=tracklet["record_id"],
                kind="tracklet",
                source=source,
                split=video.split,
                pid=video.pid,
                camid=video.camid,
                clothes_id=video.clothes_id,
                video_id=video.video_id,
                origins=(video.path,),
                width=tracklet["width"],
                height=tracklet["height"],
                shard="",
                offsets=(0,) * len(frames),
                lengths=(0,) * len(frames),
                frames=tuple(frames),
                boxes=tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in boxes),
            )
            yield Candidate(record, tuple(tracklet["crops"]))
