"""Training tracklets, long ones cut into pieces (Simple-CCReID's dense sampling of its train set).

Legend: n frames of a tracklet.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tracks:
    """Samples of fine-tuning: spans of frames of a manifest's rows."""

    rows: np.ndarray
    """int64 [samples], row of the manifest."""
    starts: np.ndarray
    """int64 [samples], first frame within the record."""
    lengths: np.ndarray
    """int64 [samples], frames."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)


def cut_tracks(num_frames: np.ndarray, *, max_track: int) -> Tracks:
    """One sample per record, or pieces of `max_track` frames of those that are longer.

    The last piece of a tracklet has the rest as well, so that no frame is lost and no piece is
    shorter than `max_track` (CAL does it so, at 64).

    Args:
        num_frames: int [records], n of each.
        max_track: frames of a piece; 0 cuts nothing.
    """
    counts = np.asarray(num_frames, dtype=np.int64)
    pieces = np.maximum(counts // max_track, 1) if max_track else np.ones_like(counts)
    rows = np.repeat(np.arange(len(counts)), pieces)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = within * max_track
    is_last = within == pieces[rows] - 1
    return Tracks(rows, starts, np.where(is_last, counts[rows] - starts, max_track))
