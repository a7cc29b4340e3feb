"""The code's digest: what a stage can execute, without comments, docstrings and layout.

The import closure is read from the syntax tree, never by importing, so that a digest costs no
torch. Imports inside functions count; imports under `if TYPE_CHECKING` do not run and do not
count. Book-keeping floors are left out: they carry results and cannot change them, and a repaired
tracker must not throw away a pre-training. A file beside a module that the module names in a
string (`page.html`) is part of it, byte by byte.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import vills
from vills.digests import compute_joint_digest
from vills.io import compute_sha256

PACKAGE = "vills."
_FILES = ["io", "inputs", "refusals", "digests", "parts", "curves", "chain"]
_BESIDE = [*_FILES, "interrupt", "progress", "endings", "git"]
BOOKKEEPING = tuple(f"vills.{n}." for n in ("runner", "cli", "mounts", "programs", *_BESIDE))
IMPORTERS = ("import_module", "__import__")
FILE_NAME = re.compile(r"\w[\w/-]*\.\w{1,8}", re.ASCII)
"""A file name with an ending, perhaps in a folder below."""
DEFAULT_ROOT = Path(vills.__file__).resolve().parent


class CodeClosureError(RuntimeError):
    """An import cannot be followed by reading the code."""


@dataclass(frozen=True, slots=True)
class CodeState:
    """The code of a stage at one moment."""

    digest: str
    """Over all files below."""
    files: dict[str, str]
    """Digest by path relative to the package's parent, e.g. `vills/areas.py`."""


def compute_code_state(module: str, *, root: Path = DEFAULT_ROOT) -> CodeState:
    """Compute the digest of each file in the closure of `module`, and of all together."""
    files: dict[Path, str] = {}
    for path in compute_import_closure(module, root=root).values():
        source = _read(path, path.stat().st_mtime_ns)
        files[path] = source.digest
        for beside in (path.parent / name for name in source.names):
            if beside.is_file() and beside.suffix != ".py":
                files[beside] = compute_sha256(beside)
    named = {path.relative_to(root.parent).as_posix(): files[path] for path in sorted(files)}
    return CodeState(compute_joint_digest(named), named)


def compute_import_closure(module: str, *, root: Path = DEFAULT_ROOT) -> dict[str, Path]:
    """Return the package's modules that `module` imports, directly or not, itself included.

    Raises:
        CodeClosureError: when `module` is no module of the package, or when a module in the
            closure imports by a computed name.
    """
    if not f"{module}.".startswith(PACKAGE) or _find(module, root) is None:
        raise CodeClosureError(f"{module} is not a module of {root}. What to do: check its name.")
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        if not name or name in found or f"{name}.".startswith(BOOKKEEPING):
            continue
        parent = name.rpartition(".")[0]
        todo.append(parent)
        path = _find(name, root)
        if path is None:
            continue  # an object of its parent
        found[name] = path
        package = name if path.name == "__init__.py" else parent
        targets = _read(path, path.stat().st_mtime_ns).imports
        resolved = (resolve_name(target, package) for target in targets)
        todo += [target for target in resolved if f"{target}.".startswith(PACKAGE)]
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class _Source:
    imports: tuple[str, ...]
    names: frozenset[str]
    """What may be the name of a file beside it."""
    digest: str


@cache
def _read(path: Path, mtime_ns: int) -> _Source:
    del mtime_ns  # part of the cache key: a file changed while the process runs is read again
    tree = ast.parse(path.read_bytes(), filename=str(path))
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return _Source(
        tuple(_iterate_imports([tree], path)),
        frozenset(v for v in constants if isinstance(v, str) and FILE_NAME.fullmatch(v)),
        hashlib.sha256(_dump(tree).encode()).hexdigest(),
    )


def _find(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split(".")[1:])
    paths = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in paths if path.is_file()), None)


def _iterate_imports(nodes: Iterable[ast.AST], path: Path) -> Iterator[str]:
    for node in nodes:
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom():
                base = "." * node.level + (node.module or "")
                joint = "" if base.endswith(".") or not base else "."
                names = (f"{base}{joint}{alias.name}" for alias in node.names)
                yield from (name.removesuffix(".*") for name in names)
            case ast.If(ast.Name("TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                yield from _iterate_imports(node.orelse, path)
            case ast.Call(ast.Name(name) | ast.Attribute(attr=name)) if name in IMPORTERS:
                yield _read_dynamic_import(node, path)
                yield from _iterate_imports(ast.iter_child_nodes(node), path)
            case _:
                yield from _iterate_imports(ast.iter_child_nodes(node), path)


def _read_dynamic_import(node: ast.Call, path: Path) -> str:
    match node.args:
        case [ast.Constant(str(name)), *_]:
            return name
    raise CodeClosureError(
        f"{path}:{node.lineno} imports a module by a computed name, so a change in it would "
        "not be noticed. What to do: write an import statement."
    )


def _dump(node: object) -> str:
    """Write a syntax tree without positions, docstrings, empty fields.

    `ast.dump` differs between Python versions in what it leaves out; this does not.
    """
    if isinstance(node, list):
        return f"[{','.join(_dump(entry) for entry in node if not _is_docstring(entry))}]"
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_dump(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("kind", "type_comment")
        )
        return f"{type(node).__name__}({','.join(fields)})"
    return repr(node)


def _is_docstring(node: object) -> bool:
    """Any bare string is a docstring, also one under a field."""
    match node:
        case ast.Expr(ast.Constant(str())):
            return True
    return False
