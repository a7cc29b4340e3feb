"""Runs: one identity for everything that is computed.

How the pieces fit, as `vills run STAGE` uses them:

    run = Run(Path("runs"), stage="pretrain", read_params=..., inputs=..., module=..., progress=...)
    with run:                                  # attach, or become the one writer (lock.py)
        if not run.is_complete():              # else it was finished before, here or elsewhere
            stage.run(out=run.out, work=run.work, journal=run.journal, guard=run.lock.guard)
            run.complete(metrics=scores)       # digests, fsync, result.json
    run.publish(Path("artifacts/pretrain"))    # checks damage and drift, then link or clone
"""
