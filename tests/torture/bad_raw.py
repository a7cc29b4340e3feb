"""Bad raw data: annotations, lists of images and pictures that hold something else."""

import io
import os
import pickle
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.io import loadmat, savemat

from tests.torture.bad_files import MODEL, RAW, SAID_OF_DATA, draw_file, list_files, use_raw
from tests.torture.inputs import Input
from tests.torture.spoil import put

EXTRACT = ("vills", "extract", "media/a.jpg", "--weights", MODEL)
DEEP = 100_000
"""Brackets in brackets."""


def leave(folder: Path) -> None:
    """Change nothing."""


def spoil_text(text: str, draw: np.random.Generator, *, is_xml: bool = False) -> tuple[str, bytes]:
    """Change a text as people and editors do; of XML, its form alone: not all of it is read."""
    lines = text.splitlines(keepends=True)
    at = int(draw.integers(len(lines)))
    numbers = list(re.finditer(r"\d+", text))
    number = numbers[int(draw.integers(len(numbers)))]
    before, after = text[: number.start()], text[number.end() :]
    changed: dict[str, str | bytes] = {
        "letters for a number": f"{before}x{after}",
        "minus": f"{before}-{number[0]}{after}",
        "huge number": f"{before}{10**30}{after}",
        "no number": before + after,
        "words between": "".join([*lines[:at], "hello <world\n", *lines[at:]]),
        "utf-16": text.encode("utf-16"),
        "latin-1": b"\xe9\xff" + text.encode(),
        "zero byte": f"{before}\0{after}",
        "long line": text + "9" * 200_000,
        "tags": before + "<" * 3 + after,
    }
    names = [name for name in changed if not (is_xml and name.partition(" ")[0] in NUMBERED)]
    how = str(draw.choice(names))
    data = changed[how]
    return f"{how} at {number.start()}", data.encode() if isinstance(data, str) else data


NUMBERED = ("letters", "minus", "huge", "no", "long")
"""First words of what changes numbers, or is text between elements."""


def spoil_matrix(data: bytes, draw: np.random.Generator) -> tuple[str, bytes]:
    """Change a .mat: its name, shape, type or a value."""
    (name, table) = next(i for i in loadmat(io.BytesIO(data)).items() if not i[0].startswith("_"))
    odd = table.astype(float)
    odd.flat[int(draw.integers(odd.size))] = float(draw.choice([np.nan, -7, 1e30, 0.5]))
    changed: dict[str, dict[str, Any]] = {
        "other name": {"x": table},
        "a column less": {name: table[:, :-1] if len(table) > 1 else table[:0]},
        "text": {name: "hello"},
        "odd value": {name: odd},
        "no rows": {name: table[:0]},
        "flat": {name: table.reshape(1, 1, -1)},
        "complex": {name: table + 1j},
    }
    how = str(draw.choice(list(changed)))
    buffer = io.BytesIO()
    savemat(buffer, changed[how])
    return how, buffer.getvalue()


