"""The report: what the DAG found, in one self-contained page and one table of text."""
