"""One model, one answer: `extract` and `evaluate FEATURES` give what `evaluate@` gives."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.evaluation.networks import make_backbone, make_reid
from vills.cli import main
from vills.config.checks import ConfigError
from vills.config.curate import CurateConfig, SourceConfig
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.curation.source import run_source
from vills.evaluation.baselines import ModelRow
from vills.evaluation.entries import load_test_sets
from vills.evaluation.evaluate import run_evaluation
from vills.evaluation.extract import extract_path
from vills.evaluation.token_file import load_about
from vills.models.reid import ReidModel
from vills.models.weights import load_backbone, load_reid, save_backbone, save_reid

INPUT_SIZE = (48, 24)  # not that of the backbone, 32 x 16
NUM_FRAMES = 3
PEOPLE = range(1, 9)
LENGTHS = (5, 1, 4, 7)
SCORES = ("mAP", "mINP", "R-1", "R-5")


def draw(pid: int, camera: int, number: int) -> Image.Image:
    """Colours of the person, a cast of the camera and much noise: no model finds everybody."""
    rng = np.random.default_rng((pid, camera, number))
    colours = np.random.default_rng(pid).integers(60, 190, (4, 1, 3)).repeat(16, 0).repeat(30, 1)
    noise = rng.normal(0, 60, colours.shape) + 25 * camera
    return Image.fromarray(np.clip(colours + noise, 0, 255).astype(np.uint8))


def save(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def make_market(root: Path) -> None:
    save(root / "bounding_box_train" / "0077_c1s1_000001_00.jpg", draw(77, 1, 0))
    for pid in PEOPLE:
        save(root / "query" / f"{pid:04d}_c1s1_000000_00.jpg", draw(pid, 1, 0))
        for camera in (1, 2, 3):
            name = f"{pid:04d}_c{camera}s1_{camera:06d}_01.jpg"
            save(root / "bounding_box_test" / name, draw(pid, camera, 1))
    save(root / "bounding_box_test" / "0000_c2s1_000009_01.jpg", draw(99, 2, 0))


def make_prid(root: Path) -> None:
    people = [f"person_{pid:04d}" for pid in (*PEOPLE, 70, 71)]
    for number, person in enumerate(people):
        for camera in (0, 1):
            for frame in range(LENGTHS[(number + camera) % len(LENGTHS)]):
                folder = root / "multi_shot" / ("cam_a", "cam_b")[camera] / person
                save(folder / f"{frame:04d}.png", draw(number, camera, frame))
    splits = [{"train": people[8:], "test": people[:8]}]
    (root / "splits_prid2011.json").write_text(json.dumps(splits))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both data sets as they are downloaded, and curated."""
    root = tmp_path_factory.mktemp("raw")
    for name, make in (("market1501", make_market), ("prid2011", make_prid)):
        make(root / name)
        run_source(
            name,
            SourceConfig(name, name, "reid"),
            CurateConfig(),
            root=root,
            out=root / "curated" / name,
            work=root / "work" / name,
        )
    return root


def save_model(folder: Path, modality: str, *, neck: str = "bnneck") -> Callable[[], Any]:
    """A fine-tuned model whose neck changes the order, or a backbone; and how to load it."""
    if modality == "backbone":
        save_backbone(make_backbone(), folder)
        return lambda: load_backbone(folder).eval()
    model = make_reid(modality)
    if neck == "none":
        model = ReidModel(make_backbone(), num_ids=2, modality=modality, neck="none").eval()
    else:
        assert model.neck is not None
        noise = torch.Generator().manual_seed(1)
        size = model.neck.running_mean.shape
        model.neck.running_mean.copy_(torch.randn(size, generator=noise))
        model.neck.running_var.copy_(0.1 + 3 * torch.rand(size, generator=noise))
    trained = FinetuneConfig(input_size=list(INPUT_SIZE), num_frames=NUM_FRAMES)
    save_reid(model, folder, trained=trained)
    return lambda: load_reid(folder).eval()


