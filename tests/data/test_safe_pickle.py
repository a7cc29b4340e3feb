import collections
import decimal
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vills.data.layouts.containers import PlainPickleError, load_plain_pickle

PLAIN = {
    "keys": ["00_00_0000_00000000", "ü"],
    "bytes": b"\xff",
    "numbers": [1, -(2**70), 2.5, True, None],
    "nested": ({"a": ({1, 2}, frozenset({3}))}, (), []),
}


class Malicious:
    """Loaded by pickle, it would run a command."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def write(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [4, 5])
def test_plain_values_come_back(protocol: int, tmp_path: Path) -> None:
    assert load_plain_pickle(write(tmp_path / "a.pkl", PLAIN, protocol)) == PLAIN


@pytest.mark.parametrize("protocol", range(6))
def test_lists_of_text_come_back_from_every_protocol(protocol: int, tmp_path: Path) -> None:
    keys = {"keys": ["a/b.jpg", "ü"], "pids": [1, 2]}
    assert load_plain_pickle(write(tmp_path / "a.pkl", keys, protocol)) == keys


def test_text_of_python_2_comes_back(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"(lp0\nS'a/b.jpg'\np1\naS'c.jpg'\np2\na.")
    assert load_plain_pickle(tmp_path / "a.pkl") == ["a/b.jpg", "c.jpg"]


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_not_run(protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = write(tmp_path / "a.pkl", {"keys": ["a", Malicious(marker)]}, protocol)
    with pytest.raises(PlainPickleError, match=r"asks for (posix|nt)\.system, which is refused"):
        load_plain_pickle(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())  # noqa: S301 - the trap is real
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (np.array(["a"]), r"numpy\.\S*_reconstruct"),
        ([decimal.Decimal(1)], r"decimal\.Decimal"),
        (collections.OrderedDict(a=1), r"collections\.OrderedDict"),
        (Path("a"), r"pathlib\S*"),
        (len, r"builtins\.len"),
    ],
)
def test_whatever_is_not_plain_is_refused_by_name(content: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(PlainPickleError, match=f"asks for {name}, which is refused"):
        load_plain_pickle(write(tmp_path / "a.pkl", content))


def test_every_opcode_that_could_reach_code_is_refused(tmp_path: Path) -> None:
    attacks = {
        "GLOBAL": b"cos\nsystem\n(S'true'\ntR.",
        "INST": b"(S'true'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'true'\no.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "NEWOBJ": b"\x80\x02cos\nsystem\n)\x81.",
        "EXT1": b"\x80\x02\x82\x01.",
        "PERSID": b"Pabc\n.",
        "BINPERSID": b"K\x01Q.",
        "BUILD": b"]}S'append'\nI1\nsb.",
        "REDUCE": b"K\x01)R.",
        "NEXT_BUFFER": b"\x80\x05\x97.",
    }
    assert set(attacks) <= {opcode.name for opcode in pickletools.opcodes}
    for name, content in attacks.items():
        (tmp_path / "a.pkl").write_bytes(content)
        with pytest.raises(PlainPickleError):
            load_plain_pickle(tmp_path / "a.pkl")
        assert name


def test_damaged_files_say_so(tmp_path: Path) -> None:
    whole = pickle.dumps(PLAIN, 4)
    path = tmp_path / "a.pkl"
    for content in (b"", b"hello", whole[:-1], whole[: len(whole) // 2], b"\x80\x63.", b"\xff\xd8"):
        path.write_bytes(content)
        with pytest.raises(PlainPickleError, match=r"is not a complete pickle .*fetch it again"):
            load_plain_pickle(path)
    with pytest.raises(FileNotFoundError):
        load_plain_pickle(tmp_path / "absent.pkl")


def test_any_bytes_end_in_a_value_or_in_our_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = bytearray(pickle.dumps(PLAIN, 4))
    for _ in range(400):
        broken = whole.copy()
        for place in rng.integers(len(broken), size=3):
            broken[place] = rng.integers(256)
        (tmp_path / "a.pkl").write_bytes(broken)
        try:
            load_plain_pickle(tmp_path / "a.pkl")
        except PlainPickleError:
            continue
