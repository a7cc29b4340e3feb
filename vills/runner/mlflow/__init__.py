"""Tracking: a journal on local disk first, and a replay of it into MLflow.

A stage writes its journal; nothing in its process ever talks to a tracker. `replay.py` brings
MLflow up to date with a run's folder (receipt, journal, result: plain files) or with a sweep, as
often as one likes, from anywhere; both become a `TrackedRun` first. `worker.py` does so in a child
process.
"""
