"""`dvc repro` as a user gives it: run again after a change, pulled. Killed: tests/torture."""

import csv
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import Project, build_project

pytestmark = pytest.mark.slow

AFTER_PRETRAIN = [
    "pretrain",
    "finetune@market1501",
    "finetune@mars",
    "evaluate@market1501",
    "evaluate@mars",
    "report",
]
STAGES = ["miniature", "curate", "lse", *AFTER_PRETRAIN]
PATIENCE = 120.0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose DAG has run once."""
    folder = tmp_path_factory.mktemp("dag")
    project = build_project(folder / "project")
    result = project.run("dvc", "repro")
    assert sorted(project.list_ran(result.stdout)) == sorted(STAGES)
    project.run("git", "add", "dvc.lock")
    yield project
    shutil.rmtree(folder, ignore_errors=True)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_two_runs_of_one_stage_at_once_give_one_run(tmp_path: Path) -> None:
    project = build_project(tmp_path / "project", overrides=["miniature.num_scenes=1"])
    first = project.start("vills", "run", "miniature")
    second = project.run("vills", "run", "miniature")
    assert first.wait(PATIENCE) == 0
    attempts = list((project.folder / "runs" / "miniature").glob("*/attempts/*[0-9].json"))
    assert len(attempts) == 1
    assert second.returncode == 0


def test_the_checkout_stays_clean_but_for_the_lock(finished: Project) -> None:
    assert finished.run("git", "status", "--porcelain").stdout.split() == ["A", "dvc.lock"]
    assert (finished.folder / "report" / "index.html").stat().st_size > 100_000
    table = finished.run("vills", "scores").stdout
    for model in ("histogram", "untrained", "pretrained", "scratch", "finetuned"):
        assert model in table


def test_a_second_repro_does_nothing_in_seconds(finished: Project) -> None:
    start = time.monotonic()
    result = finished.run("dvc", "repro")
    assert finished.list_ran(result.stdout) == []
    assert time.monotonic() - start < 10


def test_metrics_and_plots_are_shown(finished: Project) -> None:
    shown = finished.run("dvc", "metrics", "show", "--md").stdout
    assert "scores.market1501.market1501.finetuned.mAP" in shown
    assert "iou.luperson.head" in shown
    finished.run("dvc", "plots", "show", "--out", "plots")
    page = (finished.folder / "plots" / "index.html").read_text()
    with (finished.folder / "artifacts" / "plots" / "pretrain.csv").open() as file:
        columns = [name for name in next(csv.reader(file)) if name.startswith(("loss/", "grad"))]
    assert len(columns) == 10
    assert all(f'"title": "{column}"' in page for column in columns)
    shutil.rmtree(finished.folder / "plots")


def test_comments_caches_and_cluster_files_recompute_nothing(finished: Project) -> None:
    before = finished.load_lock()
    code = finished.folder / "vills" / "losses"
    edit(code / "koleo.py", '"""', '# A remark.\n"""')
    (code / "__pycache__").mkdir(exist_ok=True)
    (code / "__pycache__" / "koleo.cpython-311.pyc").write_bytes(b"x")
    (finished.folder / "slurm" / "pretrain.yaml").write_text("nodes: 2\n")
    result = finished.run("dvc", "repro")
    ran = finished.list_ran(result.stdout)
    assert set(ran) <= {"pretrain", "finetune@market1501", "finetune@mars"}
    assert result.stdout.count("is complete; collected") == len(ran)
    after = finished.load_lock()
    assert {k: v["outs"] for k, v in after.items()} == {k: v["outs"] for k, v in before.items()}


def test_one_data_set_s_fine_tuning_reruns_only_that_one(finished: Project) -> None:
    video = "modality: video, num_frames:"
    edit(finished.folder / "params.yaml", f"{video} 3", f"{video} 2")
    ran = finished.list_ran(finished.run("dvc", "repro").stdout)
    assert ran == ["finetune@mars", "evaluate@mars", "report"]


def test_a_default_that_all_entries_set_calls_them_and_recomputes_nothing(
    finished: Project,
) -> None:
    before = finished.load_lock()
    edit(finished.folder / "params.yaml", "  epochs: 120 ", "  epochs: 119 ")
    result = finished.run("dvc", "repro")
    ran = finished.list_ran(result.stdout)
    assert {"finetune@market1501", "finetune@mars"} <= set(ran) <= set(AFTER_PRETRAIN)
    assert result.stdout.count("is complete; collected") == len(ran)
    after = finished.load_lock()
    assert {k: v["outs"] for k, v in after.items()} == {k: v["outs"] for k, v in before.items()}


def test_a_loss_weight_reruns_pretrain_and_what_follows(finished: Project) -> None:
    edit(finished.folder / "params.yaml", "koleo_weight: 3.0", "koleo_weight: 2.0")
    ran = finished.list_ran(finished.run("dvc", "repro").stdout)
    assert sorted(ran) == sorted(AFTER_PRETRAIN)
    edit(finished.folder / "params.yaml", "koleo_weight: 2.0", "koleo_weight: 3.0")
    result = finished.run("dvc", "repro")
    assert "attempt" not in result.stdout, "going back finds the finished runs"


def test_a_changed_loss_makes_pretrain_stale(finished: Project) -> None:
    path = finished.folder / "vills" / "losses" / "koleo.py"
    text = path.read_text()
    before = finished.run("vills", "status").stdout
    path.write_text(text + "\nMUTATED = 1\n")
    assert "pretrain:" in finished.run("dvc", "status").stdout
    after = finished.run("vills", "status").stdout
    changed = [
        old.split()[0]
        for old, new in zip(before.splitlines(), after.splitlines(), strict=True)
        if old.split()[1] != new.split()[1]
    ]
    assert "pretrain" in changed
    assert not {"miniature", "curate", "lse"} & set(changed)
    path.write_text(text)


def test_push_clone_pull_repro_does_nothing(finished: Project, tmp_path: Path) -> None:
    finished.run("dvc", "repro")
    finished.run("dvc", "remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    finished.run("dvc", "push", "--quiet")
    author = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    finished.run("git", *author, "commit", "--all", "--quiet", "-m", "lock")
    finished.run("git", "clone", "--quiet", ".", str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    result = clone.run("dvc", "repro")
    assert clone.list_ran(result.stdout) == []
    assert "finetuned" in clone.run("vills", "scores").stdout


def test_stages_that_are_switched_off_publish_what_says_so(tmp_path: Path) -> None:
    overrides = ["finetune.market1501.initialisations=[scratch]", "lse.enabled=false"]
    overrides += ["pretrain.enabled=false", "evaluate_defaults.baselines=[histogram]"]
    project = build_project(
        tmp_path / "project", overrides=[*overrides, "~finetune.mars", "~evaluate.mars"]
    )
    project.run("vills", "run", "miniature", "curate", "finetune@market1501")
    assert not (project.folder / "artifacts" / "pretrain").exists()
    status = project.run("vills", "status").stdout
    assert status.count("to do (switched off)") == 2
    project.run("vills", "run", "lse", "pretrain", "evaluate@market1501", "report")
    for name in ("lse", "pretrain"):
        folder = project.folder / "artifacts" / name
        assert [path.name for path in folder.iterdir()] == ["SWITCHED_OFF"]
    assert "Pre-training" not in (project.folder / "report" / "tables.md").read_text()
    command = ("vills", "export", "--weights", "artifacts/pretrain", "--out", "x.safetensors")
    result = project.run(*command, check=False)
    assert (result.returncode, "model.json does not exist" in result.stdout) == (2, True)
