"""The project that bad inputs are tried in: the undisturbed one, with raw data of every layout."""

import json
import shutil
from pathlib import Path

import numpy as np

from tests.onnx_files import save_reid_onnx
from tests.torture.undisturbed import Undisturbed
from vills.config.load import save_params
from vills.config.miniature import MINIATURE_DATASETS


def get_base(reference: Undisturbed) -> Path:
    """The project that cases begin with: the undisturbed one, with raw data of every layout."""
    base = reference.project.folder.with_name("base")
    if (base / "complete").exists():
        return base
    shutil.rmtree(base, ignore_errors=True)
    project = reference.copy(base)
    kept = (base / "params.yaml").read_bytes()
    save_params(base, profile="tiny_sets", overrides=[], force=True)
    project.run("vills", "run", "miniature")
    shutil.move(base / "artifacts" / "miniature", base / "raw")
    for name in ("artifacts", "runs"):
        shutil.rmtree(base / name)
        shutil.copytree(reference.project.folder / name, base / name)
    for source in MINIATURE_DATASETS:
        project.run("vills", "data", "register", source, env={"VILLS_DATA": str(base / "raw")})
    (base / "params.yaml").write_bytes(kept)
    add_own_files(base)
    plain = ("--weights", "artifacts/pretrain/teacher", "--out", "weights/plain.safetensors")
    project.run("vills", "export", *plain)
    (base / "complete").touch()
    return base


def add_own_files(base: Path) -> None:
    """Features, weights, media and a sweep, as users have them."""
    draw = np.random.default_rng(0)
    market = base / "raw" / "market1501"
    names = [
        path.relative_to(market).as_posix()
        for part in ("query", "bounding_box_test")
        for path in sorted((market / part).glob("*.jpg"))
    ]
    features = draw.normal(size=(len(names), 8)).astype(np.float32)
    np.savez(base / "features.npz", path=np.array(names), feature=features)
    (base / "weights").mkdir()
    save_reid_onnx(base / "weights" / "reid.onnx", size=(64, 32))
    media = base / "media"
    media.mkdir()
    pictures = sorted((market / "query").glob("*.jpg"))[:3]
    videos = sorted((base / "raw/kinetics/train").glob("*.mp4"))[:1]
    for i, path in enumerate([*pictures, *videos]):
        shutil.copy(path, media / f"{'abcd'[i]}{path.suffix}")
    (base / "own.yaml").write_text(json.dumps(SWEEP, indent=1))


SWEEP = {
    "defaults": ["sweep_schema", "_self_"],
    "title": "t",
    "command": "c",
    "cost": "none",
    "seeds": [0, 1],
    "overrides": ["pretrain.max_steps=3"],
    "tables": {
        "one": {
            "title": "T",
            "columns": {
                "map": {
                    "head": "M",
                    "evaluate": "market1501",
                    "protocol": "market1501",
                    "metric": "mAP",
                }
            },
            "note": "n",
        }
    },
    "points": {
        "a": {"label": "A", "overrides": ["pretrain.seed=1"], "published": {"map": 50.0}},
        "b": {"label": "B", "overrides": ["pretrain.seed=2"], "tables": ["one"]},
    },
}
