import sys
import time
from pathlib import Path

import pytest

from vills.runner.store import code_digest
from vills.runner.store.code_digest import (
    CodeClosureError,
    compute_code_state,
    compute_import_closure,
)

FILES = {
    "__init__.py": '"""Top."""\n',
    "areas.py": "HEAD = 1\n",
    "runs/__init__.py": "",
    "runs/run.py": "import vills.models.unused\n",
    "losses/__init__.py": "",
    "losses/koleo.py": "from ..areas import HEAD\n\ndef loss(x):\n    return x + HEAD\n",
    "losses/typed.py": "X = 1\n",
    "losses/other.py": "Y = 1\n",
    "models/__init__.py": "from vills.models.tools import helper\n",
    "models/tools.py": "def helper(): ...\n",
    "models/encoder.py": "WIDTH = 3\n",
    "models/unused.py": "Z = 1\n",
    "models/late.py": "LATE = 1\n",
    "pipeline/__init__.py": "",
    "pipeline/pretrain.py": (
        "import os\n"
        "from typing import TYPE_CHECKING\n"
        "from vills.losses import koleo\n"
        "from vills.models.encoder import WIDTH\n"
        "from vills.runner.store.run import anything\n"
        "if TYPE_CHECKING:\n"
        "    from vills.losses.typed import X\n"
        "else:\n"
        "    import vills.losses.other\n"
        "def late():\n"
        "    from vills.models import late\n"
        "    return late\n"
    ),
}
MODULE = "vills.pipeline.pretrain"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "vills" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "vills"


def compute_digest(root: Path) -> str:
    return compute_code_state(MODULE, root=root).digest


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_the_closure_follows_every_way_to_import(root: Path) -> None:
    assert tuple(compute_import_closure(MODULE, root=root)) == (
        "vills",
        "vills.areas",
        "vills.losses",
        "vills.losses.koleo",
        "vills.losses.other",
        "vills.models",
        "vills.models.encoder",
        "vills.models.late",
        "vills.models.tools",
        "vills.pipeline",
        "vills.pipeline.pretrain",
    )
    files = compute_code_state(MODULE, root=root).files
    assert "vills/models/__init__.py" in files
    assert "vills/models/late.py" in files


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/koleo.py", "x + HEAD", "x - HEAD"),
        ("losses/koleo.py", "def loss(x)", "def loss(x, y=1)"),
        ("areas.py", "1", "'1'"),
        ("models/late.py", "1", "1.0"),
        ("models/__init__.py", "import helper", "import helper as h"),
        ("pipeline/pretrain.py", "import os", "import sys"),
    ],
)
def test_a_change_of_code_counts(root: Path, file: str, old: str, new: str) -> None:
    before = compute_digest(root)
    change(root / file, old, new)
    assert compute_digest(root) != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("losses/koleo.py", "    return", "    # why\n\n    return"),
        ("losses/koleo.py", "    return", '    """Doc."""\n    return'),
        ("areas.py", "HEAD = 1\n", '"""Top."""\n\nHEAD = (1)\n"""The head."""\n'),
        ("models/unused.py", "1", "2"),
        ("losses/typed.py", "1", "2"),
        ("runs/run.py", "unused", "elsewhere"),
    ],
)
def test_what_cannot_run_does_not_count(root: Path, file: str, old: str, new: str) -> None:
    before = compute_digest(root)
    change(root / file, old, new)
    assert compute_digest(root) == before


def test_bytecode_does_not_count(root: Path) -> None:
    before = compute_digest(root)
    (root / "losses" / "__pycache__").mkdir()
    (root / "losses" / "__pycache__" / "koleo.cpython-311.pyc").write_bytes(b"x")
    assert compute_digest(root) == before


def test_a_page_beside_a_module_counts(root: Path) -> None:
    (root / "models" / "encoder.py").write_text("PAGE = 'page.html'\nHEIGHT = 'a/b.yaml'\n")
    (root / "models" / "a").mkdir()
    (root / "models" / "unnamed.html").write_text("")
    seen = set()
    for name in ("page.html", "a/b.yaml"):
        seen.add(compute_digest(root))
        for text in ("<p>", "<!-- a comment in a page is part of the page -->"):
            (root / "models" / name).write_text(text)
            seen.add(compute_digest(root))
    assert len(seen) == 5
    files = compute_code_state(MODULE, root=root).files
    assert "vills/models/page.html" in files
    assert "vills/models/unnamed.html" not in files


def test_a_computed_import_is_refused_a_written_one_is_followed(root: Path) -> None:
    (root / "models" / "encoder.py").write_text(
        "import importlib\nimportlib.import_module('vills.models.unused')\n"
    )
    assert "vills.models.unused" in compute_import_closure(MODULE, root=root)
    (root / "models" / "encoder.py").write_text(
        "import importlib\n\ndef f(name):\n    return importlib.import_module(f'vills.{name}')\n"
    )
    with pytest.raises(CodeClosureError, match=r"encoder.py:4 imports a module by a computed name"):
        compute_import_closure(MODULE, root=root)


def test_an_unknown_module_is_refused(root: Path) -> None:
    with pytest.raises(CodeClosureError, match="vills.nothing is not a module"):
        compute_import_closure("vills.nothing", root=root)


def test_this_package_is_read_without_importing_it() -> None:
    begun = time.process_time()
    closure = compute_import_closure("vills.config.params")
    assert {"vills", "vills.config", "vills.config.checks", "vills.areas"} <= set(closure)
    assert time.process_time() - begun < 2
    assert "vills.models.encoder" not in sys.modules or "torch" in sys.modules
    assert code_digest.DEFAULT_ROOT.name == "vills"
