"""Rows of a feature file, matched with the images and tracklets that they are of.

Legend: n entries, R rows of the file, F frames of all test rows, D feature width.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.external_file import WHOLE, ExternalFeatures, FeatureFileError
from vills.evaluation.layout_entries import Found, LayoutEntries
from vills.evaluation.protocols.base import FeatureChoice

IntArray = NDArray[np.int64]
NONE = -1


class ExternalModel:
    """Rows of a feature file, by what they are of."""

    def __init__(
        self, external: ExternalFeatures, entries: LayoutEntries, *, normalise_frames: bool = False
    ) -> None:
        """Match the rows with the test rows of a layout.

        A tracklet has one row (under the path of its first frame, or of its folder if it is alone
        there) or a row per frame. If the file says nothing else, a file that has a row of any
        frame but the first is taken to be per frame.

        Args:
            external: the file.
            entries: who is where.
            normalise_frames: scale the features of frames to norm 1 before they are pooled.

        Raises:
            FeatureFileError: two rows of one thing, a frame that does not exist, or no row of any
                query or gallery entry.
        """
        self._external = external
        self._entries = entries
        self._normalise = normalise_frames
        self._wholes: IntArray = np.full(len(entries.media), NONE)
        self._frames: IntArray = np.full(int(entries.starts[-1]), NONE)
        self._video_frames: dict[int, dict[int, int]] = {}
        self._rows = {medium.record_id: row for row, medium in enumerate(entries.media)}
        self.used = np.zeros(len(external.paths), bool)
        self.unknown: list[int] = []
        for row, path in enumerate(external.paths):
            found = entries.find(path)
            if found is None:
                self.unknown.append(row)
            else:
                self._put(row, found)
        if len(self.unknown) == len(external.paths):
            raise FeatureFileError(
                f"no path of the file is below {entries.layout.root}: it names "
                f"{external.paths[0]}, the data set has {entries.name(0)}. What to do: write paths "
                "below the data set's root."
            )
        first = entries.starts[:-1]
        others = np.ones(len(self._frames), bool)
        others[first] = False
        in_frames = bool((self._frames[others] != NONE).any() or self._video_frames)
        self._per_frame = in_frames or external.frames is not None
        self.num_pooled = 0
        """Tracklets whose frames were pooled."""

    def compute(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """[n, D] features; what has none is a row of NaN."""
        features = np.full((len(entries), self._external.features.shape[1]), np.nan, np.float32)
        for place, (record_id, position) in enumerate(entries.keys):
            rows = self._find_rows(self._rows[record_id], position)
            if rows:
                self.used[rows] = True
                features[place] = self._pool(rows, choice.pooling)
        return features

    @property
    def per_frame(self) -> bool:
        """Whether tracklets have a row per frame."""
        return self._per_frame

    @property
    def has_tracklets(self) -> bool:
        """Whether the data set has any."""
        return any(medium.kind == "tracklet" for medium in self._entries.media)

    def _put(self, row: int, found: Found) -> None:
        """Note what a row of the file is of."""
        medium = self._entries.media[found.row]
        says = self._external.frames is not None
        frame = WHOLE if self._external.frames is None else int(self._external.frames[row])
        if frame != WHOLE and found.position > 0:
            raise self._refuse(row, "names a frame by its path and by its number. Allowed: one")
        if frame == WHOLE and found.position > 0:
            frame = found.position
        elif frame == WHOLE and found.position == 0 and not says:
            frame = 0
        num = len(medium.names)
        if frame >= num and not medium.is_video:
            raise self._refuse(row, f"is beyond the last of {num} frames (they count from 0)")
        if medium.kind == "image" or frame == WHOLE:
            slot, index = self._wholes, found.row
        elif medium.is_video:
            self._put_video_frame(row, found.row, frame)
            return
        else:
            slot, index = self._frames, int(self._entries.starts[found.row]) + frame
        if slot[index] != NONE:
            other = self._external.name(int(slot[index]))
            raise self._refuse(row, f"is of the same as {other}")
        slot[index] = row

    def _put_video_frame(self, row: int, medium: int, frame: int) -> None:
        frames = self._video_frames.setdefault(medium, {})
        if frame in frames:
            raise self._refuse(row, f"is of the same as {self._external.name(frames[frame])}")
        frames[frame] = row

    def _refuse(self, row: int, reason: str) -> FeatureFileError:
        return FeatureFileError(
            f"{self._external.name(row)} {reason}. What to do: correct the file."
        )

    def _find_rows(self, medium: int, position: int) -> list[int]:
        """Rows whose pooled features are that of an entry; none if any is missing."""
        start, stop = int(self._entries.starts[medium]), int(self._entries.starts[medium + 1])
        whole, frames = int(self._wholes[medium]), self._frames[start:stop]
        is_single = stop - start == 1
        if position >= 0:
            found = frames[position] if self._per_frame or is_single else NONE
            return [int(found)] if found != NONE else []
        if whole != NONE:
            return [whole]
        if medium in self._video_frames:
            by_frame = self._video_frames[medium]
            return [by_frame[frame] for frame in sorted(by_frame)]
        if not self._per_frame:
            return [int(frames[0])] if frames[0] != NONE else []
        return [] if (frames == NONE).any() else [int(row) for row in frames]

    def _pool(self, rows: Sequence[int], pooling: str) -> FloatArray:
        features = self._external.features[rows]
        if len(rows) == 1:
            return np.asarray(features[0])
        self.num_pooled += 1
        frames = features.astype(np.float64)
        if self._normalise:
            norms = np.linalg.norm(frames, axis=1, keepdims=True)
            frames = frames / np.where(norms > 0, norms, 1.0)
        pooled = frames.max(axis=0) if pooling == "max" else frames.mean(axis=0)
        return np.asarray(pooled, np.float32)
