"""Scenes share a few cameras; nobody and no camera of them is in a labelled picture."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from vills.config.miniature import MiniatureConfig
from vills.curation.video import VideoStream
from vills.miniature import crop, sample_rng, scene
from vills.miniature.camera import build_camera
from vills.miniature.people import PRETRAIN_OFFSET, build_actor
from vills.miniature.person import Group
from vills.miniature.sink import Sink
from vills.miniature.unlabelled import sample_scenes
from vills.miniature.world import LAYOUTS, Unit, render_unit

pytestmark = pytest.mark.slow

UNLABELLED = ("luperson", "kinetics")


@dataclass
class Shown:
    """What the code drew for a data set, by its own numbers, in order."""

    cameras: list[int] = field(default_factory=list)
    people: list[tuple[Group, int]] = field(default_factory=list)


@pytest.fixture(scope="module")
def shown(small: MiniatureConfig) -> dict[str, Shown]:
    found = {name: Shown() for name in LAYOUTS}
    module: Any = crop
    develop, draw = module.render_photo, module.render_figure

    for name, layout in LAYOUTS.items():

        def take(camera: Any, *args: Any, into: Shown = found[name]) -> Any:
            into.cameras.append(camera.index)
            return develop(camera, *args)

        def paint(canvas: Any, actor: Any, *args: Any, into: Shown = found[name]) -> Any:
            into.people.append((actor.identity.group, actor.identity.index))
            return draw(canvas, actor, *args)

        with pytest.MonkeyPatch.context() as patch:
            for module in (scene, crop):
                patch.setattr(module, "render_photo", take)
            patch.setattr(crop, "render_figure", paint)
            for item in layout.list_items(small):
                layout.render_item(small, item, Sink())
    return found


def test_scenes_take_turns_with_the_cameras(
    shown: dict[str, Shown], small: MiniatureConfig
) -> None:
    cameras = np.array(shown["kinetics"].cameras).reshape(small.num_scenes, small.scene_frames)
    assert (cameras == cameras[:, :1]).all()
    assert cameras[:, 0].tolist() == [300, 301, 300]


def test_scenes_of_a_camera_have_one_place_behind_the_people(
    world: Path, small: MiniatureConfig
) -> None:
    first, other, again = (find_place(world, small, unit) for unit in range(3))
    assert correlate(first, again) > 0.97
    assert correlate(first, other) < 0.8
    assert correlate(again, other) < 0.8


def test_no_camera_of_unlabelled_pictures_took_labelled_ones(shown: dict[str, Shown]) -> None:
    images, scenes = (set(shown[name].cameras) for name in UNLABELLED)
    labelled = set().union(*(shown[name].cameras for name in LAYOUTS if name not in UNLABELLED))
    assert images <= set(range(100, 112))
    assert min(scenes) == 300
    # As many as there may be.
    assert not labelled & ({*range(100, 112)} | {*range(300, 300 + 10_000)})
    assert len(labelled) > 2


def test_nobody_of_pre_training_is_in_a_labelled_picture(
    shown: dict[str, Shown], world: Path
) -> None:
    for name in LAYOUTS:
        groups = {group for group, _ in shown[name].people}
        numbers = set(read_truth(world, name, "person")["person"])
        if name not in UNLABELLED:
            assert Group.PRETRAIN not in groups
            assert not any(PRETRAIN_OFFSET <= n < 2 * PRETRAIN_OFFSET for n in numbers)
            continue
        # Those who get in the way belong to no data set.
        passers = {p for p in shown[name].people if p[0] is Group.DISTRACTOR and p[1] >= 10_000}
        people = set(shown[name].people) - passers
        assert {group for group, _ in people} == {Group.PRETRAIN}
        assert {PRETRAIN_OFFSET + index for _, index in people} >= {
            n for n in numbers if n < 2 * PRETRAIN_OFFSET
        }
        assert min(numbers) >= PRETRAIN_OFFSET


@pytest.mark.parametrize(("people", "most"), [(24, 3), (2, 2), (7, 7), (240, 6)])
def test_scenes_go_through_all_people_before_anyone_comes_back(people: int, most: int) -> None:
    times = np.zeros(people, dtype=int)
    for cast in sample_scenes(0, 200, people, most):
        assert 2 <= len(cast) == len(set(cast)) <= most
        times[list(cast)] += 1
        assert np.ptp(times) <= 1
    assert times.min() >= 1


def test_nobody_keeps_to_a_camera_or_to_company() -> None:
    cameras: dict[int, set[int]] = {}
    company: dict[int, set[int]] = {}
    for unit, cast in enumerate(sample_scenes(0, 200, 24, 3)):
        for person in cast:
            cameras.setdefault(person, set()).add(unit % 8)
            company.setdefault(person, set()).update(cast)
    assert min(len(seen_by) for seen_by in cameras.values()) >= 5
    assert min(len(others) for others in company.values()) >= 10


def test_more_scenes_leave_the_others_alone() -> None:
    assert sample_scenes(0, 30, 24, 5)[:7] == sample_scenes(0, 7, 24, 5)


def test_six_walkers_do_not_all_hide_each_other() -> None:
    assert measure_plain_view(6) > 0.64
    assert measure_plain_view(3) > 0.7


def measure_plain_view(count: int) -> float:
    """Share of the people in some scenes of `count` of whom nearly all can be seen."""
    shares = []
    for number in range(8):
        rng = sample_rng(7, number)
        people = range(number * count, (number + 1) * count)
        actors = [build_actor(0, Group.PRETRAIN, k, 0, person=k) for k in people]
        walkers, camera = scene.sample_walkers(actors, rng), build_camera(0, 300)
        for time in np.linspace(-1.5, 1.5, 7):
            _, found = scene.render_frame(camera, walkers, rng, time=float(time))
            shares += [instance.visible for instance in found]
    return float(np.mean(np.array(shares) > 0.85))


def find_place(world: Path, config: MiniatureConfig, unit: int) -> np.ndarray:
    """The middle of the values a pixel takes in a scene, NaN where the truth has a person."""
    _, (path,), _ = render_unit(config, Unit("kinetics", unit))
    place = np.median(
        [frame.image for frame in VideoStream(world / "kinetics" / path, path)], axis=0
    )
    rows = read_truth(world, "kinetics", "path", "x1", "y1", "x2", "y2")
    for file, *box in zip(*rows.values(), strict=True):
        left, top, right, bottom = (round(edge) for edge in box)
        if file == path:
            place[max(0, top - 3) : bottom + 3, max(0, left - 8) : right + 8] = np.nan
    return place


def correlate(one: np.ndarray, other: np.ndarray) -> float:
    both = ~np.isnan(one + other)
    assert both.mean() > 0.2
    return float(np.corrcoef(one[both], other[both])[0, 1])


def read_truth(world: Path, name: str, *columns: str) -> dict[str, list[Any]]:
    return pq.read_table(world / "truth" / f"{name}.parquet", columns=[*columns]).to_pydict()
