"""Who computes (SLURM, or a queue of our own), and how one is chosen."""
