"""Loops, meta-architecture and engine: the only place that knows models and losses."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a text, steps done, and steps in all."""
