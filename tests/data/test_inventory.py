from pathlib import Path

import pyarrow as pa
import pytest

from vills.data.files import save_table
from vills.data.inventory import (
    InventoryError,
    Registered,
    build_inventory,
    check_inventory,
    load_inventory,
)
from vills.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a/c.jpg", "a/d.jpg", ".cache/x"):
        path = tmp_path / "raw" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "raw"


def test_inventory_lists_all_files_by_path(root: Path, tmp_path: Path) -> None:
    table = build_inventory(root)
    save_table(tmp_path / "i.parquet", table)
    save_table(tmp_path / "j.parquet", build_inventory(root))
    assert (tmp_path / "i.parquet").read_bytes() == (tmp_path / "j.parquet").read_bytes()
    loaded = load_inventory(tmp_path / "i.parquet")
    assert loaded.equals(table)
    assert loaded["path"].to_pylist() == ["a/c.jpg", "a/d.jpg", "b.jpg"]
    assert loaded["size"].to_pylist() == [7, 7, 5]
    check_inventory(root, loaded, digests=True)


def test_drift_is_named(root: Path) -> None:
    table = build_inventory(root)
    (root / "a/d.jpg").write_text("a/e.jpg")
    check_inventory(root, table)
    with pytest.raises(InventoryError, match=r"a/d\.jpg \(content\)"):
        check_inventory(root, table, digests=True)
    (root / "a/d.jpg").write_text("longer than before")
    (root / "b.jpg").unlink()
    (root / "new.jpg").touch()
    message = r"b\.jpg \(missing\), new\.jpg \(not listed\), a/d\.jpg \(18 bytes, listed 7\)"
    with pytest.raises(InventoryError, match=message):
        check_inventory(root, table)


def test_a_picture_that_would_take_hours_is_not_read(root: Path) -> None:
    with (root / "a/huge.JPG").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(InventoryError, match=r"1 pictures of more than .* such as a/huge\.JPG"):
        build_inventory(root)


def test_each_file_that_is_read_is_told_of(root: Path) -> None:
    told: list[tuple[str, int, int]] = []
    table = build_inventory(root, lambda *said: told.append(said))
    assert told == [("a/c.jpg", 0, 3), ("a/d.jpg", 1, 3), ("b.jpg", 2, 3)]
    check_inventory(root, table, digests=True, progress=lambda *said: told.append(said))
    assert told[3:] == told[:3]


def test_tables_of_predictions_are_those_that_were_registered(root: Path) -> None:
    path = "predictions/detections.parquet"
    registered, table = Registered(root, build_inventory(root)), root / path
    registered.check_supplied(path)  # one that is missing its reader tells of
    table.parent.mkdir()
    table.write_bytes(b"one")
    with pytest.raises(InventoryError, match="is not in the inventory of its data set"):
        registered.check_supplied(path)
    registered = Registered(root, build_inventory(root))
    registered.check_supplied(path)
    table.write_bytes(b"two")
    with pytest.raises(InventoryError, match="has another content than its inventory says"):
        registered.check_supplied(path)


def test_links_that_lead_nowhere_are_named(root: Path) -> None:
    table = build_inventory(root)
    (root / "b.jpg").unlink()
    (root / "b.jpg").symlink_to("nowhere")
    message = r"cannot read .*b\.jpg \(No such file"
    with pytest.raises(InventoryError, match=message):
        check_inventory(root, table)
    with pytest.raises(InventoryError, match=message):
        build_inventory(root)


def test_an_inventory_that_lacks_values_is_refused_by_its_name(root: Path, tmp_path: Path) -> None:
    table = build_inventory(root)
    empty = pa.nulls(len(table), pa.string())
    save_table(tmp_path / "i.parquet", table.set_column(2, "digest", empty))
    with pytest.raises(
        InputError, match=r"i\.parquet lacks values of digest.*`vills data register"
    ):
        load_inventory(tmp_path / "i.parquet")


def test_nothing_to_list(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no file"):
        build_inventory(tmp_path)
    with pytest.raises(FileNotFoundError, match="VILLS_DATA"):
        build_inventory(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="vills data register"):
        load_inventory(tmp_path / "absent")
