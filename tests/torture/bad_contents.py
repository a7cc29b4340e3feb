"""Bad contents: files that open well, and whose text, tables, pixels or tensors are not right."""

import io
import json
import pickle
import tarfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tests.torture.bad_files import MODEL, RAW, use_raw
from tests.torture.bad_raw import (
    DEEP,
    EXTRACT,
    Malicious,
    build_annotation,
    build_list,
    build_picture,
    leave,
)
from tests.torture.inputs import Input
from tests.torture.spoil import put

SCORES = ("vills", "scores")
DOCUMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("artifacts/metrics/evaluate_market1501.json", SCORES),
    ("artifacts/evaluate/market1501/results.json", SCORES),
    ("artifacts/evaluate/mars/results.json", ("vills", "run", "report")),
    ("artifacts/curated/luperson/report.json", ("vills", "run", "report")),
    ("artifacts/finetune/market1501/data.json", ("vills", "run", "evaluate@market1501")),
    (f"{MODEL}/model.json", EXTRACT),
    (f"{MODEL}/model.json", ("vills", "run", "evaluate@market1501")),
    ("artifacts/pretrain/teacher/model.json",
     ("vills", "export", "--weights", "artifacts/pretrain/teacher", "--out", "x.safetensors")),
    ("raw/prid2011/splits_prid2011.json", ("vills", "data", "register", "prid2011")),
)  # fmt: skip
"""A file of JSON, and who reads it."""
JSON: Mapping[str, bytes] = {
    "list": b"[]",
    "list of lists": b"[[[]], 1]",
    "number": b"5",
    "null": b"null",
    "text": b'"x"',
    "nothing in it": b"{}",
    "deep": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "latin-1": b'{"a": "\xe9"}',
    "utf-16": '{"a": "x"}'.encode("utf-16"),
    "digits": b'{"a": 1' + b"0" * 5_000 + b"}",
    "two": b"{}{}",
}
LEAVES: tuple[Any, ...] = (
    -1,
    0,
    10**30,
    float("nan"),
    float("inf"),
    "x",
    None,
    [],
    {},
    [[1]],
    True,
    1.5,
)


