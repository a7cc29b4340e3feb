"""Where a stage runs: here. A cluster takes its place beside `local.py`, behind the same command."""
