"""A small source of the embedded world, curated once for all tests of this folder."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from vills.config.curate import CurateConfig, SourceConfig
from vills.config.miniature import MiniatureConfig
from vills.curation.source import run_source
from vills.miniature.world import render_world


@dataclass(frozen=True)
class Source:
    """Where one source of the world lies."""

    name: str
    curated: Path
    root: Path
    truth: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Source]:
    folder = tmp_path_factory.mktemp("world")
    config = MiniatureConfig(
        datasets=["luperson", "kinetics"],
        num_pretrain_ids=12,
        num_luperson_images=64,
        num_scenes=2,
        scene_frames=32,
    )
    render_world(config, out=folder / "raw")
    sources = {}
    for name, role in (("luperson", "pretrain_images"), ("kinetics", "pretrain_videos")):
        source = SourceConfig(layout=name, path=name, role=role)
        out = folder / "curated" / name
        run_source(
            name,
            source,
            CurateConfig(sources={name: source}),
            root=folder / "raw",
            out=out,
            work=folder / "work" / name,
        )
        truth = folder / "raw" / "truth" / f"{name}.parquet"
        sources[name] = Source(name=name, curated=out, root=folder / "raw" / name, truth=truth)
    return sources
