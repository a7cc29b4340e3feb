"""A video as a stream of frames, and the people that a detector sees in a frame.

Never more than one decoded frame is held here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from numpy.typing import NDArray

from vills.curation.completeness import find_missing_end
from vills.curation.container import Film, NoFilmError, find_film, open_container
from vills.curation.film import FilmReader
from vills.curation.ledger import Shown
from vills.curation.pace import Pace
from vills.curation.picture import convert_picture
from vills.refusals import check_machine


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on its way from the decoder to the detector, the tracker and the crops.

    Attributes:
        path: Raw relative path of the video; supplied predictions are found by it.
        number: Position in the video, from 0, in the order of display, skipped frames counted.
        time: Seconds since the first frame of the video was shown, by the frame's own time stamp;
            never less than that of the frame before.
        image: uint8 [H, W, 3], RGB.
    """

    path: str
    number: int
    time: float
    image: NDArray[np.uint8]

    @property
    def width(self) -> int:
        """Width of the frame, px."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Height of the frame, px."""
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True)
class Detections:
    """Person boxes of one frame, most confident first.

    Attributes:
        boxes: float32 [n, 4], x1, y1, x2, y2 in px of the frame.
        scores: float32 [n], 0 to 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the boxes."""
        return len(self.scores)

    def above(self, confidence: float) -> "Detections":
        """Keep the boxes whose score is at least `confidence`."""
        kept = self.scores >= np.float32(confidence)
        return Detections(self.boxes[kept], self.scores[kept])


def build_detections(
    boxes: NDArray[np.floating], *, scores: NDArray[np.floating], frame: Frame
) -> Detections:
    """Clip boxes to their frame, drop what is empty or not finite, and sort by score.

    Ties keep their order, so that equal input gives equal output.
    """
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    scores = np.asarray(scores, dtype=np.float32).reshape(-1)
    clipped = np.clip(boxes, 0, np.array([frame.width, frame.height] * 2, dtype=np.float32))
    valid = np.isfinite(boxes).all(axis=1) & np.isfinite(scores)
    valid &= (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    order = np.argsort(-scores[valid], kind="stable")
    return Detections(clipped[valid][order], scores[valid][order])


UNTIMED = "with frames without a time stamp of their own: timed by the stated rate"
GAPS = "with gaps in time: frames are missing there, or the picture stood still"
RESIZED = "whose picture changes its size"
EMPTY_SEGMENT = "with a segment in which no frame begins"


@dataclass
class VideoStream:
    """The frames of one video file, read once, in the order in which they are shown.

    A damaged file is not an error here: all frames that can be decoded are given, and `damage`
    then says what was lost. An unreadable file gives no frame at all.

    A frame belongs to a segment in ms if it is first shown at `start` ms or later and before
    `stop` ms, by its own time stamp (`Frame.time`); no frame rate is asked.

    Attributes:
        file: Where the video lies.
        path: Raw relative path, carried by every frame.
        rate: Frames that are given of a second, at most, from `start` on; 0: all.
        start: First frame given, or ms from which frames are.
        stop: Frame, or ms, at which the stream ends; -1: at the end of the file.
        unit: What start and stop count: frame, or ms.
        num_frames: Frames decoded so far, skipped ones counted, lost ones not.
        num_lost: Frames known to be lost, once all is read.
        expected_frames: Frames that the file announces, once open; 0 if it does not say.
        damage: What was lost; empty for a whole file.
        changes: What was done to the video, or left out, for notes.
    """

    file: Path
    path: str
    rate: float = 0.0
    start: int = 0
    stop: int = -1
    unit: str = "frame"
    num_frames: int = 0
    num_lost: int = 0
    expected_frames: int = 0
    damage: str = ""
    changes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        """Decode frame by frame."""
        self.num_frames = self.num_lost = 0
        self.damage, self.changes = "", []
        try:
            with open_container(self.file) as container:
                yield from self._read(container, find_film(container, self.file))
        except NoFilmError as error:
            self.damage = str(error)
        except (FFmpegError, OSError) as error:
            check_machine(error)
            after = f" after frame {self.num_frames}" if self.num_frames else ""
            self.damage = f"{error.strerror or type(error).__name__}{after}"

    def check_ends(self) -> None:
        """Say in `damage` what the first frame and the length of the file tell, without more."""
        if next(iter(self), None) is not None:
            self.damage = find_missing_end(self.file)

    def _say(self, change: str) -> None:
        if change not in self.changes:
            self.changes.append(change)

    def _read(self, container: InputContainer, film: Film) -> Iterator[Frame]:
        self.changes += film.changes
        self.expected_frames = film.stream.frames
        reader, pace = FilmReader(container, film, say=self._say), Pace(self.rate)
        shown = size = None
        is_end = is_empty = True
        for shown in reader:
            self.num_frames += shown.frame is not None
            position = self._measure(shown)
            if 0 <= self.stop <= position:
                is_end = False
                break
            if position < self.start:
                continue
            is_empty = False
            reader.ledger.add(shown)
            if shown.frame is not None and pace.is_due(float(shown.time)):
                image = convert_picture(shown.frame, aspect=shown.aspect, say=self._say)
                if size not in (None, image.shape):
                    self._say(RESIZED)
                size = image.shape
                yield Frame(self.path, shown.number, float(shown.time), image)
        self._close(reader, is_end=is_end)
        if is_empty:
            self._describe_nothing(None if shown is None else self._measure(shown))

    def _measure(self, shown: Shown) -> Fraction | int:
        """Place of a frame in the unit of the segment."""
        return shown.number if self.unit == "frame" else shown.time * 1000

    def _close(self, reader: FilmReader, *, is_end: bool) -> None:
        """Say what was lost, and how frames were timed."""
        ledger = reader.ledger
        facts = {
            UNTIMED: reader.clock.num_untimed > 0,
            GAPS: ledger.has_gaps,
        }
        self.changes += [change for change, is_true in facts.items() if is_true]
        missing_end = find_missing_end(self.file) if is_end else ""
        self.num_lost, self.damage = ledger.describe(
            num_frames=self.num_frames, missing_end=missing_end, is_end=is_end
        )
        if not self.num_frames:
            reasons = ["no frame could be decoded", missing_end]
            self.damage = "; ".join(reason for reason in reasons if reason)

    def _describe_nothing(self, last: Fraction | int | None) -> None:
        """Say why a segment has no frame; the last frame of the film is at `last`."""
        if self.damage or last is None:
            return
        if last >= self.start:
            self._say(EMPTY_SEGMENT)
        elif self.unit == "frame":
            self.damage = f"has {last + 1} frames, its segment begins at {self.start}"
        else:
            self.damage = f"ends at {float(last):.0f} ms, its segment begins at {self.start} ms"
