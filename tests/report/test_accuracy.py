"""Curves of fine-tuning: splits become a band, and the protocol a title."""

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.curated import write_curated
from vills.config.finetune import FinetuneConfig
from vills.report.accuracy import build_accuracy, build_plot, find_title, load_points
from vills.report.inputs import ReportInputs

CSV = """initialisation,epoch,map,rank1
pretrained_split0,1,0.10,0.2
pretrained_split0,2,0.30,0.4
pretrained_split1,1,0.20,0.2
pretrained_split1,2,0.50,0.6
scratch_split0,1,0.05,0.1
scratch_split0,2,0.15,0.1
scratch_split1,1,0.05,0.1
scratch_split1,2,0.25,0.3
"""


def test_splits_of_one_initialisation_become_a_mean_and_a_band(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    config = FinetuneConfig(initialisations=["pretrained", "scratch"], split_ids=[0, 1])
    plot = build_plot(load_points(tmp_path / "a.csv"), config)
    epochs, values = plot.lines["mAP, %"]["pretrained"]
    assert epochs == [1, 2]
    np.testing.assert_allclose(values, [15, 40])
    low, high = plot.bands["mAP, %"]["pretrained"]
    np.testing.assert_allclose([low, high], [[10, 30], [20, 50]])
    np.testing.assert_allclose(plot.lines["rank-1, %"]["scratch"][1], [10, 20])
    assert plot.has_curves


def test_one_split_has_no_band_and_one_point_is_no_curve(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("initialisation,epoch,map,rank1\npretrained,40,0.5,0.6\n")
    plot = build_plot(load_points(tmp_path / "a.csv"), FinetuneConfig())
    assert plot.bands == {}
    assert not plot.has_curves


@pytest.mark.parametrize(
    ("num", "text"),
    [
        (0, "x was measured on test people only after its last epoch: see Scores."),
        (4, "x was measured on 4 validation people only after its last epoch: see finetune_x.json"),
    ],
)
def test_one_point_is_said_to_stand_elsewhere(tmp_path: Path, num: int, text: str) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "finetune_x.csv").write_text(
        "initialisation,epoch,map,rank1\npretrained,40,0.5,0.6\n"
    )
    config = FinetuneConfig(source="x", num_val_ids=num)
    inputs = ReportInputs(tmp_path, {}, {}, {"x": config})
    assert text in str(build_accuracy({}, inputs).blocks[-1].text)


@pytest.mark.parametrize(
    ("config", "kind", "title"),
    [
        (FinetuneConfig(modality="image"), "image", "Images"),
        (FinetuneConfig(modality="video"), "video", "Tracklets"),
        (FinetuneConfig(modality="mixed"), "video", "Tracklets"),
        (FinetuneConfig(modality="mixed"), "image", "Images"),
        (FinetuneConfig(protocol="prcc_cloth_changing"), "image", "PRCC, cloth-changing, all"),
    ],
)
def test_the_title_is_that_of_the_protocol(
    tmp_path: Path, config: FinetuneConfig, kind: str, title: str
) -> None:
    write_curated(tmp_path, modality=kind)
    assert find_title(config, tmp_path).startswith(title)
