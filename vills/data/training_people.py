"""Who of a training split is learned, and who is held out to measure accuracy on.

A person's place in a draw depends on the person alone: fewer people are some of more, and a person
who is missing moves nobody else.
"""

from dataclasses import dataclass

import numpy as np

from vills.config.checks import check_range
from vills.data.rng import sample_rng

_VAL_STREAM, _TRAIN_STREAM = 74, 75
"""Keep both draws apart from other uses of the same seed."""


@dataclass(frozen=True)
class TrainingPeople:
    """How many people are held out, and how many are learned. See `FinetuneConfig`."""

    num_val_ids: int = 0
    num_train_ids: int = 0
    """0: all that are left."""
    seed: int = 0
    """Of those that are learned; who is held out does not depend on it."""

    def draw_val(self, pids: np.ndarray) -> np.ndarray:
        """Pids that are held out, of those of a training split.

        Raises:
            ConfigError: if hardly anybody would be left to learn.
        """
        order = _shuffle(pids, _VAL_STREAM) if self.num_val_ids else np.empty(0, np.int64)
        check_range(
            "finetune.*.num_val_ids",
            self.num_val_ids,
            low=0,
            high=max(len(order) - 2, 0),
            remedy=f"hold out fewer of the {len(order)} training people",
        )
        return order[: self.num_val_ids]

    def draw_train(self, pids: np.ndarray) -> np.ndarray:
        """Pids that are learned, of those that are not held out.

        Raises:
            ConfigError: if there are fewer.
        """
        if not self.num_train_ids:
            return np.unique(pids)
        order = _shuffle(pids, self.seed, _TRAIN_STREAM)
        check_range(
            "finetune.*.num_train_ids",
            self.num_train_ids,
            low=0,
            high=len(order),
            remedy=f"keep at most the {len(order)} people that num_val_ids = {self.num_val_ids} "
            "leaves, or set 0 for all of them",
        )
        return order[: self.num_train_ids]


def _shuffle(pids: np.ndarray, *key: int) -> np.ndarray:
    """Each person once, in an order of chance."""
    people = np.unique(pids).tolist()
    return np.array(sorted(people, key=lambda pid: sample_rng(*key, pid).random()), np.int64)
