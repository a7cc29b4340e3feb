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
from pathlib import Path

import vills

PACKAGE = "vills"
BOOKKEEPING = ("vills.runner", "vills.io", "vills.cli")
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


def compute_code_digest(module: str, *, root: Path = DEFAULT_ROOT) -> str:
    """Compute the digest of `module` and of everything in the package that it imports."""
    return compute_code_state(module, root=root).digest


def compute_code_state(module: str, *, root: Path = DEFAULT_ROOT) -> CodeState:
    """Compute the digest of each file in the closure of `module`, and of all together."""
    files = {
        path.relative_to(root.parent).as_posix(): _compute_file_digest(path)
        for path in compute_import_files(module, root=root)
    }
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return CodeState(hashlib.sha256(lines.encode()).hexdigest(), files)


def compute_import_files(module: str, *, root: Path = DEFAULT_ROOT) -> tuple[Path, ...]:
    """List the files of `compute_import_closure`, which dvc.yaml's deps must cover."""
    files: set[Path] = set()
    for name in compute_import_closure(module, root=root):
        path = _find(name, root)
        assert path is not None
        files.add(path)
        beside = (path.parent / text for text in _read(path, path.stat().st_mtime_ns).names)
        files |= {file for file in beside if file.is_file() and file.suffix != ".py"}
    return tuple(sorted(files))


def compute_import_closure(module: str, *, root: Path = DEFAULT_ROOT) -> tuple[str, ...]:
    """List the package's modules that `module` imports, directly or not, itself included.

    Raises:
        CodeClosureError: when `module` is no module of the package, or when a module in the
            closure imports by a computed name.
    """
    if _find(module, root) is None:
        raise CodeClosureError(f"{module} is no module under {root}. What to do: check its name.")
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name in found or _is_bookkeeping(name):
            continue
        found.add(name)
        todo += [".".join(name.split(".")[:i]) for i in range(1, name.count(".") + 1)]
        path = _find(name, root)
        assert path is not None
        for target in _read(path, path.stat().st_mtime_ns).imports:
            resolved = _resolve(target, of=name, path=path)
            if resolved == PACKAGE or resolved.startswith(f"{PACKAGE}."):
                todo += _select_modules(resolved, root)
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class _Source:
    imports: tuple[str, ...]
    names: tuple[str, ...]
    dump: str


def _compute_file_digest(path: Path) -> str:
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(_read(path, path.stat().st_mtime_ns).dump.encode()).hexdigest()


@cache
def _read(path: Path, mtime_ns: int) -> _Source:
    del mtime_ns  # part of the cache key: a file changed while the process runs is read again
    tree = ast.parse(path.read_bytes(), filename=str(path))
    names = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and FILE_NAME.fullmatch(node.value)
    }
    return _Source(tuple(_iterate_imports([tree], path)), tuple(sorted(names)), _dump(tree))


def _find(module: str, root: Path) -> Path | None:
    parts = module.split(".")
    if parts[0] != PACKAGE:
        return None
    base = root.joinpath(*parts[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file() and (len(parts) > 1 or path.name == "__init__.py"):
            return path
    return None


def _is_bookkeeping(module: str) -> bool:
    return any(module == floor or module.startswith(f"{floor}.") for floor in BOOKKEEPING)


def _select_modules(name: str, root: Path) -> list[str]:
    """`a.b.c` is the module a.b.c, or the object c of the module a.b."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        module = ".".join(parts[:end])
        if _find(module, root) is not None:
            return [module]
    return []


def _resolve(target: str, *, of: str, path: Path) -> str:
    """Make a relative import (`..x`) absolute."""
    level = len(target) - len(target.lstrip("."))
    if level == 0:
        return target
    package = of.split(".") if path.name == "__init__.py" else of.split(".")[:-1]
    base = package[: len(package) - level + 1]
    return ".".join([*base, target[level:]] if target[level:] else base)


def _iterate_imports(nodes: Iterable[ast.AST], path: Path) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            joint = "" if base.endswith(".") or not base else "."
            yield from (f"{base}{joint}{alias.name}".removesuffix(".*") for alias in node.names)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            yield from _iterate_imports(node.orelse, path)
        else:
            if isinstance(node, ast.Call):
                yield from _read_dynamic_import(node, path)
            yield from _iterate_imports(ast.iter_child_nodes(node), path)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _read_dynamic_import(node: ast.Call, path: Path) -> Iterator[str]:
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if called not in ("import_module", "__import__"):
        return
    argument = node.args[0] if node.args else None
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        raise CodeClosureError(
            f"{path}:{node.lineno} imports a module by a computed name, so a change in it would "
            "not be noticed. What to do: write the import statements out."
        )
    yield argument.value


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
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
