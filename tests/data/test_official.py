import pytest

from vills.data.layouts.counts import OFFICIAL_COUNTS, describe_causes, describe_count_differences


def test_counts_beside_the_official_ones() -> None:
    lines = describe_count_differences("mars", {"train": 8298, "train ids": 625, "query": 4})
    expected = "mars: 4 query, the official release has 1,980 (1,976 fewer)"
    assert lines[0] == expected
    assert len(lines) == 4, "rows and people of every split, but nothing that was not counted"
    assert not describe_count_differences("folder", {"train": 1})


def test_the_official_counts_agree_with_each_other() -> None:
    prcc = OFFICIAL_COUNTS["prcc"]
    assert prcc["query camera 2"] + prcc["query camera 3"] == prcc["query"]
    assert prcc["train"] + prcc["val"] + prcc["query"] + prcc["gallery"] == 33_698
    ltcc = OFFICIAL_COUNTS["ltcc"]
    assert ltcc["train"] + ltcc["query"] + ltcc["gallery"] == 17_119
    mars = OFFICIAL_COUNTS["mars"]
    assert mars["gallery"] + mars["query"] == 11_310
    assert mars["gallery"] + mars["gallery junk"] + mars["query"] == 12_180


@pytest.mark.parametrize("name", sorted(OFFICIAL_COUNTS))
def test_the_official_counts_need_no_diagnosis(name: str) -> None:
    assert not describe_count_differences(name, OFFICIAL_COUNTS[name])
    assert not describe_causes(name, OFFICIAL_COUNTS[name])


def test_market1501_with_500k_distractors_is_official() -> None:
    assert not describe_causes("market1501", OFFICIAL_COUNTS["market1501"] | {"gallery": 515_913})


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        (
            "market1501",
            {"train": 12_000, "query": 3_000},
            "incompletely unpacked.*in train, query;",
        ),
        ("market1501", {"train": 16_522, "query": 2_228, "cameras": 8}, "it has 8 cameras, not 6"),
        ("market1501", {"gallery": 19_281}, "holds the query images as well"),
        ("market1501", {"train": 25_872}, "duplicate files"),
        ("mars", {"train": 9_000, "query": 4}, "some counts are above and some below"),
        ("prcc", {"train": 22_898}, "train also holds the images of val"),
        ("ltcc", {"gallery": 7_543}, "test also holds the query images"),
        ("luperson", {"images": 10_680_000}, "LUPerson-NL"),
        ("luperson", {"images": 12}, "a subset, or another extraction"),
    ],
)
def test_what_it_means_when_counts_differ(
    name: str, changed: dict[str, int], expected: str
) -> None:
    import re

    lines = describe_causes(name, OFFICIAL_COUNTS[name] | changed)
    assert len(lines) == 1
    assert re.search(expected, lines[0])
