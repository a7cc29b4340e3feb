"""A part is trusted to the last bit, or not at all."""

import errno
import logging
from pathlib import Path

import pytest

from tests.damage import DAMAGES
from vills.parts import Seal, is_sealed, load_intact, load_seal, save_seal


def _save(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "a").write_bytes(b"one")
    (folder / "sub" / "b").write_bytes(b"two")
    seal = folder / "part.seal"
    save_seal(seal, ["a", "sub/b"], locate=folder.joinpath, value={"z": [1.5], "a": None})
    return seal


def test_a_whole_part_comes_back_with_its_value_in_its_order(tmp_path: Path) -> None:
    seal = load_intact(_save(tmp_path), locate=tmp_path.joinpath)
    assert seal is not None
    assert list(seal.value.items()) == [("z", [1.5]), ("a", None)]
    assert list(seal.files) == ["a", "sub/b"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a", "sub/b", "part.seal"])
def test_a_damaged_one_is_none_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    seal = _save(tmp_path)
    DAMAGES[damage](tmp_path / name)
    with caplog.at_level(logging.WARNING):
        assert load_intact(seal, locate=tmp_path.joinpath) is None
    is_gone = (name, damage) == ("part.seal", "remove")  # never finished: nothing to be said
    assert (f"{name}); it is done again" in caplog.text) == (not is_gone)
    assert is_sealed(seal) == (name != "part.seal")


@pytest.mark.parametrize("bit", range(0, 8 * 60, 7))
def test_no_bit_of_a_seal_may_turn(tmp_path: Path, bit: int) -> None:
    seal = _save(tmp_path)
    data = bytearray(seal.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    seal.write_bytes(data)
    assert load_seal(seal) is None


def test_a_bad_block_is_damage_and_a_refusal_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seal = Seal({"a": "0" * 64}, None)

    def refuse(number: int) -> None:
        def compute(path: Path) -> str:
            raise OSError(number, "no", str(path))

        monkeypatch.setattr("vills.parts.compute_sha256", compute)

    refuse(errno.EIO)
    assert seal.find_damaged(tmp_path.joinpath) == ["a"]
    refuse(errno.EACCES)
    with pytest.raises(PermissionError):
        seal.find_damaged(tmp_path.joinpath)
