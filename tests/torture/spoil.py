"""Ways to make a file bad, whatever reads it; and tables and weights whose content is wrong."""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

from tests.damage import cut


def put(path: Path, data: bytes) -> None:
    """Give a path other content, and not the hard links of the file that was there."""
    path.unlink()
    path.write_bytes(data)


def make_socket(path: Path) -> None:
    """Leave a socket; bound by a short name, since a socket's path has at most 107 bytes."""
    path.unlink()
    here = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name[-100:])
    os.chdir(here)


def make_huge(path: Path) -> None:
    """Leave a file that says a terabyte and holds nothing."""
    put(path, b"")
    os.truncate(path, 10**12)


def overwrite(path: Path) -> None:
    """Overwrite some bytes in the middle, as a bad sector does."""
    data = bytearray(path.read_bytes())
    at, length = len(data) // 2, min(2_000, len(data) // 4 + 1)
    data[at : at + length] = np.random.default_rng(len(data)).bytes(length)
    put(path, bytes(data))


def forbid(path: Path) -> None:
    """Leave a file that nobody may read."""
    put(path, path.read_bytes())
    path.chmod(0)


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


BREAK: Mapping[str, Callable[[Path], object]] = {
    "cut": cut,
    "overwritten": overwrite,
    "no rights": forbid,
    "empty": lambda path: put(path, b""),
    "garbage": lambda path: put(path, np.random.default_rng(1).bytes(path.stat().st_size + 1)),
    "zeros": lambda path: put(path, bytes(path.stat().st_size)),
    "folder": lambda path: replace_by(path, Path.mkdir),
    "fifo": lambda path: replace_by(path, os.mkfifo),
    "socket": make_socket,
    "zero": lambda path: replace_by(path, lambda p: p.symlink_to("/dev/zero")),
    "loop": lambda path: replace_by(path, lambda p: p.symlink_to(p.name)),
    "lost link": lambda path: replace_by(path, lambda p: p.symlink_to("nowhere")),
    "huge": make_huge,
    "text": lambda path: put(path, b"<html>Sign in to download</html>\n"),
}
"""What may be where a file of any kind should be."""


def spoil_table(path: Path, draw: np.random.Generator) -> None:
    """Leave a parquet whose columns are not what they should be."""
    table = pq.read_table(path)
    path.unlink()
    name = str(draw.choice(table.column_names))
    at, rows = table.column_names.index(name), table.num_rows
    how = int(draw.integers(3))
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        table = table.set_column(at, name, pa.array([{"odd": 1}] * rows))
    else:
        table = table.set_column(at, name, pa.nulls(rows, table.schema.field(name).type))
    pq.write_table(table, path)


def spoil_tensors(path: Path, draw: np.random.Generator) -> None:
    """Leave weights with NaN, inf, another shape, another name, or one tensor less."""
    tensors = load_file(path)
    names = [name for name, value in tensors.items() if value.ndim and value.dtype == np.float32]
    name = str(draw.choice(names))
    value = tensors.pop(name)
    path.unlink()
    how = int(draw.integers(5))
    if how < 2:
        value.flat[int(draw.integers(value.size))] = (np.nan, np.inf)[how]
        tensors[name] = value
    elif how == 2:
        tensors[name] = np.concatenate([value, value])
    elif how == 3:
        tensors[f"{name}_other"] = value
    save_file(tensors, path)
