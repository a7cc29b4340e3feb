"""Who computes: what a job asks for, what SLURM says, and a queue of our own."""
