from collections import Counter

import numpy as np

from vills.curation.filters import KEPT
from vills.curation.subject import SubjectFinder
from vills.curation.tracklets import NOT_THE_SUBJECT, Tracklet
from vills.curation.units import NO_SUBJECT


def test_the_longest_track_over_all_its_parts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        finder, lengths, parts = SubjectFinder(), Counter[int](), Counter[int]()
        frames, tracklets = Counter[str](), Counter[str]()
        for _ in range(rng.integers(1, 9)):
            track, length = int(rng.integers(4)), int(rng.integers(1, 4))
            reason = "no_good_frame" if rng.random() < 0.2 else KEPT
            finder.add(Tracklet(track, crops=[b""] * length, reason=reason))
            frames[reason] += length
            tracklets[reason] += 1
            if reason == KEPT:
                lengths[track] += length
                parts[track] += 1
        best = max(lengths.values(), default=0)
        expected = min((t for t in lengths if lengths[t] == best), default=NO_SUBJECT)
        assert finder.subject == expected
        assert finder.num_frames == best
        before = frames.total(), tracklets.total()
        finder.reject_others(frames=frames, tracklets=tracklets)
        assert (frames.total(), tracklets.total()) == before
        assert frames[KEPT] == best
        assert tracklets[KEPT] == parts[expected]
        assert frames[NOT_THE_SUBJECT] == lengths.total() - best