def build_annotation(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """Lists, tables and documents that come with a data set."""
    suffix = str(draw.choice(["mat", "txt", "xml"]))
    folder = {"mat": "raw/mars/info", "txt": "raw/mars/info", "xml": "raw/sigset"}[suffix]
    path = draw_file(draw, [n for n in list_files(base, folder) if n.endswith(suffix)])
    whole = (base / path).read_bytes()
    how, data = (
        spoil_matrix(whole, draw)
        if suffix == "mat"
        else spoil_text(whole.decode(), draw, is_xml=suffix == "xml")
    )
    source = path.split("/")[1]
    command = ["vills", "data", "check", f"raw/{source}", "--full"]
    said = [Path(path).name, *SAID_OF_DATA, "differs", "What to do"]
    return Input(
        [command], said, lambda at: put(at / path, data), f"{path}: {how}",
        statuses=(1, 2), may_pass=True,
    )  # fmt: skip


class Malicious:
    """Loaded by pickle, it would run a command."""

    def __reduce__(self) -> Any:
        return os.system, ("touch RAN",)


def build_list(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A list of the images to be taken."""
    names = [n.removeprefix("raw/luperson/") for n in list_files(base, "raw/luperson/northland")]
    lists: dict[str, tuple[str, bytes]] = {
        "malicious": ("keep.pkl", pickle.dumps([names[0], Malicious()])),
        "cut": ("keep.pkl", pickle.dumps(names)[:-20]),
        "numbers": ("keep.pkl", pickle.dumps([1, 2])),
        "mapping": ("keep.pkl", pickle.dumps({"a": 1})),
        "deep": ("keep.pkl", b"\x80\x04" + b"]" * DEEP + b"a" * (DEEP - 1) + b"."),
        "huge": ("keep.pkl", b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x."),
        "outside": ("keep.txt", b"../market1501/query\n"),
        "absolute": ("keep.txt", b"/etc/passwd\n"),
        "nobody": ("keep.txt", b"nosuch.jpg\n"),
        "latin-1": ("keep.txt", b"\xe9.jpg\n"),
        "empty": ("keep.txt", b""),
        "zero byte": ("keep.txt", b"a\0b.jpg\n"),
        "object": ("keep.json", b'{"a": [1]}'),
        "nested": ("keep.json", b"[" * DEEP + b"]" * DEEP),
        "nulls": ("keep.json", b"[null, null]"),
    }
    how = str(draw.choice(list(lists)))
    name, data = lists[how]
    data = data if not valid else "".join(f"{n}\n" for n in names).encode()
    name = name if not valid else "keep.txt"

    def prepare(folder: Path) -> None:
        use_raw(folder, "luperson")
        value = yaml.safe_load((folder / "params.yaml").read_text())
        value["curate"]["sources"]["luperson"]["filter"] = name
        put(folder / "params.yaml", yaml.safe_dump(value, sort_keys=False).encode())
        (folder / "raw" / "luperson" / name).write_bytes(data)

    command = ["vills", "data", "register", "luperson"]
    return Input([command], [name], what=f"{name}: {how}", prepare=prepare, env=RAW)


def build_png(size: tuple[int, int], *, data: bytes = b"", depth: int = 8) -> bytes:
    """A PNG that says its size, with pixels that are missing or compressed to nothing."""
    head = struct.pack(">IIBBBBB", *size, depth, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


PICTURES: Mapping[str, Callable[[], bytes]] = {
    "bomb": lambda: build_png((30_000, 30_000), data=bytes(10**6)),
    "no pixels": lambda: build_png((0, 0)),
    "too few pixels": lambda: build_png((64, 128), data=bytes(100)),
    "odd depth": lambda: build_png((64, 128), data=bytes(10**5), depth=7),
    "vast": lambda: build_png((2**31 - 1, 2**31 - 1)),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "pdf": lambda: b"%PDF-1.7\n%%EOF\n",
    "gif without frames": lambda: b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "tiff loop": lambda: b"II*\x00\x08\x00\x00\x00\x00\x00\x08\x00\x00\x00",
    "lfs": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "only the start": lambda: b"\xff\xd8\xff\xe0\x00\x10JFIF\x00",
}


def build_picture(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A picture that says something else than it holds."""
    how = str(draw.choice(list(PICTURES)))
    source = str(draw.choice(["market1501", "ltcc", "luperson", ""]))
    path = "media/a.jpg"
    if source:
        files = [n for n in list_files(base, f"raw/{source}") if n.endswith((".jpg", ".png"))]
        path = draw_file(draw, files)
    commands: list[tuple[str, ...]] = [
        ("vills", "data", "check", f"raw/{source}", "--full") if source else EXTRACT
    ]
    prepare, reports = leave, ""
    if source and draw.random() < 0.5:
        commands = [("vills", "data", "register", source), ("vills", "run", "curate")]
        prepare = partial(use_raw, source=source)
        reports = "artifacts/curated/*/report.json"
    return Input(
        commands, [Path(path).name, *SAID_OF_DATA],
        lambda folder: put(folder / path, PICTURES[how]()), f"{path}: {how}",
        prepare, RAW, statuses=(1, 2), may_pass=bool(source), reports=reports,
    )  # fmt: skip
