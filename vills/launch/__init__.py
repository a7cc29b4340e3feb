"""Where a stage runs: here. A cluster takes its place beside `local.py`, same command."""
