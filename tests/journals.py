"""What a checkpoint would hold of a journal, for tests without checkpoints."""

import json

from vills.chain import CHAIN
from vills.runner.store.journal import Journal


def rewind(journal: Journal, step: int) -> None:
    """Go on as from the checkpoint of `step`, whose mark the file has; 0 without it: anew."""
    rows = journal.path.read_text().split("\n")[:-1] if journal.path.exists() else []
    bodies = [row.rpartition(CHAIN)[0] + "}" for row in rows]
    marks = [i for i, body in enumerate(bodies) if json.loads(body).get("checkpoint") == step]
    assert marks or not step, f"no mark of step {step}"
    journal.restore("\n".join(bodies[: marks[-1] + 1] if marks else []))
