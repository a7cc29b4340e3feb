"""Say what pre-training is worth in an evaluate out, and exit 0 if it is ahead by its interval."""

import sys
from pathlib import Path

from vills.evaluation.per_query import load_pair, pool_differences


def judge(folder: Path) -> int:
    """0 if the interval of the paired difference in mAP lies above 0, else 1."""
    pair = load_pair(folder, protocol="market1501", world="evidence")
    found = pool_differences([pair], metric="mAP")
    value, low, high = (100 * x for x in (found.value, found.low, found.high))
    ahead = low > 0
    print(
        f"pre-trained minus scratch, paired over {found.num_people} test people: "
        f"mAP {value:+.1f} [{low:+.1f}, {high:+.1f}]: {'ahead' if ahead else 'not ahead'}"
    )
    return 0 if ahead else 1


if __name__ == "__main__":
    sys.exit(judge(Path(sys.argv[1])))
