"""The walk: joint positions at a phase of the gait cycle, and where they are seen in an image.

Body frame, in shares of the person's height: x to the person's left, y up from the ground, z
ahead.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vills.miniature.person import Identity

Point = NDArray[np.float64]
Pose = dict[str, Point]
_SIDES = (("left", 1.0), ("right", -1.0))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a person stands in the image."""

    x: float
    """Ground point below the pelvis, canvas px."""
    y: float
    scale: float
    """Canvas px of the person's whole height."""
    yaw: float
    """0: faces the viewer; pi/2: walks to the image's right."""
    pitch: float = 0.0
    """How far the camera looks down, radians."""


def compute_pose(identity: Identity, phase: float) -> Pose:
    """Return named joints [3] at `phase` (radians; 2 pi is one cycle of two steps)."""
    body, gait = identity.body, identity.gait
    swing = np.sin(phase)
    pose: Pose = {"pelvis": np.array([gait.sway * swing, body.leg, 0.0])}
    for side, sign in _SIDES:
        _place_leg(pose, identity, side, sign, phase if sign > 0 else phase + np.pi)
    length = 1.0 - 2.35 * body.head - 0.045 - body.leg
    up = np.array([-0.3 * gait.sway * swing, np.cos(gait.lean), np.sin(gait.lean)])
    neck = pose["neck"] = pose["pelvis"] + length * up
    turn = gait.twist * swing
    across = body.shoulder * np.array([np.cos(turn), 0.0, -np.sin(turn)])
    # Backpacks ride on the shoulder blades.
    pose["back"] = 0.62 * neck + 0.38 * pose["pelvis"] - np.array([0, 0, body.depth + 0.04])
    head = pose["head"] = neck + np.array([0.0, 0.03 + 1.15 * body.head, 0.02])
    pose["nose"] = head + body.head * np.array([0.0, -0.10, 1.0])
    for side, sign in _SIDES:
        pose[f"{side}_shoulder"] = neck + sign * across - np.array([0.0, 0.028, 0.0])
        _place_arm(pose, identity, side, sign, swing * -sign)
        pose[f"{side}_eye"] = head + body.head * np.array([sign * 0.36, 0.15, 0.86])
        pose[f"{side}_ear"] = head + body.head * np.array([sign * 0.95, 0.02, 0.05])
    lowest = min(pose[f"{side}_{part}"][1] for side, _ in _SIDES for part in ("heel", "toe"))
    ground = np.array([0.0, lowest - 0.018, 0.0])
    return {name: point - ground for name, point in pose.items()}


def compute_joints(pose: Pose, placement: Placement) -> dict[str, Point]:
    """Return each joint as (x, y, depth): canvas px, depth towards the viewer in body heights."""
    names = list(pose)
    points = np.stack([pose[name] for name in names])
    cos, sin = np.cos(placement.yaw), np.sin(placement.yaw)
    right = points[:, 0] * cos + points[:, 2] * sin
    near = points[:, 2] * cos - points[:, 0] * sin
    up = points[:, 1] * np.cos(placement.pitch) - near * np.sin(placement.pitch)
    seen = np.stack(
        (placement.x + right * placement.scale, placement.y - up * placement.scale, near), axis=1
    )
    return dict(zip(names, seen, strict=True))


def _place_leg(pose: Pose, identity: Identity, side: str, sign: float, phase: float) -> None:
    body, gait = identity.body, identity.gait
    hip = pose["pelvis"] + np.array([sign * body.hip * 0.62, 0.0, 0.0])
    thigh = gait.stride * np.sin(phase)
    # The knee bends while the leg swings forward and stays nearly straight while it carries.
    flex = 0.06 + gait.knee_lift * max(0.0, float(np.cos(phase + 0.35))) ** 1.5
    shin = thigh - flex
    upper, lower = body.leg * 0.50, body.leg * 0.44
    knee = hip + upper * np.array([0.0, -np.cos(thigh), np.sin(thigh)])
    ankle = knee + lower * np.array([0.0, -np.cos(shin), np.sin(shin)])
    pitch = 0.5 * shin
    along = np.array([sign * np.sin(gait.toe_out), np.sin(pitch), np.cos(pitch)])
    heel = ankle + np.array([0.0, -0.022, 0.0])
    pose.update(
        {
            f"{side}_hip": hip,
            f"{side}_knee": knee,
            f"{side}_ankle": ankle,
            f"{side}_heel": heel,
            f"{side}_toe": heel + 0.095 * along,
        }
    )


def _place_arm(pose: Pose, identity: Identity, side: str, sign: float, swing: float) -> None:
    body, gait = identity.body, identity.gait
    shoulder = pose[f"{side}_shoulder"]
    upper = gait.arm_swing * swing + gait.lean * 0.5
    fore = upper + gait.elbow_bend * (0.75 + 0.25 * swing)
    out = sign * (0.10 + 0.25 * max(0.0, body.waist - 0.085) / 0.04)
    elbow = shoulder + 0.165 * np.array([0.35 * out, -np.cos(upper), np.sin(upper)])
    wrist = elbow + 0.145 * np.array([0.10 * out, -np.cos(fore), np.sin(fore)])
    hand = wrist + 0.045 * np.array([0.0, -np.cos(fore), np.sin(fore)])
    pose.update({f"{side}_elbow": elbow, f"{side}_wrist": wrist, f"{side}_hand": hand})