def score_stage(
    raw: Path,
    name: str,
    load: Callable[[], Any],
    tmp_path: Path,
    *,
    size: tuple[int, int] = INPUT_SIZE,
    **changes: Any,
) -> dict[str, Any]:
    """The row that the stage evaluate gives."""
    config = EvaluateConfig(num_frames=NUM_FRAMES, bootstrap=0, ranks=[1, 5], **changes)
    results = run_evaluation(
        config,
        splits=load_test_sets(raw / "curated" / name, split_ids=[0]),
        models=[ModelRow("m", load)],
        input_size=size,
        out=tmp_path / "stage",
    )
    return results["rows"][0]


def score_file(
    raw: Path, name: str, tmp_path: Path, *options: str, scoring: tuple[str, ...], protocol: str
) -> dict[str, Any]:
    """The row of `vills extract` and `vills evaluate`, at the command line."""
    root, out, told = str(raw / name), str(tmp_path / "f.parquet"), str(tmp_path / "f.json")
    weights = str(tmp_path / "weights")
    assert main(["extract", root, "--weights", weights, "--out", out, *options]) == 0
    common = ["--layout", name, "--root", root, "--protocol", protocol, "--ranks", "1", "5"]
    assert main(["evaluate", out, *common, "--bootstrap", "0", "--json", told, *scoring]) == 0
    rows: list[dict[str, Any]] = json.loads(Path(told).read_text())["rows"]
    return rows[0]


def compare(stage: dict[str, Any], file: dict[str, Any]) -> None:
    assert {name: file[name] for name in SCORES} == pytest.approx(
        {name: stage[name] for name in SCORES}, abs=1e-6
    )
    for name in ("title", "neck", "flip", "distance", "ap", "queries", "gallery"):
        assert file[name] == stage[name], name


IMAGES, TRACKLETS = "market1501", "prid2011"


@pytest.mark.parametrize(
    ("name", "modality", "changes", "options", "scoring"),
    [
        (IMAGES, "image", {}, (), ()),
        (IMAGES, "image", {"neck": "before"}, ("--neck", "before"), ()),
        (IMAGES, "image", {"flip": "on"}, ("--flip",), ()),
        (IMAGES, "image", {"distance": "euclidean"}, (), ("--distance", "euclidean")),
        (IMAGES, "image", {"roles": ["coarse"]}, (), ("--column", "coarse")),
        (IMAGES, "mixed", {}, (), ()),
        (IMAGES, "video", {"neck": "before", "flip": "on"}, ("--neck", "before", "--flip"), ()),
        (TRACKLETS, "image", {}, ("--tracklets",), ()),
        (TRACKLETS, "image", {}, (), ()),  # a row per frame, pooled by evaluate
        (TRACKLETS, "image", {"distance": "euclidean"}, (), ("--distance", "euclidean")),
        (TRACKLETS, "video", {}, ("--tracklets",), ()),
        (TRACKLETS, "video", {"neck": "before"}, ("--tracklets", "--neck", "before"), ()),
        (TRACKLETS, "mixed", {"flip": "on"}, ("--tracklets", "--flip"), ()),
        (
            *(TRACKLETS, "video", {"pooling": "max"}),
            *(("--tracklets", "--pooling", "max"), ("--pooling", "max")),
        ),
        (TRACKLETS, "video", {"roles": ["temporal"]}, ("--tracklets",), ("--column", "temporal")),
    ],
)
def test_extract_gives_what_the_stage_compares(
    raw: Path,
    tmp_path: Path,
    name: str,
    modality: str,
    changes: dict[str, Any],
    options: tuple[str, ...],
    scoring: tuple[str, ...],
) -> None:
    load = save_model(tmp_path / "weights", modality)
    stage = score_stage(raw, name, load, tmp_path, protocols=[name], **changes)
    file = score_file(raw, name, tmp_path, *options, scoring=scoring, protocol=name)
    compare({**stage, "title": file["title"]} if "roles" in changes else stage, file)
    assert 0.1 < stage["mAP"] < 0.99  # else any order would do


