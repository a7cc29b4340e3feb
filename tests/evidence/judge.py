"""Say what pre-training is worth in evaluate outs, and exit 0 if it is ahead by its interval.

Several outs are runs of one experiment, WORLD=FOLDER each: the difference is pooled over people,
seeds and worlds.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from vills.evaluation.per_query import compute_pooled_difference, load_pair


def judge(outs: Sequence[str], *, protocol: str = "market1501", least: float = 0.0) -> int:
    """0 if the interval of the paired difference in mAP lies above `least` points, else 1."""
    named = [out.rpartition("=") for out in outs]
    pairs = [load_pair(Path(path), protocol=protocol, world=world) for world, _, path in named]
    found = compute_pooled_difference(pairs, metric="mAP")
    value, low, high = (100 * x for x in (found.value, found.low, found.high))
    ahead = low > least
    print(
        f"pre-trained minus scratch, paired over {found.num_people} test people"
        f"{f' and {found.num_runs} runs' if len(pairs) > 1 else ''}: "
        f"mAP {value:+.1f} [{low:+.1f}, {high:+.1f}]: {'ahead' if ahead else 'not ahead'}"
        f"{f' by {least:g}' if least else ''}"
    )
    return 0 if ahead else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outs", nargs="+", metavar="WORLD=FOLDER", help="an evaluate out")
    parser.add_argument("--least", type=float, default=0.0, help="mAP points to be ahead by")
    parser.add_argument("--protocol", default="market1501", help="whose queries are paired")
    given = parser.parse_args()
    sys.exit(judge(given.outs, protocol=given.protocol, least=given.least))
