"""Paths that are written otherwise than the data set's files."""

import pytest

from vills.data.spelling import Spellings, describe_spelling

FOLDERS = "the folders in front removed"


@pytest.mark.parametrize(
    ("written", "name", "changes"),
    [
        ("query\\a.jpg", "query/a.jpg", ["slashes for backslashes"]),
        (".\\query\\a.jpg", "query/a.jpg", ["slashes for backslashes"]),
        ("./query//a.jpg", "query/a.jpg", []),
        ("query/a.JPG", "query/a.jpg", ["other upper and lower case"]),
        ("query/a.jpeg", "query/a.jpg", ["another suffix"]),
        ("query/a", "query/a.jpg", ["another suffix"]),
        ("0002C1T0001F001", "0002C1T0001F001.jpg", ["another suffix"]),
        ("a%20b.jpg", "a b.jpg", ["%-codes decoded"]),
        ("query%5Ca.jpg", "query/a.jpg", ["%-codes decoded", "slashes for backslashes"]),
        (" query/a.jpg\r\n", "query/a.jpg", ["spaces around it removed"]),
        ("e\u0301.jpg", "\u00e9.jpg", ["another Unicode form"]),
        ("C:\\m\\query\\a.jpg", "query/a.jpg", ["slashes for backslashes", FOLDERS]),
        (
            "/m/query/A.png",
            "query/a.jpg",
            ["other upper and lower case", "another suffix", FOLDERS],
        ),
    ],
)
def test_the_fewest_changes_are_named(written: str, name: str, changes: list[str]) -> None:
    spelling = Spellings([written, "something/else.jpg"]).find(name)
    assert spelling is not None
    assert (spelling.written, list(spelling.changes)) == (written, changes)
    assert spelling.is_longer == (FOLDERS in changes)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        (["query/a.jpg"], "gallery/a.jpg"),
        (["a.jpg"], "query/a.jpg"),  # a folder is missing
        (["xquery/a.jpg"], "query/a.jpg"),
        (["a/query/a.jpg", "b/query/a.jpg"], "query/a.jpg"),  # which of the two?
        (["query/a.png", "QUERY/A.JPG"], "query/a.jpg"),
        (["person.01"], "person.02"),  # no suffix
        ([], "a.jpg"),
    ],
)
def test_what_means_something_else_or_two_things_means_nothing(
    written: list[str], name: str
) -> None:
    assert Spellings(written).find(name) is None


def test_the_sentence_names_an_example() -> None:
    found = describe_spelling(["b\\c.jpg"], ["a/c.jpg", "b/c.jpg"])
    assert found == r" 'b\\c.jpg' would match 'b/c.jpg' with slashes for backslashes."
    assert describe_spelling(["b/c.jpg"], ["a/c.jpg"]) == ""
