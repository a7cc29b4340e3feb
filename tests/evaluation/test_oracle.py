"""Every protocol against plain loops: hundreds of small worlds with ties, junk, lonely people.

Features are the 24 vectors of norm 8 with entries (+-8, 0, 0, 0) and (+-4, +-4, +-4, +-4): their
cosines are multiples of 1/4, so equal distances are common and exact.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluation import oracle
from tests.evaluation.oracle import Distances, Item, Rule
from vills.errors import UserError
from vills.evaluation.entries import Entries, build_entries
from vills.evaluation.protocols import PROTOCOLS, FeatureChoice, ProtocolSettings, TestData

VECTORS = [
    tuple(sign * 8 * (place == axis) for place in range(4)) for axis in range(4) for sign in (1, -1)
] + list(itertools.product((4, -4), repeat=4))
NUM_WORLDS = 60
TOP = (1, 2, 5)

Choose = Callable[[Item], bool]


@dataclass(frozen=True)
class Case:
    """A protocol by its definition."""

    is_query: Choose = lambda item: item["split"] == "query"
    is_gallery: Choose = lambda item: item["split"] == "gallery"
    is_junk: Rule = oracle.same_camera
    kind: str = "image"
    cameras: int = 4


def _both(item: Item) -> bool:
    return item["split"] in ("query", "gallery")


def _from(camera: int) -> Choose:
    return lambda item: item["split"] == "query" and item["camid"] == camera


CASES = {
    "image": Case(),
    "video": Case(kind="tracklet"),
    "market1501": Case(),
    "prcc_same_clothes": Case(is_query=_from(1), is_junk=oracle.never, cameras=3),
    "prcc_cloth_changing": Case(is_query=_from(2), is_junk=oracle.never, cameras=3),
    "ltcc_standard": Case(),
    "ltcc_cloth_changing": Case(is_junk=oracle.same_camera_or_clothes),
    "ltcc_same_clothes": Case(is_junk=oracle.same_camera_or_other_clothes),
    "mars": Case(is_gallery=_both, kind="tracklet"),
    "mars_torchreid": Case(kind="tracklet"),
    "prid2011": Case(kind="tracklet", cameras=2),
}


def build_world(name: str, seed: int) -> list[Item]:
    """A few people with images in some cameras; some junk, distractors, lonely queries."""
    case, rng = CASES[name], random.Random(f"{name} {seed}")
    items: list[Item] = []
    for number in range(rng.randint(4, 40)):
        pid = rng.choice([-1, 0, *range(1, rng.randint(2, 7))])
        split = "gallery" if pid <= 0 else rng.choice(["query", "gallery", "gallery"])
        camid = rng.randrange(case.cameras)
        if name.startswith("prcc"):
            camid = 0 if split == "gallery" else rng.choice([1, 2])
        if name == "prid2011":
            camid = int(split == "gallery")
        items.append(
            {
                "id": f"{number:04d}",
                "pid": pid,
                "camid": camid,
                # outfits are numbered over all people
                "clothes_id": 100 * max(pid, 0) + rng.randrange(3),
                "kind": case.kind,
                "num_frames": 1 if case.kind == "image" else rng.randint(1, 5),
                "split": split,
                "vector": rng.choice(VECTORS),
            }
        )
    return items


def build_data(items: Sequence[Item]) -> TestData:
    """Query and gallery of a world."""
    return TestData(_build(items, "query"), _build(items, "gallery"))


def _build(items: Sequence[Item], split: str) -> Entries:
    chosen = [item for item in items if item["split"] == split]
    columns = ("id", "kind", "pid", "camid", "clothes_id", "num_frames")
    table = pa.table(
        {
            name if name != "id" else "record_id": pa.array(
                [item[name] for item in chosen],
                pa.string() if name in ("id", "kind") else pa.int32(),
            )
            for name in columns
        }
    )
    return build_entries(table)


def describe(items: Sequence[Item]) -> Callable[[Entries, FeatureChoice], np.ndarray]:
    """The vectors of the items as a model's features."""
    vectors = {item["id"]: item["vector"] for item in items}

    def compute(entries: Entries, choice: FeatureChoice) -> np.ndarray:
        return np.array([vectors[name] for name in entries.ids], np.float32).reshape(-1, 4)

    return compute


def measure(queries: Sequence[Item], gallery: Sequence[Item], *, distance: str) -> Distances:
    """Distances by the definition; every vector has norm 8."""
    found: Distances = {}
    for query in queries:
        row = found.setdefault(query["id"], {})
        for item in gallery:
            dot = sum(a * b for a, b in zip(query["vector"], item["vector"], strict=True))
            row[item["id"]] = 1 - dot / 64 if distance == "cosine" else 128.0 - 2 * dot
    return found


def solve(name: str, items: Sequence[Item], *, distance: str) -> tuple[list[list[int]], int]:
    """(hit ranks of every query, entries of the gallery that are no junk) by plain loops."""
    case = CASES[name]
    queries = [item for item in items if case.is_query(item) and item["pid"] > 0]
    gallery = [item for item in items if case.is_gallery(item) and item["pid"] != -1]
    distances = measure(queries, gallery, distance=distance)
    ranks = [
        oracle.find_hit_ranks(query, gallery, distances[query["id"]], is_junk=case.is_junk)
        for query in queries
    ]
    return ranks, len(gallery)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["step", "trapezoid"])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", CASES)
