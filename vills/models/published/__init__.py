"""Starts the encoder from the weights of others, each publisher's in its own layout.

Every tensor of a file must be used or belong to a part that its layout is known to carry and the
encoder lacks (heads, decoders, mask tokens); every tensor of the encoder must be filled, but for
area tokens that a layout lacks. So a remapper that loads two of two hundred tensors is refused.
"""

from vills.models.published.layouts import LAYOUTS
from vills.models.published.load import LoadReport, load_published

__all__ = ["LAYOUTS", "LoadReport", "load_published"]
