"""What prose alone does not hold: sizes of files and functions, floors, stages."""

import ast
import subprocess
import sys
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


def test_floors_and_heavy_packages() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_one_file_per_stage() -> None:
    files = {p.stem for p in (ROOT / "vills" / "pipeline").glob("*.py")} - {"__init__"}
    stages = set(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    assert files == stages == set(STAGES)


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
