"""VILLS: video-image learning to learn semantics for person re-identification."""

from collections.abc import Callable

__version__ = "0.1.0"
Progress = Callable[[str, int, int], None]
"""Told what is done, how much of it so far, and how much in all."""
