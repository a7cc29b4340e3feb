"""What prose alone does not hold: sizes of files and functions, floors, stages."""

import ast
import re
import subprocess
import sys
from collections.abc import Container, Mapping
from pathlib import Path

import pytest
import yaml

from vills.pipeline import STAGES

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "vills").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 300, "a file over 300 lines: split it by its nouns"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines, over 60"


def test_the_runner_stays_small_beside_the_method() -> None:
    def count(*rooms: str) -> int:
        files = [p for room in rooms for p in (ROOT / "vills" / room).rglob("*.py")]
        return sum(len(path.read_text().splitlines()) for path in files)

    limit = 1.4 * count("models", "losses", "train")
    assert count("runner") <= limit, "the runner outgrows the method: make it smaller first"


def test_floors_and_heavy_packages() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_one_file_per_stage() -> None:
    files = {p.stem for p in (ROOT / "vills" / "pipeline").glob("*.py")} - {"__init__"}
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert files == stages - {"check"} == set(STAGES)


@pytest.mark.slow
def test_torch_distributed_is_met_in_one_file() -> None:
    guilty = [
        str(p.relative_to(ROOT))
        for p in SOURCES
        if p.name != "distributed.py"
        for node in ast.walk(ast.parse(p.read_text()))
        if (isinstance(node, ast.Import) and any("torch.distributed" in a.name for a in node.names))
        or (
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.distributed")
        )
    ]
    assert guilty == []


def test_public_functions_begin_with_a_verb_of_the_list() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Verbs")[2].partition("## ")[0]
    verbs = {*re.findall(r"`([a-z]+)`", table.partition("A question")[0]), "is", "has"}
    assert 20 < len(verbs) < 35
    field = {"main", "normalise", "resize", "update_ema"}
    for path in SOURCES:
        if path.name == "distributed.py":
            continue
        names = [n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)]
        public = {name for name in names if not name.startswith("_")} - field
        strange = {name for name in public if name.partition("_")[0] not in verbs}
        assert not strange, f"{path}: {strange}; CONTRIBUTING.md lists the verbs"


def test_no_circle_of_imports() -> None:
    """Imports inside functions count, and so does a module that is named for `python -m`."""
    modules = {_name_module(path): path for path in SOURCES}
    graph = {name: _list_imports(path, modules) - {name} for name, path in modules.items()}
    assert _list_circles(graph) == []


def _name_module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _list_imports(path: Path, modules: Container[str]) -> set[str]:
    found = set()
    # there book-keeping rooms are named, and not called
    started = path.name != "code_digest.py"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules else node.module for name in inner}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and started:
            found.add(node.value)
    return {name for name in found if name in modules and name != "vills"}


def _list_circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Take away what imports nothing of what is left, then what nothing imports, while it goes."""
    left = dict(graph)
    while leaves := {name for name, imports in left.items() if not imports & left.keys()}:
        left = {name: imports for name, imports in left.items() if name not in leaves}
    while tops := left.keys() - {name for imports in left.values() for name in imports}:
        left = {name: imports for name, imports in left.items() if name not in tops}
    return sorted(left)
