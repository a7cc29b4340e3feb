"""DINO (Caron et al. 2021): names of early timm, a class row in the position table.

The backbone file is flat; the full checkpoint holds `student` (`module.backbone.*`) and `teacher`
(`backbone.*`), each with its projection head.
"""

from vills.models.published.layout import Layout

DINO = Layout("dino", source="facebookresearch/dino")