def test_a_protocol_is_its_definition(name: str, distance: str, kind: str) -> None:
    scored = refused = 0
    for seed in range(NUM_WORLDS):
        items = build_world(name, seed)
        expected, num_gallery = solve(name, items, distance=distance)
        settings = ProtocolSettings(
            ranks=TOP, distance=distance, average_precision=kind, block_size=1 + seed % 5
        )
        if not any(expected):
            with pytest.raises(UserError):
                PROTOCOLS[name].run(
                    describe(items), data=build_data(items), settings=settings, top_k=0
                )
            refused += 1
            continue
        result = PROTOCOLS[name].run(
            describe(items), data=build_data(items), settings=settings, top_k=len(items)
        )
        assert read_ranks(result.lists) == expected
        (row,) = result.build_rows("model")
        wanted = oracle.score(expected, kind=kind, top=TOP) | {"gallery": num_gallery}
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, abs=1e-9, rel=0), (key, seed)
        scored += 1
    assert scored >= NUM_WORLDS // 2
    assert scored + refused == NUM_WORLDS


def read_ranks(lists: Sequence[object]) -> list[list[int]]:
    """Ranks of the true matches from whole ranked lists: verdicts 0 wrong, 1 right, 2 junk."""
    found = []
    for ranked in lists:
        counted = [int(verdict) for verdict in ranked.verdicts if int(verdict) != 2]  # type: ignore[attr-defined]
        found.append([rank for rank, verdict in enumerate(counted, start=1) if verdict == 1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prcc_same_clothes", "prcc_cloth_changing"])
def test_single_shot_draws_one_image_of_each_person(name: str) -> None:
    """Ten galleries of one image per person: AP is 1 / rank, so mAP is never below R-1."""
    for seed in range(NUM_WORLDS):
        items = build_world(name, seed)
        people = {item["pid"] for item in items if item["split"] == "gallery" and item["pid"] > 0}
        queries = [item for item in items if CASES[name].is_query(item)]
        if not people & {item["pid"] for item in queries}:
            continue
        single = PROTOCOLS[f"{name}_single_shot"]
        settings = ProtocolSettings(ranks=TOP)
        (row,) = single.run(
            describe(items), data=build_data(items), settings=settings, top_k=0
        ).build_rows("model")
        assert row["draws"] == 10
        assert float(row["mAP"] or 0) >= float(row["R-1"] or 0) - 1e-12
        again = single.run(describe(items), data=build_data(items), settings=settings, top_k=0)
        assert again.build_rows("model") == [row]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prcc_same_clothes", "prcc_cloth_changing"])
def test_single_shot_of_single_images_is_all_gallery(name: str) -> None:
    for seed in range(NUM_WORLDS):
        seen: set[int] = set()
        items = []
        for item in build_world(name, seed):
            if item["split"] == "gallery" and (item["pid"] in seen or item["pid"] <= 0):
                continue
            seen |= {item["pid"]} if item["split"] == "gallery" else set()
            items.append(item)
        expected, _ = solve(name, items, distance="cosine")
        if not any(expected):
            continue
        (row,) = (
            PROTOCOLS[f"{name}_single_shot"]
            .run(
                describe(items),
                data=build_data(items),
                settings=ProtocolSettings(ranks=TOP),
                top_k=0,
            )
            .build_rows("model")
        )
        for key, value in oracle.score(expected, kind="step", top=TOP).items():
            if key.startswith(("mAP", "R-")):
                assert row[key] == pytest.approx(value, abs=1e-9)
        assert row["mAP_std"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "like"), [("image_to_video", "mars_torchreid"), ("mars_image_to_video", "mars")]
)
@pytest.mark.parametrize("frame", ["first", "middle", "random"])
def test_a_frame_searches_tracklets(name: str, like: str, frame: str) -> None:
    for seed in range(NUM_WORLDS // 2):
        items = build_world(like, seed)
        expected, _ = solve(like, items, distance="cosine")
        if not any(expected):
            continue
        asked = Asked(items)
        settings = ProtocolSettings(ranks=TOP, query_frame=frame)
        data = build_data(items)
        result = PROTOCOLS[name].run(asked, data=data, settings=settings, top_k=len(items))
        assert read_ranks(result.lists) == expected
        query = asked.entries[0]
        assert set(query.manifest.column("kind")) == {"image"}
        lengths = {item["id"]: item["num_frames"] for item in items}
        for identity, position in query.keys:
            assert 0 <= position < lengths[identity]
            if frame == "first":
                assert position == 0
            if frame == "middle":
                assert position == lengths[identity] // 2


class Asked:
    """A model that remembers what it was asked to describe."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.entries: list[Entries] = []
        self._describe = describe(items)

    def __call__(self, entries: Entries, choice: FeatureChoice) -> np.ndarray:
        self.entries.append(entries)
        return self._describe(entries, choice)


def test_an_empty_gallery_is_refused() -> None:
    for name in CASES:
        items = [item for item in build_world(name, 1) if item["split"] == "query"]
        if CASES[name].is_gallery is _both or not items:
            continue
        with pytest.raises(UserError):
            PROTOCOLS[name].run(
                describe(items), data=build_data(items), settings=ProtocolSettings(), top_k=0
            )
