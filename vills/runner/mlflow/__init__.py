"""Tracking: a journal on local disk first, and a replay of it into MLflow.

A stage writes `journal.py`; nothing in its process ever talks to a tracker. `mlflow_sync.py`
replays a run's folder (receipt, journal, result: plain files) into MLflow, as often as one likes,
from anywhere; `syncer.py` does so beside a running stage, in a child process. `sweep_sync.py` does
the same for a sweep: a parent run, and a child for every point. Both make an `entry.py` of what
they read, which `replay.py` sends.
"""
