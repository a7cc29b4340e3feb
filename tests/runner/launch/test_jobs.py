"""slurm/*.yaml: what is shipped, what a command line changes, and what is refused."""

from pathlib import Path

import pytest

from vills.config.checks import ConfigError
from vills.config.resources import Resources, load_resources
from vills.pipeline import STAGES
from vills.runner.clusters.jobs import check_overrides

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VILLS_SLURM", raising=False)


def write(folder: Path, text: str, stage: str = "pretrain") -> Path:
    (folder / "slurm").mkdir(exist_ok=True)
    (folder / "slurm" / f"{stage}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("stage", STAGES)
def test_shipped_files_load(stage: str) -> None:
    resources = load_resources(ROOT, stage)
    assert resources.timeout_min >= 30
    if (ROOT / "slurm" / f"{stage}.yaml").exists():
        assert resources.estimate.source


def test_the_shipped_pretraining_is_the_papers() -> None:
    resources = load_resources(ROOT, "pretrain")
    assert (resources.num_gpus, resources.num_tasks, resources.timeout_min) == (8, 8, 2880)


def test_a_stage_without_a_file_has_defaults(tmp_path: Path) -> None:
    assert load_resources(tmp_path, "curate") == Resources()
    assert Resources().num_tasks == 1
    assert Resources(gpus_per_node=2, nodes=3).num_gpus == 6
    assert Resources(gpus_per_node=2, tasks_per_node=5).num_tasks == 5


def test_overrides_stand_above_the_file(tmp_path: Path) -> None:
    project = write(tmp_path, "nodes: 1\ngpus_per_node: 8\nextra: {exclude: n7}\n")
    overrides = [
        "slurm.pretrain.nodes=2",
        "slurm.finetune.nodes=9",
        "slurm.pretrain.extra.nice=5",
        "slurm.pretrain.setup=[module load cuda]",
        "slurm.pretrain.environment.NCCL_DEBUG=INFO",
    ]
    resources = load_resources(project, "pretrain", overrides)
    assert (resources.nodes, resources.gpus_per_node) == (2, 8)
    assert resources.extra == {"exclude": "n7", "nice": 5}
    assert resources.setup == ["module load cuda"]
    assert resources.environment == {"NCCL_DEBUG": "INFO"}


def test_another_folder_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "nodes: 4\n")
    monkeypatch.setenv("VILLS_SLURM", str(tmp_path / "slurm"))
    assert load_resources(ROOT, "pretrain").nodes == 4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("nods: 2", ["pretrain.yaml", "nods", "Did you mean nodes?"]),
        ("nodes: two", ["pretrain.yaml", "two"]),
        ("nodes: 0", ["slurm.pretrain.nodes = 0", "1 to 100000"]),
        ("mem_gb: -1", ["slurm.pretrain.mem_gb = -1"]),
        ("timeout_min: 1\nsignal_seconds: 60", ["signal_seconds = 60", "59"]),
        ("nodes: [", ["pretrain.yaml"]),
        ("[1, 2]", ["pretrain.yaml"]),
        ("estimate: {minute: 3}", ["minute"]),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_resources(write(tmp_path, text), "pretrain")
    for part in (*parts, "What to do"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "override", ["slurm.pretrian.nodes=2", "slurm.nodes=2", "slurm.pretrain.nodes", "slurm.=2"]
)
def test_overrides_that_nobody_reads_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=r"is not allowed. Allowed: slurm.STAGE.*What to do"):
        check_overrides(["slurm.pretrain.nodes=2", override])


def test_an_override_of_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nods"):
        load_resources(tmp_path, "pretrain", ["slurm.pretrain.nods=2"])
