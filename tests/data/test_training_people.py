"""Who is held out and who is learned: the same whatever else is asked for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.sources import WriteSource
from vills.config.checks import ConfigError
from vills.data.reid import ReidData, load_reid_data
from vills.data.samplers import TrainingPeople, sample_rng

Item = tuple[str, int, str, int, int, str]
PIDS = np.repeat(np.arange(3, 43), 3)


def test_both_draws_by_a_plain_loop() -> None:
    chances = [(sample_rng(74, pid).random(), pid) for pid in range(3, 43)]
    held = TrainingPeople(6).draw_val(PIDS)
    assert held.tolist() == [pid for _, pid in sorted(chances)[:6]]
    chances = [(sample_rng(9, 75, pid).random(), pid) for pid in range(3, 43)]
    kept = TrainingPeople(0, 5, seed=9).draw_train(PIDS)
    assert kept.tolist() == [pid for _, pid in sorted(chances)[:5]]


def test_who_is_held_out_depends_on_the_training_people_alone() -> None:
    held = TrainingPeople(6).draw_val(PIDS).tolist()
    for people in (TrainingPeople(6, 20), TrainingPeople(6, 0, seed=3)):
        assert people.draw_val(np.random.default_rng(0).permutation(PIDS)).tolist() == held
    # fewer are some of more, and a missing person moves nobody else
    assert TrainingPeople(3).draw_val(PIDS).tolist() == held[:3]
    without = TrainingPeople(5).draw_val(PIDS[~np.isin(PIDS, held[2])])
    assert without.tolist() == [*held[:2], *held[3:]]


def test_seeds_learn_other_people_and_fewer_are_some_of_more() -> None:
    few, more, all_of_them = (
        TrainingPeople(0, num, seed=1).draw_train(PIDS).tolist() for num in (5, 20, 0)
    )
    assert few == more[:5]
    assert sorted(all_of_them) == list(range(3, 43))
    others = TrainingPeople(0, 20, seed=2).draw_train(PIDS).tolist()
    assert set(others) != set(more)


def write_people(write_source: WriteSource) -> Path:
    items: list[Item] = [
        (kind, num, "train", pid, camid, "")
        for kind, num in (("image", 1), ("tracklet", 3))
        for pid in range(1, 11)
        for camid in (0, 1)
    ]
    items += [("image", 1, "train", 0, 0, ""), ("image", 1, "query", 30, 0, "")]
    items += [("image", 1, "gallery", 30, 1, "")]
    return write_source("m", items)


def get_people(data: ReidData) -> tuple[set[int], set[int]]:
    assert data.val is not None
    return set(data.train.column("pid").tolist()), set(data.val.column("pid").tolist())


def test_held_out_people_never_stand_in_train(write_source: WriteSource) -> None:
    folder = write_people(write_source)
    people = TrainingPeople(4, 3, seed=0)
    found = {}
    for modality in ("image", "video", "mixed"):
        data = load_reid_data(folder, modality=modality, people=people)
        train, val = get_people(data)
        assert (len(train), len(val), data.num_ids) == (3, 4, 3)
        assert sorted(set(data.labels.tolist())) == [0, 1, 2]
        assert not train & val
        assert data.val is not None
        assert len(data.val) == 16  # of every kind, whatever is learned
        found[modality] = (train, val)
    assert found["image"] == found["video"] == found["mixed"]
    text = load_reid_data(folder, modality="image", people=people).describe()
    assert ", val 16 of 4 people in 2 cameras (0 distractors" in text
    assert "; 6 rows of train beyond 3 people left out" in text
    other = load_reid_data(folder, modality="image", people=replace(people, seed=5))
    assert get_people(other)[1] == found["image"][1]
    assert get_people(other)[0] != found["image"][0]


def test_nobody_is_drawn_unless_asked_for(write_source: WriteSource) -> None:
    data = load_reid_data(write_people(write_source), modality="image")
    assert (data.val, data.num_ids, len(data.train)) == (None, 10, 20)
    assert "val" not in data.describe()


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (TrainingPeople(9), r"num_val_ids = 9 is not allowed. Allowed: 0 to 8. .* of the 10 train"),
        (
            TrainingPeople(4, 7),
            r"num_train_ids = 7 .* Allowed: 0 to 6. .* 6 people that num_val_id",
        ),
    ],
)
def test_more_people_than_there_are_are_refused(
    write_source: WriteSource, people: TrainingPeople, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_reid_data(write_people(write_source), modality="image", people=people)
