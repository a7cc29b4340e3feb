"""From a pose to the image: turn, tilt, scale, and the COCO-17 keypoints of what is seen."""

from dataclasses import dataclass

import numpy as np

from vills.miniature.walk import Point, Pose


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


def project(pose: Pose, placement: Placement) -> dict[str, Point]:
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
