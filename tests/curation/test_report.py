import json
from pathlib import Path

from tests.curation.scenes import build_config, write_image
from vills.config.curate import SourceConfig
from vills.curation.report import save_splits
from vills.curation.source import run_source
from vills.data.layouts import PersonSplit


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
