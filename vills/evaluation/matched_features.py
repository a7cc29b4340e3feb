"""Rows of a feature file, matched by their paths with the test files of a data set.

Legend: n entries, R rows of the file, D feature width.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import Entries
from vills.evaluation.feature_table import WHOLE, FeatureFileError, FeatureTable
from vills.evaluation.layout_files import Found, LayoutFiles
from vills.evaluation.protocols import FeatureChoice


class MatchedFeatures:
    """Rows of a feature file, by what they are of."""

    def __init__(
        self, table: FeatureTable, files: LayoutFiles, *, normalise_frames: bool = False
    ) -> None:
        """Match the rows with the test files of a layout.

        A tracklet has one row (under the path of its first frame, or of its folder if it is alone
        there) or a row per frame. If the file says nothing else, a file that has a row of any
        frame but the first is taken to be per frame.

        Args:
            table: the file's content.
            files: who is where.
            normalise_frames: scale the features of frames to norm 1 before they are pooled.

        Raises:
            FeatureFileError: two rows of one thing, a frame that does not exist, or no row of any
                query or gallery entry.
        """
        self._table, self.files, self._normalise = table, files, normalise_frames
        self._rows: list[dict[int, int]] = [{} for _ in files.media]
        """Of each medium, frame (WHOLE: all of it) -> row of the file."""
        self.used = np.zeros(len(table.paths), bool)
        """[R] whether a protocol asked for the row."""
        self.known = np.zeros(len(table.paths), bool)
        """[R] whether the row is of a test file."""
        self.num_pooled = 0
        """Tracklets whose frames were pooled."""
        self.notes: list[str] = []
        """How paths are spelt otherwise than those of the test files that they mean."""
        matched = {path: files.find(path) for path in table.paths}
        self._match_spelt(matched)
        for row, path in enumerate(table.paths):
            found = matched[path]
            if found is not None:
                self.known[row] = True
                self._put(row, found)
        if not self.known.any():
            raise FeatureFileError(
                f"no path in the file is a test file below {files.layout.root}: it has "
                f"{table.paths[0]}, the data set has {files.name(0)}. {self.describe_namesake()}"
                "What to do: write paths relative to the data set's root."
            )
        self.per_frame = table.frames is not None or any(
            frame > 0 for rows in self._rows for frame in rows
        )
        """Whether tracklets have a row per frame."""

    def compute(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """Return features [n, D]; what has none is a row of NaN."""
        own = self._table.features
        features = np.full((len(entries), own.shape[1]), np.nan, own.dtype)
        for place, (record_id, position) in enumerate(entries.keys):
            rows = self._find_rows(self.files.rows[record_id], position)
            if rows:
                self.used[rows] = True
                features[place] = self._pool(rows, choice.pooling)
        return features

    def describe_namesake(self) -> str:
        """Say which path that matches nothing has a test file's name, in another folder."""
        for row in np.flatnonzero(~self.known):
            path = self._table.paths[row]
            if path not in self.files.others and (namesake := self.files.find_namesake(path)):
                return f"{path} has the file name of {namesake}, which is in another folder. "
        return ""

    def find_lost(self, entries: Entries, choice: FeatureChoice) -> list[tuple[str, int]]:
        """Find the keys of entries that have no feature."""
        lost = np.isnan(self.compute(entries, choice)).all(axis=1)
        return entries.take(np.flatnonzero(lost)).keys

    def _match_spelt(self, matched: dict[str, Found | None]) -> None:
        """Match what is spelt otherwise with test files that have no row as they are spelt."""
        lost = [p for p, found in matched.items() if not found and p not in self.files.others]
        taken = set(matched.values())
        firsts: dict[tuple[str, ...], tuple[str, Found]] = {}
        counts: Counter[tuple[str, ...]] = Counter()
        for found, spelling in self.files.find_spelt(lost) if lost else ():
            if found not in taken:
                matched[spelling.written] = found
                counts[spelling.changes] += 1
                firsts.setdefault(spelling.changes, (spelling.written, found))
        for changes, num in counts.items():
            written, found = firsts[changes]
            self.notes.append(
                f"{num:,} paths are matched with {' and '.join(changes)}: '{written}' is taken "
                f"for {self.files.name(*found)}"
            )

    def _put(self, row: int, found: Found) -> None:
        """Note what a row of the file is of."""
        medium = self.files.media[found.row]
        frames = self._table.frames
        frame = WHOLE if frames is None else int(frames[row])
        if frame != WHOLE and found.position > 0:
            raise self._refuse(row, "names a frame twice, by path and by number. Allowed: once")
        if frame == WHOLE and (found.position > 0 or (found.position == 0 and frames is None)):
            frame = found.position
        num = len(medium.names)
        if frame >= num and not medium.is_video:
            raise self._refuse(row, f"is beyond the last of {num} frames (the first is 0)")
        own = self._rows[found.row]
        other = own.setdefault(WHOLE if medium.kind == "image" else frame, row)
        if other != row:
            raise self._refuse(row, f"is of the same as {self._table.name(other)}")

    def _refuse(self, row: int, reason: str) -> FeatureFileError:
        return FeatureFileError(f"{self._table.name(row)} {reason}. What to do: correct the file.")

    def _find_rows(self, number: int, position: int) -> list[int]:
        """Find the rows whose pooled features are that of an entry; none if any is missing."""
        medium, own = self.files.media[number], self._rows[number]
        num = len(medium.names)
        if position >= 0:
            can_tell = (self.per_frame or num == 1) and not medium.is_video
            return [own[position]] if can_tell and position in own else []
        if WHOLE in own:
            return [own[WHOLE]]
        if not medium.is_video and not self.per_frame:
            return [own[0]] if 0 in own else []
        return [own[frame] for frame in sorted(own)] if medium.is_video or len(own) == num else []

    def _pool(self, rows: Sequence[int], pooling: str) -> FloatArray:
        if len(rows) == 1:
            return np.asarray(self._table.features[rows[0]])
        self.num_pooled += 1
        frames = self._table.features[rows].astype(np.float64)
        if self._normalise:
            norms = np.linalg.norm(frames, axis=1, keepdims=True)
            frames /= np.where(norms > 0, norms, 1.0)
        pooled = frames.max(axis=0) if pooling == "max" else frames.mean(axis=0)
        return np.asarray(pooled, self._table.features.dtype)
