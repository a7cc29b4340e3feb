"""Re-ranked rows of protocols against plain loops, in galleries from a single entry up."""

import random

import numpy as np
import pytest

from tests.evaluation import oracle
from tests.evaluation.test_oracle import CASES, TOP, build_data, build_world, describe
from tests.evaluation.test_rerank import loop_rerank
from vills.evaluation.protocols import PROTOCOLS, ProtocolSettings

NUM_WORLDS = 40


def build_scattered(name: str, seed: int) -> list[oracle.Item]:
    """A world whose features are anywhere: what is not the same record is nowhere equally far."""
    rng = random.Random(seed)
    return [
        {**item, "vector": tuple(rng.gauss(0, 1) for _ in range(4))}
        for item in build_world(name, seed)[: 4 + seed]
    ]


def solve(name: str, items: list[oracle.Item]) -> list[list[int]]:
    """Hit ranks by the distances of the paper's equations, k1 = 20, k2 = 6, lambda = 0.3."""
    case = CASES[name]
    queries = [item for item in items if case.is_query(item) and item["pid"] > 0]
    gallery = [item for item in items if case.is_gallery(item) and item["pid"] != -1]
    features = np.array([item["vector"] for item in (*queries, *gallery)], np.float32)
    units = features.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    dense = np.square(units[:, None] - units[None]).sum(axis=2)
    distances = loop_rerank(dense, len(queries), k1=20, k2=6, weight=0.3)
    return [
        oracle.find_hit_ranks(
            query,
            gallery,
            {item["id"]: value for item, value in zip(gallery, row, strict=True)},
            is_junk=case.is_junk,
        )
        for query, row in zip(queries, distances.tolist(), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["market1501", "prcc_cloth_changing", "ltcc_standard", "mars"])
def test_a_reranked_row_is_its_definition(name: str) -> None:
    sizes, changed = set(), 0
    for seed in range(NUM_WORLDS):
        items = build_scattered(name, seed)
        queries = [item for item in items if CASES[name].is_query(item)]
        gallery = [item for item in items if CASES[name].is_gallery(item) and item["pid"] >= 0]
        if not queries or not gallery:
            continue
        expected = solve(name, items)
        if not any(expected):
            continue
        settings = ProtocolSettings(ranks=TOP, rerank=True, block_size=1 + seed % 7)
        plain, reranked = (
            PROTOCOLS[name]
            .run(describe(items), data=build_data(items), settings=settings)
            .build_rows("model")
        )
        assert reranked["rerank"] == "on"
        for key, value in oracle.score(expected, kind="step", top=TOP).items():
            assert reranked[key] == pytest.approx(value, abs=1e-9, rel=0), (key, seed)
        sizes.add(len(gallery))
        changed += plain["mAP"] != reranked["mAP"]
    assert min(sizes) < 7 < 21 < max(sizes)
    assert changed > 5
