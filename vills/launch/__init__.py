"""Where a stage runs: here, as a job of SLURM or of our own queue, or as one of a sweep's many.

work/ is one stage in one process; plan/ what there is to compute and what has been; clusters/ who
computes; sweeps/ many points at once; doctor/ what will bite. The files beside them are ways in.
"""
