"""The report says in plain words what features know, and warns of a low rank."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vills.report.page import render_page
from vills.report.pretraining import build_pretraining

VALUES = ("effective_rank", "knn", "map", "lda_knn", "lda_map", "camera")


def describe(network: str, roles: tuple[str, ...], first: float) -> dict[str, float]:
    """knn is `first` + .01 per role, the other values follow in steps of .1."""
    return {
        f"{network}/{role}/{value}": 9.0 * first if i == 0 else first + 0.01 * j + 0.1 * (i - 1)
        for j, role in enumerate(roles)
        for i, value in enumerate(VALUES)
    }


def build_page(folder: Path, *, published: bool = False, **changes: Any) -> str:
    roles = ("all", "coarse")
    trained = {**describe("teacher", roles, 0.3), **describe("student", roles, 0.4)}
    start = {**describe("pixels", ("all",), 0.1), **describe("untrained", roles, 0.2)}
    start |= {name: value + 0.05 for name, value in trained.items()}
    probe = {
        "source": "market1501",
        "crops": 500,
        "people": 63,
        "cameras": 4,
        "every_steps": 2,
        "min_rank": 4.0,
        "widths": {"all": 64, "coarse": 32, "pixels": 384},
        "start": start,
        "end": trained,
        "warnings": [],
    }
    health: dict[str, Any] = {"start": {}, "end": {}, "bounds": {}, "num_steps": 4}
    health["initial"] = {"file": "dino.pth"} if published else None
    if changes.pop("probed", True):
        health["probe"] = {**probe, **changes}
    (folder / "health.json").write_text(json.dumps(health))
    names = ",".join(f"probe/{name}" for name in trained)
    lines = [f"step,loss/total,{names}"]
    lines += [f"{step},1.5,{','.join(map(str, trained.values()))}" for step in (0, 2, 4)]
    (folder / "curves.csv").write_text("\n".join(lines) + "\n")
    metrics = {"pretrain": {"images": 3, "videos": 2, "fingerprint": "a"}}
    section = build_pretraining(metrics, plots=folder / "curves.csv", folder=folder)
    return re.sub(r'src="data:[^"]*"', "src", render_page([section]))


def read_row(page: str, first: str) -> list[str]:
    (row,) = re.findall(rf"<tr[^>]*><td[^>]*>{re.escape(first)}</td>(.*?)</tr>", page)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


@pytest.mark.slow
def test_every_value_stands_beside_pixels_and_the_untrained_network(tmp_path: Path) -> None:
    page = build_page(tmp_path)
    heads = re.findall(r"<th(?: [^>]*)?>(.*?)</th>", page)
    assert heads[:5] == ["asked", "pixels at 16x8", "untrained", "student", "teacher"]
    rank = "effective rank: how many directions of the feature space the features use"
    assert read_row(page, rank) == ["0.9 of 384", "1.8 of 64", "3.6 of 64", "2.7 of 64"]
    knn = "nearest neighbour in another camera is the same person, %"
    assert read_row(page, knn) == ["10.0", "20.0", "40.0", "30.0"]
    camera = "camera recognised, % (for information: features should contain more than that)"
    assert read_row(page, camera) == ["50.0", "60.0", "80.0", "70.0"]
    assert read_row(page, "teacher, coarse") == [
        "2.7 of 32",
        "31.0",
        "41.0",
        "51.0",
        "61.0",
        "71.0",
    ]
    assert "500 crops of 63 people for training of market1501, in 4 cameras" in page
    assert "Warning" not in page
    assert page.count("All roles concatenated, from step 0 to the end.") == 2  # alt and caption


def test_a_warning_stands_above_the_table(tmp_path: Path) -> None:
    text = "effective rank teacher 2.7, under 4. What to do: train longer."
    page = build_page(tmp_path, warnings=[text])
    assert page.index("Warning: low effective rank") < page.index(text)
    assert page.index(text) < page.index("What the features contain")


def test_a_run_from_published_weights_is_compared_with_them(tmp_path: Path) -> None:
    page = build_page(tmp_path, published=True)
    knn = "nearest neighbour in another camera is the same person, %"
    assert read_row(page, knn) == ["10.0", "20.0", "35.0", "40.0", "30.0"]


def test_tracklets_are_named_as_what_they_are(tmp_path: Path) -> None:
    page = build_page(tmp_path, source="")
    assert "500 crops of 63 tracklets of pre-training, in 4 videos" in page
    assert "A feature of the background can solve that" in page
    knn = "nearest neighbour at the other end of a tracklet is the same tracklet, %"
    assert read_row(page, knn) == ["10.0", "20.0", "40.0", "30.0"]


@pytest.mark.parametrize("word", ["What the features contain", "effective rank", "Probed:"])
def test_a_run_without_probes_says_nothing_of_them(tmp_path: Path, word: str) -> None:
    assert word not in build_page(tmp_path, probed=False)
