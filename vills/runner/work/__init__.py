"""One stage in one process or several: what it is called with, its ranks, its way out."""
