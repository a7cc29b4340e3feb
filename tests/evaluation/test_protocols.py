"""Protocols on cases small enough to do by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.evaluation.searches import EUCLIDEAN, Item, Line, build, search
from vills.config import protocols as names
from vills.data.samplers import sample_rng
from vills.evaluation.protocols import (
    PROTOCOLS,
    ProtocolError,
    ProtocolSettings,
    Row,
    TestData,
    get_native_protocol,
)
from vills.evaluation.protocols.retrieval import sample_gallery


def pick(row: Row, *columns: str) -> tuple[Any, ...]:
    return tuple(row[column] for column in columns)


def test_config_and_objects_name_the_same_protocols() -> None:
    assert tuple(PROTOCOLS) == names.PROTOCOLS
    assert all(key == protocol.name for key, protocol in PROTOCOLS.items())
    titles = [protocol.title for protocol in PROTOCOLS.values()]
    assert len(set(titles)) == len(titles)
    assert get_native_protocol("image") is PROTOCOLS["image"]
    assert get_native_protocol("video") is PROTOCOLS["video"]


# One person in two outfits (1, 2) and three cameras, another person, at these distances from 0:
# a: same camera, same clothes     b: other camera, same clothes   c: the other person
# d: other camera, other clothes   e: same camera, other clothes   f: the other person
LTCC_QUERY: list[Item] = [("q", 5, 0, 1, 0.0), ("r", 6, 0, 3, 9.0)]
LTCC_GALLERY: list[Item] = [
    ("a", 5, 0, 1, 1.0),
    ("b", 5, 1, 1, 2.0),
    ("c", 6, 1, 3, 3.0),
    ("d", 5, 2, 2, 4.0),
    ("e", 5, 0, 2, 5.0),
    ("f", 6, 2, 3, 6.0),
]


@pytest.mark.parametrize(
    ("name", "mean_ap", "valid"),
    [
        # q: b, c, d, f counted: matches at 1 and 3; r: all but its own same camera: f, e, d, c ...
        ("ltcc_standard", ((1 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2, 2),
        # q: c, d, f: the match d at 2; r has one outfit, so no match in other clothes
        ("ltcc_cloth_changing", 1 / 2, 1),
        # q: b, c, f: b at 1; r as in standard: its people all wear the same
        ("ltcc_same_clothes", (1 + (1 + 2 / 4) / 2) / 2, 2),
    ],
)
def test_ltcc_modes(name: str, mean_ap: float, valid: int) -> None:
    (row,) = search(name, LTCC_QUERY, LTCC_GALLERY).build_rows("x")
    assert row["mAP"] == pytest.approx(mean_ap, abs=1e-12)
    assert pick(row, "queries", "valid_queries", "gallery") == (2, valid, 6)
    assert pick(row, "flip", "neck") == ("on", "after")


PRCC_QUERY: list[Item] = [
    ("b1", 1, 1, 2, 0.0),
    ("b2", 2, 1, 4, 10.0),
    ("c1", 1, 2, 3, 6.0),
    ("c2", 2, 2, 5, 7.0),
    ("c3", 3, 2, 7, 30.0),
]
PRCC_GALLERY: list[Item] = [
    ("a1", 1, 0, 2, 1.0),
    ("a2", 1, 0, 2, 8.0),
    ("a3", 2, 0, 4, 9.0),
    ("a4", 2, 0, 4, 4.0),
]


@pytest.mark.parametrize(
    ("name", "counts", "mean_ap"),
    [
        # b1: a1, a4, a2, a3 -> 1, 3; b2: a3, a2, a4, a1 -> 1, 3
        ("prcc_same_clothes", (2, 2, 4), (1 + 2 / 3) / 2),
        # c1: a2 and a4 tie at 2: a2 stands first; then a3, a1 -> 1, 4; c2: a2, a3, a4, a1 -> 2, 3
        ("prcc_cloth_changing", (3, 2, 4), ((1 + 2 / 4) / 2 + (1 / 2 + 2 / 3) / 2) / 2),
    ],
)
def test_prcc_queries_are_of_one_camera(
    name: str, counts: tuple[int, int, int], mean_ap: float
) -> None:
    (row,) = search(name, PRCC_QUERY, PRCC_GALLERY).build_rows("x")
    assert pick(row, "queries", "valid_queries", "gallery") == counts
    assert row["mAP"] == pytest.approx(mean_ap, abs=1e-12)


@pytest.mark.parametrize("mode", ["same_clothes", "cloth_changing"])
def test_single_shot_of_single_images_is_all_gallery(mode: str) -> None:
    gallery = PRCC_GALLERY[::2]
    (whole,) = search(f"prcc_{mode}", PRCC_QUERY, gallery).build_rows("x")
    (drawn,) = search(f"prcc_{mode}_single_shot", PRCC_QUERY, gallery).build_rows("x")
    shared = ("mAP", "R-1", "R-5", "mINP", "queries", "valid_queries", "gallery")
    assert pick(drawn, *shared) == pytest.approx(pick(whole, *shared), abs=1e-12)
    assert pick(drawn, "draws", "mAP_std", "R-1_std") == (10, 0.0, 0.0)


def make_prcc(seed: int, people: int = 7) -> tuple[list[Item], list[Item]]:
    """Random places, several images of each person in A and C."""
    rng = np.random.default_rng(seed)
    places = iter(rng.normal(size=1000).tolist())
    query = [
        (f"c{pid}_{i}", pid, 2, 2 * pid + 1, next(places))
        for pid in range(people)
        for i in range(3)
        if pid
    ]
    gallery = [
        (f"a{pid}_{i}", pid, 0, 2 * pid, next(places))
        for pid in range(people)
        for i in range(4)
        if pid
    ]
    return query, gallery


@pytest.mark.parametrize("seed", range(10))
def test_single_shot_is_the_mean_of_ten_drawn_galleries(seed: int) -> None:
    query, gallery = make_prcc(seed)
    settings = replace(EUCLIDEAN, seed=seed, bootstrap=10)
    (row,) = search(
        "prcc_cloth_changing_single_shot", query, gallery, settings=settings
    ).build_rows("x")
    entries = build(gallery)
    scores = []
    for draw in range(10):
        chosen = {entries.ids[i] for i in sample_gallery(entries, seed=seed, draw=draw)}
        assert len(chosen) == 6
        part = [item for item in gallery if item[0] in chosen]
        (one,) = search("prcc_cloth_changing", query, part).build_rows("x")
        scores.append(pick(one, "mAP", "R-1"))
    means, stds = np.mean(scores, axis=0), np.std(scores, axis=0)
    assert pick(row, "mAP", "R-1") == pytest.approx(tuple(means), abs=1e-12)
    assert pick(row, "mAP_std", "R-1_std") == pytest.approx(tuple(stds), abs=1e-12)
    assert row["mAP"] >= row["R-1"]  # one match each: AP is one over its rank
    assert "mAP_low" not in row
    assert row["gallery"] == 6


def test_draws_depend_on_neither_order_nor_other_people() -> None:
    _, gallery = make_prcc(3)
    entries = build(gallery)
    rows = np.arange(len(entries))
    names_of = [
        {part.ids[i] for i in sample_gallery(part, seed=1, draw=4)}
        for part in (
            entries,
            entries.take(rows[::-1]),
            entries.take(np.flatnonzero(entries.labels.pids != 3)),
        )
    ]
    assert names_of[0] == names_of[1]
    assert names_of[2] == {name for name in names_of[0] if not name.startswith("a3_")}
    draws = {tuple(sample_gallery(entries, seed=1, draw=draw)) for draw in range(10)}
    assert len(draws) > 5
    # by its definition: a generator per person over its sorted ids
    own = sorted(name for name in entries.ids if name.startswith("a2_"))
    assert own[sample_rng(1, 73, 4, 2).integers(4)] in names_of[0]


def make_mars() -> tuple[list[Item], list[Item]]:
    """Two people with queries in two cameras each; only 1 is in the gallery beside them."""
    query = [
        ("q10", 1, 0, -1, 0.0),
        ("q11", 1, 1, -1, 5.0),
        ("q20", 2, 0, -1, 1.0),
        ("q21", 2, 1, -1, 6.0),
    ]
    gallery = [("g1", 1, 2, -1, 2.0), ("g0", 0, 3, -1, 0.5), ("gx", -1, 3, -1, 0.1)]
    return query, gallery


@pytest.mark.parametrize(
    ("name", "counts", "mean_ap"),
    [
        # q10 (0): g0 .5, q20 1, g1 2, q11 5, q21 6 -> 3, 4 (itself is junk)
        # q11 (5): q21 6, g1 2, q20 1, g0 .5, q10 0 -> 2, 5
        # q20 (1): g0 .5, q10 0 = g1 2 (g1 first), q11 4, q21 5 -> 5
        # q21 (6): q11 5, g1 2, q20 1 -> 3
        ("mars", (4, 4, 6), ((1 / 3 + 2 / 4) / 2 + (1 / 2 + 2 / 5) / 2 + 1 / 5 + 1 / 3) / 4),
        # q10: g0, g1 -> 2; q11: g1 -> 1
        ("mars_torchreid", (4, 2, 2), (1 / 2 + 1) / 2),
    ],
)
def test_mars_with_and_without_queries_in_the_gallery(
    name: str, counts: tuple[int, int, int], mean_ap: float
) -> None:
    query, gallery = make_mars()
    (row,) = search(name, query, gallery, kind="tracklet", frames=3).build_rows("x")
    assert pick(row, "queries", "valid_queries", "gallery") == counts
    assert row["mAP"] == pytest.approx(mean_ap, abs=1e-12)


@pytest.mark.parametrize("name", ["mars_image_to_video", "image_to_video"])
@pytest.mark.parametrize("mode", ["first", "middle", "random"])
def test_one_frame_of_each_query_searches_tracklets(name: str, mode: str) -> None:
    query, gallery = make_mars()
    model = Line(query, gallery)
    data = TestData(build(query, "tracklet", 9), build(gallery, "tracklet", 9))
    settings = replace(EUCLIDEAN, query_frame=mode, seed=4)
    result = PROTOCOLS[name].run(model, data=data, settings=settings)
    (asked, choice), (searched, _) = model.calls
    assert asked.modalities == ("image",)
    assert searched.modalities == ("video",)
    assert choice.modalities == ("image", "video")
    frames = asked.frames.tolist()
    expected = {"first": [0] * 4, "middle": [4] * 4}
    if mode in expected:
        assert frames == expected[mode]
    assert len(searched) == (6 if name.startswith("mars") else 2)
    title = {"random": "query = seeded random (seed 4) frame"}.get(mode, f"query = {mode} frame")
    assert (
        result.build_rows("x")[0]["title"]
        == f"{PROTOCOLS[name].title}, {title}, euclidean distance"
    )


def test_images_of_the_query_search_as_they_are() -> None:
    query = build([("i1", 1, 0, -1, 0.0), ("i2", 2, 0, -1, 1.0)], "image")
    gallery_items = [("t1", 1, 1, -1, 0.1), ("t2", 2, 1, -1, 0.8)]
    gallery = build(gallery_items, "tracklet", 4)
    model = Line([("i1", 1, 0, -1, 0.0), ("i2", 2, 0, -1, 1.0)], gallery_items)
    data = TestData(query, gallery)
    (row,) = PROTOCOLS["image_to_video"].run(model, data=data, settings=EUCLIDEAN).build_rows("x")
    assert pick(row, "title", "R-1") == ("Image to video, euclidean distance", 1.0)
    assert model.calls[0][0].keys == [("i1", -1), ("i2", -1)]


def make_prid(seed: int, people: int = 89) -> tuple[list[Item], list[Item]]:
    places = np.random.default_rng(seed).normal(size=(2, people)).tolist()
    return (
        [(f"a{pid}", pid + 1, 0, -1, places[0][pid]) for pid in range(people)],
        [(f"b{pid}", pid + 1, 1, -1, places[1][pid]) for pid in range(people)],
    )


@pytest.mark.parametrize("seed", range(5))
def test_prid2011_lies_on_the_grid_of_89(seed: int) -> None:
    (row,) = search("prid2011", *make_prid(seed), kind="tracklet", frames=2).build_rows("x")
    assert pick(row, "queries", "valid_queries", "gallery") == (89, 89, 89)
    assert 89 * row["R-1"] == pytest.approx(round(89 * row["R-1"]), abs=1e-9)
    assert row["mAP"] == pytest.approx(row["mINP"], abs=1e-12)  # one match: AP = 1 / rank
    assert row["mAP"] >= row["R-1"]


def test_overrides_stand_in_title_and_row() -> None:
    settings = ProtocolSettings(
        ranks=(2,),
        distance="euclidean",
        average_precision="trapezoid",
        flip=False,
        neck="before",
        pooling="max",
        roles=("coarse", "areas"),
    )
    model = Line(LTCC_QUERY, LTCC_GALLERY)
    data = TestData(build(LTCC_QUERY), build(LTCC_GALLERY))
    (row,) = PROTOCOLS["ltcc_standard"].run(model, data=data, settings=settings).build_rows("m")
    assert row["title"] == (
        "LTCC, standard (general), euclidean distance, trapezoid AP, flip off, feature before the "
        "neck, max pooling, coarse + areas alone"
    )
    assert pick(row, "ap", "distance", "neck", "flip", "pooling") == (
        "trapezoid",
        "euclidean",
        "before",
        "off",
        "-",  # images are not pooled
    )
    assert "R-2" in row
    assert "R-1" not in row
    choice = model.calls[0][1]
    assert (choice.neck, choice.flip, choice.pooling) == ("before", False, "max")
    assert choice.roles == ("coarse", "areas")
    # the same as the protocol's own: no word in the title
    same = ProtocolSettings(distance="cosine", flip=True, neck="after", pooling="mean")
    assert PROTOCOLS["ltcc_standard"].resolve(same).changed == ()


def test_reranking_adds_a_row_of_the_same_title() -> None:
    query, gallery = make_prcc(2)
    for name in ("prcc_cloth_changing", "prcc_cloth_changing_single_shot"):
        settings = replace(EUCLIDEAN, rerank=True)
        plain, reranked = search(name, query, gallery, settings=settings, top_k=2).build_rows("x")
        assert pick(plain, "rerank", "title") == ("off", reranked["title"])
        assert reranked["rerank"] == "on"
        assert plain["mAP"] != reranked["mAP"]
        assert list(plain) == list(reranked)


def test_intervals_hold_their_score() -> None:
    settings = replace(EUCLIDEAN, bootstrap=50)
    (row,) = search("prid2011", *make_prid(1), settings=settings, kind="tracklet").build_rows("x")
    assert row["mAP_low"] < row["mAP"] < row["mAP_high"]
    assert row["R-1_low"] <= row["R-1"] <= row["R-1_high"]


def test_lists_point_into_the_chosen_gallery() -> None:
    result = search("prcc_cloth_changing_single_shot", *make_prcc(5), top_k=3)
    assert len(result.lists) == len(result.query) == 18
    drawn = set(sample_gallery(result.gallery, seed=0, draw=0).tolist())
    for query, top in enumerate(result.lists):
        assert set(top.gallery.tolist()) <= drawn
        right = result.gallery.labels.pids[top.gallery] == result.query.labels.pids[query]
        assert (right == (top.verdicts == 1)).all()


# what a protocol refuses


def test_queries_that_cannot_be_found_are_counted() -> None:
    query = [*LTCC_QUERY, ("s", 9, 0, 1, 0.0)]  # nobody in the gallery
    (row,) = search("market1501", query, LTCC_GALLERY).build_rows("x")
    assert pick(row, "queries", "valid_queries") == (3, 2)
    stranger = [*query, ("t", 0, 1, -1, 0.0)]  # no person: cannot be searched for
    (row,) = search("market1501", stranger, LTCC_GALLERY).build_rows("x")
    assert pick(row, "queries", "valid_queries", "skipped_queries") == (3, 2, 1)
    with pytest.raises(ProtocolError, match="none of the 1 queries has a true match"):
        search("market1501", [("s", 9, 0, 1, 0.0)], LTCC_GALLERY)


def test_a_mixed_data_set_counts_what_a_protocol_passes_over() -> None:
    images: list[Item] = [("i1", 1, 0, -1, 0.0), ("i2", 1, 1, -1, 0.2)]
    tracklets: list[Item] = [("t1", 1, 0, -1, 0.0), ("t2", 1, 1, -1, 0.2), ("t3", 0, 1, -1, 0.3)]
    model = Line(images, tracklets)
    query = build(images[:1]).join(build(tracklets[:1], "tracklet", 2))
    gallery = build(images[1:]).join(build(tracklets[1:], "tracklet", 2))
    data = TestData(query, gallery)
    for name, sizes in (("image", (1, 1, 1, 2)), ("video", (1, 2, 1, 1))):
        (row,) = PROTOCOLS[name].run(model, data=data, settings=EUCLIDEAN).build_rows("x")
        assert pick(row, "queries", "gallery", "skipped_queries", "skipped_gallery") == sizes
    (row,) = PROTOCOLS["image_to_video"].run(model, data=data, settings=EUCLIDEAN).build_rows("x")
    assert pick(row, "queries", "gallery", "skipped_gallery") == (2, 2, 1)
    assert "skipped_queries" not in row


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("prcc_same_clothes", r"'prcc_same_clothes' needs a query of camera 1 \(B: same clothes"),
        ("prid2011", "needs a query of tracklets .* holds images"),
        ("video", "needs a query of tracklets .* holds images"),
        ("mars_image_to_video", "needs a gallery of tracklets .* holds images"),
    ],
)
def test_what_a_protocol_needs_is_said(name: str, message: str) -> None:
    query = [("q", 5, 0, 1, 0.0)]
    gallery = [("g", 5, 1, 1, 0.0)]
    with pytest.raises(ProtocolError, match=message) as error:
        search(name, query, gallery)
    assert "What to do" in str(error.value)


def test_unknown_cameras_and_outfits_are_refused_where_they_matter() -> None:
    query = [("q", 5, 0, -1, 0.0), ("r", 5, -1, 1, 0.0)]
    gallery = [("g", 5, 1, 1, 0.0), ("h", 0, -1, -1, 0.0)]
    with pytest.raises(ProtocolError, match="needs the camera of every person, but 1 of 2 query"):
        search("market1501", query, gallery)
    with pytest.raises(ProtocolError, match=r"needs the outfit \(clothes_id\) .* 1 of 1 query"):
        search("ltcc_cloth_changing", query[:1], gallery)
    assert search("market1501", query[:1], gallery).build_rows("x")[0]["valid_queries"] == 1
    assert search("image", query, gallery).build_rows("x")[0]["valid_queries"] == 2


def test_empty_sides_are_refused() -> None:
    empty = build(LTCC_QUERY).take(np.arange(0))
    model = Line(LTCC_QUERY, LTCC_GALLERY)
    for query, gallery in ((empty, build(LTCC_GALLERY)), (build(LTCC_QUERY), empty)):
        with pytest.raises(ProtocolError, match="is empty"):
            PROTOCOLS["image"].run(model, data=TestData(query, gallery), settings=EUCLIDEAN)
    junk = build([("g", -1, 0, 0, 0.0)])
    with pytest.raises(ProtocolError, match="gallery of images .* holds nobody"):
        PROTOCOLS["image"].run(model, data=TestData(build(LTCC_QUERY), junk), settings=EUCLIDEAN)


def run_with(features: dict[str, Any]) -> None:
    data = TestData(build(LTCC_QUERY), build(LTCC_GALLERY))
    PROTOCOLS["image"].run(
        lambda entries, choice: np.asarray(features["gallery" if len(entries) == 6 else "query"]),
        data=data,
        settings=EUCLIDEAN,
    )


def test_bad_features_are_refused_by_name() -> None:
    good = {"query": np.ones((2, 3)), "gallery": np.ones((6, 3))}
    run_with(good)
    bad = np.ones((6, 3))
    bad[[1, 2, 4, 5]] = np.nan, np.inf, -np.inf
    with pytest.raises(ProtocolError, match=r"4 gallery features are not finite .*: b, c, e and 1"):
        run_with({**good, "gallery": bad})
    with pytest.raises(ProtocolError, match="query features have 4 values, gallery features 3"):
        run_with({**good, "query": np.ones((2, 4))})
    with pytest.raises(ProtocolError, match=r"shape \(5, 3\) do not fit 6 entries"):
        run_with({**good, "gallery": np.ones((5, 3))})
