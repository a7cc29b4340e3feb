"""The sigset protocol against plain loops: templates, two galleries, distractors, lost media."""

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation import oracle
from vills.evaluation.entries import Entries, build_entries
from vills.evaluation.protocols import PROTOCOLS, FeatureChoice, ProtocolSettings, TestData

GALLERIES = ("gallery_1", "gallery_2")
FARS = (0.5, 0.1, 0.01, 0.0001)
TOP = (1, 2, 5)
WIDTH = 6

Template = dict[str, Any]


def build_world(seed: int) -> tuple[list[Template], dict[str, list[float]], dict[str, str]]:
    """Templates of all groups, the vector of every record, and its split."""
    rng = random.Random(seed)
    vectors: dict[str, list[float]] = {}
    splits: dict[str, str] = {}
    templates: list[Template] = []
    people = range(1, rng.randint(5, 9))

    def add(group: str, pid: int, num_media: int) -> None:
        names = [f"{group}-{pid:02d}-{len(vectors) + i:04d}" for i in range(num_media)]
        for name in names:
            centre = random.Random(pid)
            vectors[name] = [centre.gauss(0, 1) + rng.gauss(0, 1.2) for _ in range(WIDTH)]
            splits[name] = "query" if group == "probe" else "gallery"
        name = f"{pid}-{len(templates)}"
        templates.append({"group": group, "name": name, "pid": pid, "record_ids": names})

    for gallery in GALLERIES:
        for pid in people:
            if gallery == "gallery_1" or pid > 1:
                add(gallery, pid, rng.randint(1, 4))
        for stranger in range(20, 20 + rng.randint(0, 4)):
            add(gallery, stranger, rng.randint(1, 2))
    for pid in people:
        for _ in range(rng.randint(1, 3)):
            # now and then a probe whose medium was lost
            add("probe", pid, int(rng.random() > 0.1))
    return templates, vectors, splits


def _describe(template: Template, vectors: dict[str, list[float]]) -> list[float] | None:
    """Mean of the normalised features of the media."""
    total = [0.0] * WIDTH
    for name in template["record_ids"]:
        norm = math.sqrt(sum(x * x for x in vectors[name]))
        total = [a + b / norm for a, b in zip(total, vectors[name], strict=True)]
    return total if template["record_ids"] else None


def _compare(one: Sequence[float], other: Sequence[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def solve(
    templates: Sequence[Template], vectors: dict[str, list[float]], gallery: str
) -> dict[str, float | None]:
    """Rank-k over the probes whose subject is enrolled, TAR over all pairs."""
    enrolled = {t["pid"]: _describe(t, vectors) for t in templates if t["group"] == gallery}
    probes = [t for t in templates if t["group"] == "probe"]
    rows, pids = [], []
    genuine: list[float] = []
    impostor: list[float] = []
    for probe in probes:
        feature = _describe(probe, vectors)
        row = None
        if feature is not None:
            row = {pid: _compare(feature, other) for pid, other in enrolled.items() if other}
        for pid in enrolled:
            pairs = genuine if pid == probe["pid"] else impostor
            # a lost probe accepts nobody, whatever the threshold
            pairs.append(row[pid] if row else -math.inf)
        if probe["pid"] in enrolled:
            rows.append(row)
            pids.append(probe["pid"])
    found: dict[str, float | None] = {f"R-{k}": oracle.identify(rows, pids, k) for k in TOP}
    for far in FARS:
        found[f"TAR@{far:g}"] = oracle.read_tar(
            genuine, [value for value in impostor if value > -math.inf], far
        )
    return found


def _build_data(templates: Sequence[Template], splits: dict[str, str]) -> TestData:
    owner = {name: t["pid"] for t in templates for name in t["record_ids"]}

    def build(split: str) -> Entries:
        names = sorted(name for name, found in splits.items() if found == split)
        columns = {
            "record_id": names,
            "kind": ["image" if _is_still(name) else "tracklet" for name in names],
            "pid": [owner[name] for name in names],
            "camid": [-1] * len(names),
        }
        return build_entries(pa.table(columns))

    schema = pa.schema(
        [
            ("group", pa.string()),
            ("name", pa.string()),
            ("pid", pa.int32()),
            ("record_ids", pa.list_(pa.string())),
        ]
    )
    return TestData(
        build("query"), build("gallery"), pa.Table.from_pylist(list(templates), schema=schema)
    )


def _is_still(name: str) -> bool:
    """Stills and videos, told apart by the last digit."""
    return int(name[-1]) % 2 == 0


@pytest.mark.parametrize("seed", range(40))
def test_a_sigset_is_its_definition(seed: int) -> None:
    templates, vectors, splits = build_world(seed)

    def compute(entries: Entries, choice: FeatureChoice) -> np.ndarray:
        return np.array([vectors[name] for name in entries.ids], np.float32)

    result = PROTOCOLS["sigset"].run(
        compute,
        data=_build_data(templates, splits),
        settings=ProtocolSettings(ranks=TOP, fars=FARS),
        top_k=3,
    )
    rows = {row["gallery_group"]: row for row in result.build_rows("model")}
    expected = {gallery: solve(templates, vectors, gallery) for gallery in GALLERIES}
    for gallery, wanted in expected.items():
        for key, value in wanted.items():
            found = rows[gallery][key]
            assert found == (value if value is None else pytest.approx(value, abs=1e-9)), (
                gallery,
                key,
            )
