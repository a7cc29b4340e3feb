"""Every protocol in one process and in two: the same rows and lists, to the last bit."""

from typing import Any

import pytest

from tests.ddp import run_ranks
from tests.evaluation.test_oracle import CASES, TOP, build_data, build_world, describe, solve
from vills.evaluation.protocols import PROTOCOLS, ProtocolSettings

WORLDS = {
    **{name: name for name in CASES},
    "prcc_same_clothes_single_shot": "prcc_same_clothes",
    "prcc_cloth_changing_single_shot": "prcc_cloth_changing",
    "image_to_video": "mars_torchreid",
    "mars_image_to_video": "mars",
}
"""Protocol -> whose worlds it is scored on; the sigset has a test of its own."""


def score_all(block_size: int) -> dict[str, tuple[Any, ...]]:
    """Rows, and lists as plain values, of the first world with a true match per protocol."""
    found = {}
    for name, like in WORLDS.items():
        worlds = (build_world(like, seed) for seed in range(60))
        items = next(
            items
            for items in worlds
            if len(items) > 25 and any(solve(like, items, distance="cosine")[0])
        )
        settings = ProtocolSettings(ranks=TOP, rerank=True, bootstrap=20, block_size=block_size)
        result = PROTOCOLS[name].run(
            describe(items), data=build_data(items), settings=settings, top_k=4
        )
        lists = [
            (top.gallery.tolist(), top.verdicts.tolist(), top.distances.tolist())
            for top in result.lists
        ]
        found[name] = (result.build_rows("model"), lists)
    return found


def test_all_protocols_are_here() -> None:
    assert {*WORLDS, "sigset"} == set(PROTOCOLS)


@pytest.mark.slow
@pytest.mark.parametrize("block_size", [3, 1024])
def test_two_processes_score_what_one_does(block_size: int) -> None:
    expected = score_all(1000)
    for found in run_ranks(score_all, 2, block_size):
        assert found == expected
