"""The sigset protocol on cases small enough to do by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vills.evaluation.entries import Entries, build_entries
from vills.evaluation.protocols import (
    PROTOCOLS,
    FeatureChoice,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Row,
    TestData,
)

Group = Mapping[str, tuple[int, Sequence[str]]]
"""Template -> (pid, members)."""
SETTINGS = ProtocolSettings(fars=(0.5, 0.1, 0.01))


def build_data(groups: Mapping[str, Group], kinds: Mapping[str, str] | None = None) -> TestData:
    """Records named by their members; those of probes are query."""
    rows: list[dict[str, Any]] = [
        {"group": group, "name": name, "pid": pid, "record_ids": list(members)}
        for group, templates in groups.items()
        for name, (pid, members) in templates.items()
    ]
    owners: dict[str, dict[str, int]] = {"query": {}, "gallery": {}}
    for row in rows:
        side = owners["query" if row["group"] == "probe" else "gallery"]
        side.update(dict.fromkeys(row["record_ids"], row["pid"]))

    def build(people: dict[str, int]) -> Entries:
        names = sorted(people)
        return build_entries(
            pa.table(
                {
                    "record_id": pa.array(names, pa.string()),
                    "kind": [(kinds or {}).get(name, "image") for name in names],
                    "pid": pa.array([people[name] for name in names], pa.int64()),
                    "camid": pa.array([-1] * len(names), pa.int64()),
                }
            )
        )

    return TestData(build(owners["query"]), build(owners["gallery"]), pa.Table.from_pylist(rows))


def run(
    groups: Mapping[str, Group],
    features: Mapping[str, Sequence[float]],
    settings: ProtocolSettings = SETTINGS,
    **more: Any,
) -> ProtocolResult:
    data = build_data(groups)

    def compute(entries: Entries, choice: FeatureChoice) -> np.ndarray:
        return np.array([features[name] for name in entries.ids], np.float32)

    return PROTOCOLS["sigset"].run(compute, data=data, settings=settings, **more)


def rows_of(result: ProtocolResult) -> list[Row]:
    return result.build_rows("x")


def angle(degrees: float, scale: float = 1.0) -> list[float]:
    return [scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))]


PROBES: Group = {"p1": (1, ["m1"]), "p2": (2, ["m2"]), "p9": (9, ["m9"])}
GALLERY: Group = {"s1": (1, ["a", "b"]), "s2": (2, ["c"]), "s7": (7, ["d"]), "s8": (8, ["e"])}
# template s1 lies at 10 degrees: members count alike, whatever their norms
FEATURES = {
    "m1": angle(40),
    "m2": angle(60),
    "m9": angle(90),
    "a": angle(0, 9.0),
    "b": angle(20, 0.1),
    "c": angle(75),
    "d": angle(42),
    "e": angle(170),
}


def test_ranks_and_rates_by_hand() -> None:
    (row,) = rows_of(run({"probe": PROBES, "gallery_1": GALLERY}, FEATURES))
    # p1 at 40: s7 2, s1 30, s2 35 -> 2. p2 at 60: s2 15 -> 1. p9 is not in the gallery.
    assert (row["queries"], row["valid_queries"], row["gallery"]) == (3, 2, 4)
    assert (row["R-1"], row["R-5"], row["mAP"]) == (0.5, 1.0, 0.75)
    # impostors by angle: p1 2 35 130, p2 18 50 110, p9 15 48 80 80; genuine 30, 15
    assert (row["genuine_pairs"], row["impostor_pairs"]) == (2, 10)
    # FAR .5 accepts the five nearest impostors (2 15 18 35 48): genuine 30 and 15 are in
    assert row["TAR@0.5"] == 1.0
    # FAR .1 accepts one impostor (2), up to the next at 15: none of the genuine is nearer
    assert row["TAR@0.1"] == 0.0
    assert row["TAR@0.01"] is None  # below one in ten pairs
    assert (row["gallery_group"], row["rerank"]) == ("gallery_1", "off")
    assert "failed_probes" not in row


def test_galleries_are_scored_apart_and_averaged_by_family() -> None:
    half: Group = {"s1": (1, ["a"]), "s8": (8, ["e"])}
    other: Group = {"s2": (2, ["c"]), "s7": (7, ["d"]), "s8": (8, ["e"])}
    groups = {"probe": PROBES, "gallery_1": half, "gallery_2": other, "blended_gallery_1": GALLERY}
    rows = rows_of(run(groups, FEATURES))
    assert [row["gallery_group"] for row in rows] == [
        "blended_gallery_1",
        "gallery_1",
        "gallery_2",
        "mean of gallery_1, gallery_2",
    ]
    _, first, second, mean = rows
    assert (first["valid_queries"], second["valid_queries"]) == (1, 1)
    for name in ("mAP", "R-1", "mINP", "TAR@0.5"):
        assert mean[name] == pytest.approx((first[name] + second[name]) / 2)
    assert mean["queries"] == 3
    assert "gallery" not in mean  # they differ in size
    assert mean["TAR@0.01"] is None


def test_failed_enrolments_are_misses() -> None:
    lost = {"probe": PROBES, "gallery_1": {**GALLERY, "s2": (2, [])}}
    (row,) = rows_of(run(lost, {**FEATURES, "m1": [np.nan, np.nan]}))
    # p1 has no feature, p2's subject has none: both are valid, both are misses
    assert (row["queries"], row["valid_queries"], row["gallery"]) == (3, 2, 4)
    assert (row["failed_probes"], row["failed_templates"]) == (1, 1)
    assert (row["R-1"], row["R-20"]) == (0.0, 0.0)
    assert row["mAP"] == pytest.approx(0, abs=1e-15)
    assert (row["genuine_pairs"], row["TAR@0.5"]) == (2, 0.0)
    assert row["impostor_pairs"] == 2 * 3 - 0  # p2 and p9 against s1, s7, s8
    # a probe without media is a failed probe too
    (row,) = rows_of(run({"probe": {**PROBES, "p3": (7, [])}, "gallery_1": GALLERY}, FEATURES))
    assert (row["queries"], row["valid_queries"], row["failed_probes"]) == (4, 3, 1)
    assert row["R-5"] == pytest.approx(2 / 3)


def test_one_lost_member_does_not_lose_a_template() -> None:
    whole = rows_of(run({"probe": PROBES, "gallery_1": {**GALLERY, "s1": (1, ["a"])}}, FEATURES))
    part = rows_of(run({"probe": PROBES, "gallery_1": GALLERY}, {**FEATURES, "b": [np.nan] * 2}))
    assert part == whole


def test_distractors_and_junk() -> None:
    more: Group = {**GALLERY, "x": (0, ["y"]), "z": (-1, ["w"])}
    features = {**FEATURES, "y": angle(40), "w": angle(40)}
    (row,) = rows_of(run({"probe": PROBES, "gallery_1": more}, features))
    # the distractor at 40 is nearer to p1 than its own; junk is as if absent
    assert (row["gallery"], row["impostor_pairs"]) == (5, 13)
    assert row["mAP"] == pytest.approx((1 / 3 + 1) / 2)


def test_lists_name_first_members() -> None:
    result = run({"probe": PROBES, "gallery_1": GALLERY}, FEATURES, top_k=2)
    assert result.query.ids == ["m1", "m2", "m9"]
    assert result.gallery.ids == ["a", "c", "d", "e"]
    assert result.lists[0].gallery.tolist() == [2, 0]
    assert result.lists[0].verdicts.tolist() == [0, 1]


def test_images_and_tracklets_are_asked_for_together() -> None:
    data = build_data({"probe": PROBES, "gallery_1": GALLERY}, {"a": "tracklet", "m2": "tracklet"})
    calls: list[tuple[Entries, FeatureChoice]] = []

    def compute(entries: Entries, choice: FeatureChoice) -> np.ndarray:
        calls.append((entries, choice))
        return np.array([FEATURES[name] for name in entries.ids], np.float32)

    PROTOCOLS["sigset"].run(compute, data=data, settings=SETTINGS)
    ((entries, choice),) = calls
    assert entries.ids == sorted(FEATURES)
    assert choice.modalities == entries.modalities == ("image", "video")


def test_reranked_and_resampled_rows() -> None:
    settings = replace(SETTINGS, rerank=True, bootstrap=10)
    groups = {"probe": PROBES, "gallery_1": GALLERY, "gallery_2": GALLERY}
    rows = rows_of(run(groups, FEATURES, settings))
    assert [row["rerank"] for row in rows] == ["off"] * 3 + ["on"] * 3
    assert rows[0]["mAP_low"] <= rows[0]["mAP"] <= rows[0]["mAP_high"]
    assert "mAP_low" not in rows[2]
    assert rows[2]["mAP"] == rows[0]["mAP"]


def test_bad_input_is_said() -> None:
    good = {"probe": PROBES, "gallery_1": GALLERY}
    with pytest.raises(ProtocolError, match="needs templates, but this data set has none"):
        PROTOCOLS["sigset"].run(
            lambda entries, choice: np.ones((len(entries), 2), np.float32),
            data=replace(build_data(good), templates=None),
            settings=SETTINGS,
        )
    with pytest.raises(ProtocolError, match="needs a group 'probe' and a gallery; .* gallery_1"):
        run({"gallery_1": GALLERY}, FEATURES)
    with pytest.raises(ProtocolError, match="none of the 1 queries has a true match"):
        run({"probe": {"p9": (9, ["m9"])}, "gallery_1": GALLERY}, FEATURES)
    with pytest.raises(ProtocolError, match=r"not finite .*: m1\."):
        run(good, {**FEATURES, "m1": [np.nan, 1.0]})  # not a failed enrolment, but a broken one
    nothing = {name: [np.nan, np.nan] for name in FEATURES}
    with pytest.raises(ProtocolError, match="no probe has a feature"):
        run(good, {**FEATURES, **{name: nothing[name] for name in ("m1", "m2", "m9")}})
    with pytest.raises(ProtocolError, match="no template of gallery_1 has a feature"):
        run(good, {**nothing, "m1": [1.0, 0.0]})
    data = build_data(good)
    with pytest.raises(ProtocolError, match="1 members of templates are neither .* first 'e'"):
        PROTOCOLS["sigset"].run(
            lambda entries, choice: np.ones((len(entries), 2), np.float32),
            data=replace(data, gallery=data.gallery.take(np.arange(4))),
            settings=SETTINGS,
        )
