import pytest

from vills.curation.pace import Pace


def _select(times: list[float], rate: float) -> list[float]:
    pace = Pace(rate)
    return [time for time in times if pace.is_due(time)]


@pytest.mark.parametrize("frame_rate", [7.0, 12.0, 25.0, 29.97, 60.0, 240.0])
@pytest.mark.parametrize("rate", [1.0, 5.0, 7.0])
def test_any_frame_rate_gives_the_same_frames_a_second(frame_rate: float, rate: float) -> None:
    times = [3 + i / frame_rate for i in range(round(20 * frame_rate))]
    found = _select(times, rate)
    assert len(found) == pytest.approx(20 * rate, abs=1)
    gaps = [b - a for a, b in zip(found, found[1:], strict=False)]
    assert max(gaps) < 1 / rate + 1 / frame_rate
    assert found[0] == 3


def test_no_more_than_there_are_and_all_by_default() -> None:
    times = [i / 7 for i in range(70)]
    assert _select(times, 30) == times
    assert _select(times, 0) == times
    rounded = [round(i / 30, 3) for i in range(90)]  # whole milliseconds
    assert len(_select(rounded, 30)) == 90
    assert len(_select(rounded, 15)) == 45


def test_after_a_gap_nothing_is_caught_up_with() -> None:
    times = [i / 25 for i in range(25)] + [60 + i / 25 for i in range(25)]
    assert len(_select(times, 5)) == 10
