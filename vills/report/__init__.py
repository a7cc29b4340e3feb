"""What the DAG found: one page, tables of text, tables of sweeps, and contact sheets."""
