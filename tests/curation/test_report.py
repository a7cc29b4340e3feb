import json
from pathlib import Path

from tests.curation.scenes import build_config, write_image
from vills.config.curate import SourceConfig
from vills.curation.report import save_splits
from vills.curation.source import run_source
from vills.data.layouts import PersonSplit
from vills.data.reid import load_reid_data
from vills.data.survey import compute_surveys


def test_splits_are_written_as_they_are(tmp_path: Path) -> None:
    save_splits(tmp_path, [PersonSplit((1, 4), (2, 3)), PersonSplit((2,), (1,))])
    expected = [{"train": [1, 4], "test": [2, 3]}, {"train": [2], "test": [1]}]
    assert json.loads((tmp_path / "splits.json").read_text()) == expected


def test_the_splits_of_prid2011_reach_the_curated_folder(tmp_path: Path) -> None:
    people = [f"person_{i:04d}" for i in (1, 2, 3, 4)]
    base = tmp_path / "prid2011"
    for camera in ("cam_a", "cam_b"):
        for person in people:
            for i in (1, 2):
                write_image(base / "multi_shot" / camera / person / f"{i:04d}.png", seed=i)
    splits = [{"train": people[:2], "test": people[2:]}, {"train": people[2:], "test": people[:2]}]
    (base / "splits_prid2011.json").write_text(json.dumps(splits))
    run_source(
        "prid",
        SourceConfig("prid2011", "prid2011", "reid"),
        build_config(),
        root=tmp_path,
        out=tmp_path / "out",
        work=tmp_path / "work",
    )
    assert json.loads((tmp_path / "out" / "splits.json").read_text()) == [
        {"train": [1, 2], "test": [3, 4]},
        {"train": [3, 4], "test": [1, 2]},
    ]
    assert not (tmp_path / "out" / "entries.parquet").exists()


def test_counts_and_copies_are_those_of_data_check(tmp_path: Path) -> None:
    """All official counts are compared, as of the raw files; copies reach the evaluation."""
    base = tmp_path / "market"
    write_image(base / "bounding_box_train/0002_c1s1_000451_03.jpg", seed=1)
    write_image(base / "query/0001_c1s1_001051_00.jpg", seed=2)
    write_image(base / "bounding_box_test/0001_c2s1_000151_01.jpg", seed=3)
    write_image(base / "bounding_box_test/0001_c2s1_000151_01 (1).jpg", seed=3)
    write_image(base / "bounding_box_test/0003_c7s1_000151_01.jpg", seed=2)
    report = run_source(
        "market",
        SourceConfig("market1501", "market", "reid"),
        build_config(),
        root=tmp_path,
        out=tmp_path / "out",
        work=tmp_path / "work",
    )
    assert report["records"] == 5
    (survey,) = compute_surveys(base, check_video=lambda *_: ("", ()))
    differences = [line for line in survey.problems if not line.startswith("->")]
    assert report["notes"] == [*survey.notes, *(f"market1501: {line}" for line in differences)]
    assert any(line.startswith("3 cameras, the official release has 6") for line in differences)
    assert report["copies"] == list(survey.notes[-3:])
    assert load_reid_data(tmp_path / "out").left_out == tuple(report["copies"])
