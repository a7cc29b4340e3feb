"""Bodies: joints, limbs and what a person keeps from outfit to outfit."""

import numpy as np
import pytest

from vills.miniature.canvas import PARTS_PER_INSTANCE, Canvas, Part
from vills.miniature.figure import render_figure
from vills.miniature.people import AROUND, WIDTH, build_actor, render_turned
from vills.miniature.person import Group, build_identity, build_outfit
from vills.miniature.walk import Placement, compute_joints, compute_pose

LENGTHS = (
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("neck", "head"),
)


@pytest.mark.parametrize("index", range(5))
def test_bones_keep_their_length_and_a_foot_the_ground(index: int) -> None:
    identity = build_identity(0, Group.TEST, index)
    poses = [compute_pose(identity, phase) for phase in np.linspace(0, 2 * np.pi, 9)]
    for start, end in LENGTHS:
        lengths = [np.linalg.norm(pose[start] - pose[end]) for pose in poses]
        assert np.ptp(lengths) < 1e-9
    for pose in poses:
        feet = [pose[f"{side}_{part}"][1] for side in ("left", "right") for part in ("heel", "toe")]
        assert min(feet) == pytest.approx(0.018)
    for name, point in poses[0].items():  # a cycle ends where it began
        np.testing.assert_allclose(point, poses[-1][name], atol=1e-9)


def test_left_is_at_the_right_of_a_picture_taken_from_the_front() -> None:
    pose = compute_pose(build_identity(0, Group.TEST, 0), 0.0)
    front = compute_joints(pose, Placement(0, 0, 100, 0.0))
    back = compute_joints(pose, Placement(0, 0, 100, np.pi))
    assert front["left_shoulder"][0] > front["right_shoulder"][0]
    assert back["left_shoulder"][0] < back["right_shoulder"][0]
    side = compute_joints(pose, Placement(0, 0, 100, np.pi / 2))
    assert side["nose"][0] > side["head"][0]  # walks to the right ...
    assert side["right_shoulder"][2] > side["left_shoulder"][2]  # ... and shows the right side


def test_a_turned_map_shows_front_and_back() -> None:
    texture = np.zeros((2, AROUND, 3), dtype=np.uint8)
    texture[:, AROUND // 4 : 3 * AROUND // 4] = (200, 0, 0)  # the front half
    texture[:, 5 * AROUND // 8] = (0, 200, 0)  # half-way from the front to the left
    front, back = render_turned(texture, 0.0), render_turned(texture, np.pi)
    assert (front[:, 2:-2, 0] > 90).any(axis=0).sum() > WIDTH - 8
    assert not back[:, 2:-2].any()
    assert np.flatnonzero(front[0, :, 1]).min() > WIDTH // 2  # the left is at the right


def test_every_part_is_painted() -> None:
    actor = build_actor(0, Group.TEST, 1, 0, person=1)
    shown: set[int] = set()
    for yaw in (0.0, 1.0, 2.2, np.pi):
        canvas = Canvas(np.zeros((256, 160, 3), dtype=np.uint8))
        canvas.begin(3)
        pose = compute_pose(actor.identity, 1.0)
        render_figure(canvas, actor, pose, Placement(80, 246, 230, yaw, 0.1))
        owners = set(np.unique(canvas.parts // PARTS_PER_INSTANCE).tolist())
        assert owners == {0, 3}
        shown |= set(np.unique(canvas.parts % PARTS_PER_INSTANCE).tolist())
    assert shown - {0} >= set(Part) - {Part.BAG, Part.HAIR}


def test_outfits_change_clothes_and_nothing_else() -> None:
    outfits = [build_outfit(0, Group.PRETRAIN, 5, k) for k in range(3)]
    assert len({(o.top, o.top_pattern, o.top_colour, o.bottom_colour) for o in outfits}) == 3
    assert build_identity(0, Group.PRETRAIN, 5) == build_identity(0, Group.PRETRAIN, 5)
    assert build_identity(0, Group.PRETRAIN, 5) != build_identity(1, Group.PRETRAIN, 5)


def test_clothing_colours_are_shared_by_people() -> None:
    outfits = [build_outfit(0, Group.TEST, person, 0) for person in range(60)]
    worn = [frozenset((o.top_colour, o.top_second, o.bottom_colour)) for o in outfits]
    assert len(set(worn)) <= 10
    assert len(set(outfits)) == 60


def test_gait_tells_people_apart() -> None:
    phases = np.linspace(0, 2 * np.pi, 8, endpoint=False)

    def trace(index: int, name: str) -> np.ndarray:
        identity = build_identity(0, Group.TEST, index)
        return np.array([compute_pose(identity, phase)[name] for phase in phases])

    spread = [np.ptp(trace(index, "left_wrist")[:, 2]) for index in range(20)]
    assert max(spread) > 2 * min(spread)
