import numpy as np
import pytest

from vills.data.clips import build_track_samples


def loop(counts: list[int], max_track: int) -> list[tuple[int, int, int]]:
    """CAL: whole pieces, the last one with the rest."""
    pieces = []
    for row, count in enumerate(counts):
        whole = count // max_track if max_track else 0
        for index in range(max(whole, 1)):
            start = index * max_track
            last = index == max(whole, 1) - 1
            pieces.append((row, start, count - start if last else max_track))
    return pieces


@pytest.mark.parametrize("max_track", [0, 1, 3, 64])
def test_pieces_are_the_plain_loop_and_lose_no_frame(max_track: int) -> None:
    rng = np.random.default_rng(0)
    counts = [1, 2, 3, 5, 6, 63, 64, 65, 127, 128, 129, *rng.integers(1, 300, 20).tolist()]
    tracks = build_track_samples(np.array(counts), max_track=max_track)
    found = list(
        zip(tracks.rows.tolist(), tracks.starts.tolist(), tracks.lengths.tolist(), strict=True)
    )
    assert found == loop(counts, max_track)
    assert len(tracks) == len(found)
    frames = [(row, start + t) for row, start, length in found for t in range(length)]
    assert frames == [(row, t) for row, count in enumerate(counts) for t in range(count)]
    if max_track:
        assert tracks.lengths.max() < max(2 * max_track, 2)


def test_nothing_to_cut() -> None:
    assert len(build_track_samples(np.zeros(0, dtype=np.int64), max_track=4)) == 0
