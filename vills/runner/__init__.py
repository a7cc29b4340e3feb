"""Where a stage runs: here, as a job of SLURM or of our own queue, or as one of a sweep's many.

store/ is a run on disk; mlflow/ replays what it has written; work/ is one stage in one process
group; clusters/ who computes; plan/ what there is to compute and what has been; sweeps/ many points
at once, and doctor/ what will bite. Each imports only those named before it.
"""
