"""How runs are worked on: nothing here changes a byte of what a run publishes, or names it.

A field belongs here if a run whose value is changed half-way goes on where it was and leaves the
bytes of an undisturbed one; tests/pipeline/test_operation.py does that to every field. What
changes bits (the rows of a matrix product, threads that share a sum) or published curves
(`log_steps`, `health_steps`, `eval_epochs`) belongs to its stage.
"""

from dataclasses import dataclass
from fnmatch import fnmatch

from vills.config.checks import check_range

_FORMER = (
    "curate.max_corrupt_share",
    "lse.max_corrupt_share",
    "pretrain.checkpoint_minutes",
    "pretrain.checkpoint_steps",
    "finetune.*.checkpoint_minutes",
    "evaluate.*.block_size",
)
"""What the fields were called while they were parts of their stages."""


@dataclass
class OperationConfig:
    """What may be changed at any time: receipts keep it, fingerprints do not see it."""

    checkpoint_minutes: float = 5.0
    """Longest time between checkpoints of pre-training and fine-tuning (0: one after every step);
    there is one at the end of pre-training, and of every epoch of fine-tuning, too."""
    checkpoint_steps: int = 0
    """And a checkpoint of pre-training every so many steps; 0 = by minutes only."""
    max_corrupt_share: float = 0.05
    """Inputs of a source that curate or lse cannot read are counted and skipped up to this share;
    above, the stage fails, also when it collects a finished run."""
    block_size: int = 1024
    """Queries ranked at once; changes memory, never a score."""

    def __post_init__(self) -> None:
        check_range("operation.checkpoint_minutes", self.checkpoint_minutes, low=0.0)
        check_range("operation.checkpoint_steps", self.checkpoint_steps, low=0)
        check_range("operation.max_corrupt_share", self.max_corrupt_share, low=0.0, high=1.0)
        check_range("operation.block_size", self.block_size, low=1)


def find_new_name(key: str) -> str:
    """Return what a dotted key that was moved here is called now; empty: it was not."""
    is_former = any(fnmatch(key, former) for former in _FORMER)
    return f"operation.{key.rpartition('.')[2]}" if is_former else ""
