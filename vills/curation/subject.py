"""Whom a labelled video shows, among all that were tracked in it."""

from collections import Counter

from vills.curation.filters import KEPT
from vills.curation.tracklets import NOT_THE_SUBJECT, Tracklet
from vills.curation.units import NO_SUBJECT


class SubjectFinder:
    """Chooses the longest track: the one with most crops, the first of several.

    A track that was cut at `curate.max_length` stays one track: all its tracklets are kept.
    """

    def __init__(self) -> None:
        self._frames: Counter[int] = Counter()
        self._parts: Counter[int] = Counter()

    def add(self, tracklet: Tracklet) -> None:
        """Take a tracklet, kept or rejected."""
        if not tracklet.reason:
            self._frames[tracklet.track_id] += len(tracklet.crops)
            self._parts[tracklet.track_id] += 1

    @property
    def subject(self) -> int:
        """Track of the subject; NO_SUBJECT if no tracklet was kept."""
        return min(
            self._frames, key=lambda track: (-self._frames[track], track), default=NO_SUBJECT
        )

    @property
    def num_frames(self) -> int:
        """Frames kept of the subject."""
        return self._frames[self.subject]

    def reject_others(self, *, frames: Counter[str], tracklets: Counter[str]) -> None:
        """Count everybody else as rejected, in the counts of a TrackletBuilder."""
        for counts, kept in ((frames, self._frames), (tracklets, self._parts)):
            others = kept.total() - kept[self.subject]
            counts[KEPT] -= others
            counts[NOT_THE_SUBJECT] += others