@pytest.mark.parametrize("name", [IMAGES, TRACKLETS])
@pytest.mark.parametrize(("modality", "neck"), [("backbone", ""), ("image", "none")])
def test_models_without_a_neck_say_so(
    raw: Path, tmp_path: Path, name: str, modality: str, neck: str
) -> None:
    load = save_model(tmp_path / "weights", modality, neck=neck)
    size = (32, 16) if modality == "backbone" else INPUT_SIZE
    stage = score_stage(raw, name, load, tmp_path, protocols=[name], size=size)
    options = (
        *(("--tracklets",) if name == TRACKLETS else ()),
        *(("--num-frames", str(NUM_FRAMES)) if modality == "backbone" else ()),
    )
    file = score_file(raw, name, tmp_path, *options, scoring=(), protocol=name)
    compare(stage, file)
    assert file["neck"] == "-"


def test_the_neck_matters_and_is_named_everywhere(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "weights", "image")
    rows = {}
    for side in ("after", "before"):
        options = () if side == "after" else ("--neck", side)
        rows[side] = score_file(
            raw, "market1501", tmp_path, *options, scoring=(), protocol="market1501"
        )
        text = capsys.readouterr().out
        line = f"(image): {side} the neck, flip off, pictures of 48x24 px, videos frame by frame"
        assert text.count(line) == 2  # of extract, and of evaluate
        assert f"feature {side} the neck" in text
        assert load_about(tmp_path / "f.parquet")["neck"] == side
    assert rows["after"]["mAP"] != rows["before"]["mAP"]
    assert rows["before"]["title"] == rows["after"]["title"] + ", feature before the neck"
    with pytest.raises(SystemExit):
        main(["extract", "--help"])
    assert "side of the neck" in capsys.readouterr().out


def test_npz_and_parquet_say_the_same_and_other_files_say_nothing(
    raw: Path, tmp_path: Path
) -> None:
    save_model(tmp_path / "weights", "video")
    abouts = []
    for suffix in ("npz", "parquet"):
        out = tmp_path / f"f.{suffix}"
        arguments = ["--weights", str(tmp_path / "weights"), "--out", str(out)]
        assert main(["extract", str(raw / "market1501" / "query"), *arguments]) == 0
        abouts.append(load_about(out))
    assert abouts[0] == abouts[1]
    assert abouts[0]["clips"] == "all of 3 frames"
    for about in ("[1]", '{"neck": "after"}', "{", "5"):
        np.savez(tmp_path / "o.npz", path=np.array(["a"]), about=np.array(about))
        assert load_about(tmp_path / "o.npz") == {}
    np.savez(tmp_path / "o.npz", about=np.array([{}], dtype=object))
    assert load_about(tmp_path / "o.npz") == {}
    table = pq.read_table(tmp_path / "f.parquet").replace_schema_metadata({"about": "x"})
    pq.write_table(table, tmp_path / "o.parquet")
    assert load_about(tmp_path / "o.parquet") == {}


def test_weights_of_before_have_the_backbone_s_size(tmp_path: Path, raw: Path) -> None:
    save_model(tmp_path / "weights", "image")
    path = tmp_path / "weights" / "model.json"
    content = json.loads(path.read_text())
    assert content["convention"] == "rgb 0-1 mean 0.5 std 0.5 nchw 48x24"
    del content["reid"]["input_size"]
    path.write_text(json.dumps(content))
    out = tmp_path / "f.parquet"
    arguments = ["--weights", str(tmp_path / "weights"), "--out", str(out)]
    assert main(["extract", str(raw / "market1501" / "query"), *arguments]) == 0
    assert load_about(out)["size"] == "32x16"


def test_a_clip_length_is_refused_where_there_are_no_clips(raw: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "weights", "image")
    with pytest.raises(ConfigError, match="--num-frames = 4 is not allowed.*frame by frame"):
        extract_path(raw, weights=tmp_path / "weights", out=tmp_path / "features.npz", num_frames=4)
