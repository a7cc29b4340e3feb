"""The places that areas take on one crop, each drawn once: the cuts of a crop ask again and again.

Shapes: n = 17 COCO keypoints; H, W of the canvas.
"""

from vills.lse.body_shape import draw_area, draw_discs, draw_reach
from vills.lse.crop import Floats, Mask
from vills.lse.skeleton import Skeleton, build_skeleton


class Places:
    """Remembers what it drew; nobody may write into a mask that it gave.

    Args:
        points: [n, 2] px of the canvas.
        size: (H, W) of the canvas.
    """

    def __init__(self, points: Floats, *, size: tuple[int, int]) -> None:
        self.points = points
        self.size = size
        self._skeletons: dict[bytes, Skeleton] = {}
        self._drawn: dict[tuple[bytes, str, float, bool], Mask] = {}

    def draw(self, area: str, *, valid: Mask, grow: float, reach: bool = False) -> Mask:
        """Return the place [H, W] that `area` is expected to take, or may reach at most.

        Args:
            area: head, upper_body or lower_body.
            valid: [n] usable keypoints.
            grow: factor on every radius.
            reach: what it may take at most.
        """
        key = valid.tobytes(), area, grow, reach
        if key not in self._drawn:
            drawing = draw_reach if reach else draw_area
            self._drawn[key] = drawing(self._build(valid), area=area, size=self.size, grow=grow)
        return self._drawn[key]

    def draw_discs(self, chosen: Mask, *, valid: Mask, grow: float) -> Mask:
        """Return discs [H, W] around the `chosen` keypoints [n], usable or not."""
        return draw_discs(self._build(valid), chosen, size=self.size, grow=grow)

    def _build(self, valid: Mask) -> Skeleton:
        key = valid.tobytes()
        if key not in self._skeletons:
            height = self.size[0]
            self._skeletons[key] = build_skeleton(self.points, valid=valid, height=height)
        return self._skeletons[key]
