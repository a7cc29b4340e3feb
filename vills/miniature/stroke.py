"""What it takes to paint a part of a figure, and when."""

from collections.abc import Callable
from dataclasses import dataclass

from vills.miniature.look import Look, Side
from vills.miniature.painter import Canvas, Image
from vills.miniature.parts import Part
from vills.miniature.projection import Placement
from vills.miniature.walk import Point


@dataclass(frozen=True, slots=True)
class Stroke:
    """A part that waits for its turn: far ones are painted first."""

    depth: float
    """Towards the viewer, in body heights."""
    paint: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sitter:
    """The person to be painted, as projected onto the canvas."""

    canvas: Canvas
    look: Look
    side: Side
    joints: dict[str, Point]
    place: Placement

    def tube(
        self, joints: tuple[str, str], radii: tuple[float, float], skin: Image, part: Part
    ) -> Callable[[], None]:
        """Return the painting of a limb between two joints."""
        start, end = (self.joints[name][:2] for name in joints)
        return lambda: self.canvas.paint_tube(start, end, radii, skin, part=part)
