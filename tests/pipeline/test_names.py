"""Names of a stranger's params.yaml in real commands: none becomes a path or a word of a shell."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.project import Project, build_project

pytestmark = pytest.mark.slow

UP = "../" * 12
"""From anywhere to the root."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return build_project(tmp_path_factory.mktemp("names") / "project")


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder of the user's, outside of the project, with rights of its own."""
    folder = tmp_path / "victim"
    folder.mkdir()
    (folder / "thesis.txt").write_text("ten years")
    (folder / "thesis.txt").chmod(0o400)
    return folder


def set_inputs(project: Project) -> None:
    """Put something where a single stage has its inputs: DVC stops before it without them."""
    for name in ("check.txt", "curated/x", "pretrain/x"):
        path = project.folder / "artifacts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def set_entry(project: Project, stage: str, name: str, entry: dict[str, Any]) -> None:
    path = project.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params[stage] = {name: entry}
    if stage == "finetune":
        params["evaluate"] = {}
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def has_nothing_happened(project: Project, victim: Path) -> bool:
    kept = victim / "thesis.txt"
    same = kept.read_text() == "ten years" and kept.stat().st_mode & 0o777 == 0o400
    return same and not any(project.folder.rglob("PWNED")) and not Path("/PWNED").exists()


BAD = (
    "x; touch PWNED; #",
    "x\ntouch PWNED",
    "$(touch PWNED)",
    "`touch PWNED`",
    "a'b\"; touch PWNED",
)


CALLS: list[tuple[tuple[str, ...], str]] = [
    ((), name) for name in (*BAD, "{up}{victim}", "-x", "x" * 300)
]
CALLS += [(("--single-item",), name) for name in BAD[:2]]


@pytest.mark.parametrize(("options", "name"), CALLS)
def test_a_bad_name_is_refused_by_dvc_repro(
    project: Project, victim: Path, name: str, options: tuple[str, ...]
) -> None:
    name = name.replace("{up}", UP).replace("{victim}", str(victim))
    set_entry(project, "finetune", name, {"source": "market1501"})
    if options:
        set_inputs(project)
    done = project.run("dvc", "repro", *options, f"finetune@{name}", check=False)
    assert done.returncode != 0
    assert f"{'data set of finetune' if options else 'finetune key'} = " in done.stdout
    assert "What to do: " in done.stdout
    assert "Traceback" not in done.stdout
    assert has_nothing_happened(project, victim)


def test_dvc_leaves_a_folder_alone_even_where_check_is_passed_over(
    project: Project, victim: Path
) -> None:
    set_entry(project, "finetune", f"{UP}{victim}", {"source": "market1501"})
    name = f"finetune@{UP}{victim}"
    set_inputs(project)
    assert project.run("dvc", "repro", "--single-item", name, check=False).returncode != 0
    # its rights may be others: that is DVC's (unprotect)
    assert (victim / "thesis.txt").read_text() == "ten years"


def test_a_model_that_is_a_path_is_not_read(project: Project, tmp_path: Path, victim: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    set_entry(project, "evaluate", "ltcc", {"model": f"{UP}{tmp_path}/fifo"})
    done = project.run("timeout", "60", "dvc", "repro", "evaluate@ltcc", check=False)
    assert done.returncode not in (0, 124), done.stdout
    assert "evaluate.ltcc.model = " in done.stdout
    assert has_nothing_happened(project, victim)
