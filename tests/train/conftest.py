import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.data.sources import build_source_writer
from tests.train.synthetic import build_config
from vills.data.pretrain_sources import PretrainData, load_pretrain_source
from vills.data.reid import ReidData, load_reid_data
from vills.io import save_json

IMAGES = [("image", 1, "pretrain", -1, -1, "")] * 20
CLIPS = [("tracklet", 3 + i % 4, "pretrain", -1, -1, f"video{i}") for i in range(9)]
SPLITS = [("train", pid, cam) for pid in (3, 7, 8, 20) for cam in (0, 1, 1)]
SPLITS += [("query", 30, 0), ("query", 31, 0), ("gallery", 30, 1), ("gallery", 31, 1)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """What a launcher sets up around a rank, and takes away again."""
    threads, environment = torch.get_num_threads(), dict(os.environ)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(scope="session")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sources")
    write = build_source_writer(root)
    write("images", IMAGES, skip=lambda i, area: (i, area) == (3, "head"))
    write("videos", CLIPS, stride=2)
    write("people", [("image", 1, split, pid, cam, "") for split, pid, cam in SPLITS])
    write("walks", [("tracklet", 4, split, pid, cam, "") for split, pid, cam in SPLITS])
    for name in ("images", "videos", "people", "walks"):
        role = f"pretrain_{name}" if name in ("images", "videos") else "reid"
        report = {"role": role, "damaged": {"count": 0}}
        save_json(root / "curated" / name / "report.json", report)
    return root


@pytest.fixture(scope="session")
def pretrain_data(curated: Path) -> PretrainData:
    return load_pretrain_data(curated)


def load_pretrain_data(root: Path, *, cache_mb: float = 0.0) -> PretrainData:
    images, videos = (
        load_pretrain_source(root / "curated" / name, lse=root / "lse" / name)
        for name in ("images", "videos")
    )
    return PretrainData([images], [videos], config=build_config(), cache_mb=cache_mb)


@pytest.fixture(scope="session")
def people(curated: Path) -> ReidData:
    return load_reid_data(curated / "curated" / "people", modality="image")


@pytest.fixture(scope="session")
def walks(curated: Path) -> ReidData:
    return load_reid_data(curated / "curated" / "walks", modality="video")