def build_document(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """JSON that is no JSON, or of another form."""
    path, command = DOCUMENTS[int(draw.integers(len(DOCUMENTS)))]
    how = str(draw.choice(list(JSON)))
    spoil = lambda folder: put(folder / path, JSON[how])  # noqa: E731
    said = [Path(path).name, *("is damaged" for _ in range(command[1] == "run"))]
    prepare = partial(use_raw, source="prid2011") if path.startswith("raw/") else leave
    return Input([command], said, spoil, f"{path}: {how}", prepare, RAW)


def build_leaf(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A value of the description of weights."""
    value = json.loads((base / MODEL / "model.json").read_text())
    place, parts = value, list[str]()
    while isinstance(place, dict):
        names = [name for name in place if name in ARCHITECTURE or parts]
        parts.append(str(draw.choice(names)))
        place, above = place[parts[-1]], place
    traps = [trap for trap in LEAVES if type(trap) is not type(place) or trap in (-1, 10**30)]
    traps = [trap for trap in traps if trap != place and not (trap is None and len(parts) == 2)]
    trap = traps[int(draw.integers(len(traps)))]
    above[parts[-1]] = trap
    what = f"model.json: {'.'.join(parts)} = {trap!r}"
    said = ["model.json", parts[-1]]
    text = json.dumps(value).encode()
    return Input([EXTRACT], said, lambda folder: put(folder / MODEL / "model.json", text), what)


ARCHITECTURE = ("kind", "reid", "format", "architecture", "file", "sha256")
"""What VILLS itself reads of a description."""


def build_published(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """Weights of others, as torch saves them."""
    whole = {"cls_token": torch.zeros(1, 1, 8), "norm.weight": torch.ones(8)}
    contents: dict[str, Any] = {
        "list": [torch.ones(2)],
        "nothing": {},
        "tensor": torch.ones(3),
        "numbers": {"a": 1, "b": 2},
        "keys": {1: torch.ones(2)},
        "nan": {**whole, "norm.weight": torch.full((8,), torch.nan)},
        "code": {"model": Malicious(), **whole},
        "strange": {"foo.bar": torch.ones(2, 2)},
        "empty tensors": {name: torch.empty(0) for name in whole},
        "complex": {name: value * 1j for name, value in whole.items()},
        "deep": {"model": {"model": {"model": {"model": whole}}}},
    }
    how = str(draw.choice([*contents, "cut", "zip", "pickle"]))
    buffer = io.BytesIO()
    torch.save(contents.get(how, whole), buffer)
    data = buffer.getvalue()
    if how in ("cut", "zip"):
        data = data[: len(data) // 2] if how == "cut" else b"PK\x05\x06" + bytes(18)
    data = pickle.dumps(Malicious()) if how == "pickle" else data
    name = str(draw.choice(["own.pth", "own.pt", "own.pkl", "own.bin"]))
    name = "plain.safetensors" if valid else name
    spoil = lambda folder: (folder / "weights" / name).write_bytes(data)  # noqa: E731
    env = {"VILLS_WEIGHTS": "weights"}
    return Input([("vills", "weights", "inspect", name)], [name], spoil, f"{name}: {how}", env=env)


def build_feature_table(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """Features in parquet."""
    arrays = dict(np.load(base / "features.npz"))
    paths, rows = arrays["path"].tolist(), arrays["feature"].tolist()
    short, lost, holes = [rows[0][:-1], *rows[1:]], [None, *rows[1:]], [[None] * 8, *rows[1:]]
    nested, nans = [[row] for row in rows], [[float("nan")] * 8, *rows[1:]]
    tables: dict[str, dict[str, Any]] = {
        "one short row": {"path": paths, "feature": short},
        "a row without": {"path": paths, "feature": lost},
        "null in a row": {"path": paths, "feature": holes},
        "nested": {"path": paths, "feature": nested},
        "nan": {"path": paths, "feature": nans},
        "text": {"path": paths, "feature": [str(row) for row in rows]},
        "number paths": {"path": list(range(len(paths))), "feature": rows},
        "null path": {"path": [None, *paths[1:]], "feature": rows},
        "no path": {"feature": rows},
        "no feature": {"path": paths},
        "no rows": {"path": paths[:0], "feature": rows[:0]},
        "huge values": {"path": paths, "feature": [[1e300] * 8, *rows[1:]]},
    }
    how = str(draw.choice(list(tables)))
    table = {"path": paths, "feature": rows} if valid else tables[how]
    command = ["vills", "evaluate", "own.parquet", "--layout", "market1501", "--bootstrap", "10"]
    command += ["--root", "raw/market1501", "--protocol", "market1501"]
    prepare = lambda at: pq.write_table(pa.table(table), at / "own.parquet")  # noqa: E731
    return Input([command], ["own.parquet", "feature"], what=how, prepare=prepare)


def build_shard(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A tar of pictures with another member, or one less."""
    path = "artifacts/curated/luperson/shard-000000.tar"
    with tarfile.open(base / path) as tar:
        members = [(m, tar.extractfile(m).read()) for m in tar if m.isfile()]
    how = str(draw.choice(["one less", "outside", "link", "swapped", "none", "emptied"]))
    (first, data), (second, other) = members[:2]
    if how == "one less":
        members = members[1:]
    elif how == "outside":
        first.name = f"../../{first.name}"
    elif how == "link":
        first.type, first.linkname, first.size = tarfile.SYMTYPE, "/dev/zero", 0
    elif how == "swapped":
        first.size, second.size = len(other), len(data)
        members[:2] = [(first, other), (second, data)]
    elif how == "emptied":
        first.size, members[0] = 0, (first, b"")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member, content in members if how != "none" else []:
            tar.addfile(member, io.BytesIO(content))
    command = [("vills", "run", "lse"), ("vills", "run", "pretrain")][int(draw.integers(2))]
    spoil = lambda folder: put(folder / path, buffer.getvalue())  # noqa: E731
    return Input([command], ["shard-000000.tar", "is damaged"], spoil, f"{path}: {how}")


CONTENTS = (
    *(build_document, build_leaf, build_annotation, build_list, build_picture, build_published),
    *(build_feature_table, build_shard),
)
