"""What a job starts from does not change any more."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.launching import Bench, build_context, build_params
from vills.config.load import load_params
from vills.git import describe_git, load_git_diff
from vills.programs import Answer
from vills.runner.plan.context import Submitter
from vills.runner.plan.registry import save_code, save_point
from vills.runner.work.stage import load_stage


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git checkout with a small package."""
    root = tmp_path / "checkout"
    (root / "vills" / "losses").mkdir(parents=True)
    (root / "vills" / "__init__.py").write_text("")
    (root / "vills" / "losses" / "koleo.py").write_text("WEIGHT = 1\n")
    (root / "vills" / "page.html").write_text("<p>")
    (root / ".gitignore").write_text("__pycache__\n*.pyc\n")
    for command in (["init"], ["add", "."], ["commit", "-m", "first"]):
        git(root, *command)
    (root / "vills" / "__pycache__").mkdir()
    (root / "vills" / "__pycache__" / "x.cpython-311.pyc").write_bytes(b"x")
    return root


def git(root: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    command = ["git", *identity, *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def save(checkout: Path) -> Path:
    runs = checkout.parent / "runs"
    return runs / save_code(runs, checkout, package=checkout / "vills")


def test_an_edit_of_the_checkout_does_not_change_it(checkout: Path) -> None:
    first = save(checkout)
    path = checkout / "vills" / "losses" / "koleo.py"
    path.write_text("WEIGHT = 2\n")
    assert (first / "vills" / "losses" / "koleo.py").read_text() == "WEIGHT = 1\n"
    second = save(checkout)
    assert second != first
    assert (second / "vills" / "losses" / "koleo.py").read_text() == "WEIGHT = 2\n"


def test_the_same_content_is_one_folder_without_caches(checkout: Path) -> None:
    first = save(checkout)
    (checkout / "vills" / "__pycache__" / "y.pyc").write_bytes(b"y")
    assert save(checkout) == first
    assert len(list(first.parent.iterdir())) == 1
    names = sorted(p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file())
    assert names == [
        "git.json",
        "vills/__init__.py",
        "vills/losses/koleo.py",
        "vills/page.html",
    ]


def test_many_at_once_make_one(checkout: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = set(pool.map(lambda _: save(checkout), range(12)))
    (folder,) = found
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert (folder / "vills" / "losses" / "koleo.py").exists()


def test_half_a_copy_is_none(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vills.runner.plan.registry.save_own_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(checkout)
    assert list((checkout.parent / "runs" / "_code").iterdir()) == []


def test_commit_and_difference_go_with_it(checkout: Path) -> None:
    clean = save(checkout)
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert describe_git(clean) == {
        **{"commit": commit, "dirty": False},
        **{"diff_digest": None, "problem": ""},
    }
    assert load_git_diff(clean) == ""
    (checkout / "vills" / "losses" / "koleo.py").write_text("WEIGHT = 2\n")
    dirty = save(checkout)
    assert describe_git(dirty) == describe_git(checkout)
    assert describe_git(dirty)["dirty"] is True
    assert "+WEIGHT = 2" in load_git_diff(dirty) == load_git_diff(checkout)
    git(checkout, "commit", "--all", "-m", "second")
    assert load_git_diff(dirty), "the snapshot keeps what was so when it was taken"
    assert save(checkout) != dirty


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "bare" / "vills").mkdir(parents=True)
    (tmp_path / "bare" / "vills" / "__init__.py").write_text("")
    assert describe_git(save(tmp_path / "bare"))["commit"] is None


def test_parameters_of_a_point_load_again(tmp_path: Path) -> None:
    params = build_params("tiny", ["pretrain.koleo_weight=2.0"])
    folder = tmp_path / save_point(tmp_path, params, origin="sweep point a")
    assert load_params(folder) == params
    assert (
        save_point(tmp_path, params, origin="sweep point a")
        == folder.relative_to(tmp_path).as_posix()
    )
    params.pretrain.seed = 7
    assert tmp_path / save_point(tmp_path, params, origin="sweep point a") != folder


def test_what_dvc_brought_is_taken_unless_it_was_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, plan = build_context(bench), bench.plan()
    recorded = ", ".join(f"{name}: {{}}" for name in plan if name != "lse")
    (bench.project / "dvc.lock").write_text(f"stages: {{{recorded}}}")
    for stage in ("miniature", "curate", "lse"):
        for path in load_stage(stage).outs("").values():
            (bench.project / path).mkdir(parents=True)
    asked: list[list[str]] = []

    def answer(command: list[str], **_: object) -> Answer:
        asked.append(command[3:])
        return Answer(text='Some words\n{"curate": [{"changed outs": {}}]}\n')

    monkeypatch.setattr("vills.runner.plan.registry.run_command", answer)
    for _ in range(2):
        states = context.compute_states([plan])
        found = [states[plan[name].key].state for name in ("miniature", "curate", "lse")]
        assert found == ["done", "to do", "waits"]
    assert asked == [["status", "--json", "curate", "miniature"]]
    request = (plan, lambda: build_params("tiny"), "a test")
    submitter = Submitter(context, "slurm", say=bench.said.append)
    submitter.submit([request], states, retry=False)
    spec = json.loads((bench.runs / "_nodes" / plan["curate"].key / "spec.json").read_text())
    outs = load_stage("miniature").outs("")
    for name, entry in plan["curate"].step.inputs.items():
        assert spec["inputs"][name] == {"path": str(bench.project.resolve() / outs[entry.part])}
