"""Loops, meta-architecture and engine: the only place that knows models and losses."""
