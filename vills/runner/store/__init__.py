"""Runs: one identity for everything that is computed.

How the pieces fit, as `vills run STAGE` uses them:

    run = open_run(Path("runs"), stage="pretrain", read_params=..., inputs=..., module=...)
    with run:                                  # attach, or become the one writer (lock.py)
        if not run.is_complete():              # else it was finished before, here or elsewhere
            stage.run(out=run.out, work=run.work, journal=run.journal, guard=run.guard)
            run.complete(metrics=scores)       # digests, fsync, result.json
    run.publish(Path("artifacts/pretrain"))    # checks damage and drift, then link or clone

`fingerprint.py` names a run by its parameters, its inputs' content (`digest.py`) and its code
(`code_digest.py`); `receipt.py` writes down what that was, and where (`machine.py`), and sees what
changed meanwhile; `lock.py` keeps one writer per run, on any host; `result.py` puts the outputs
where DVC looks for them. Metrics go to `journal.py`.

How work ends on request is here too, for every floor above: `interrupt.py` turns the scheduler's
signals into a flag or an error and keeps them from child processes, `pool.py` is a pool of such
processes.
"""
