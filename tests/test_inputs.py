"""Every reader refuses at once what is no regular file of a sane size, and waits for none."""

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vills.config.yaml_text import MAX_BYTES as MAX_YAML
from vills.config.yaml_text import Source
from vills.data.images import CorruptImageError, read_header, read_image
from vills.data.inventory import InventoryError, build_inventory
from vills.data.layouts.containers import load_image_list
from vills.data.layouts.folder import read_folder
from vills.data.predictions import load_predictions
from vills.data.shards import ShardReader
from vills.errors import UserError
from vills.evaluation.extract import ExtractReport, load_pixels
from vills.evaluation.feature_table import load_feature_table
from vills.inputs import MAX_BYTES, check_input, open_input, read_input
from vills.io import compute_sha256, load_json
from vills.onnx import load_session
from vills.report.world_sheet import _read_image

HUGE = 10**12


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """Paths of all that is no regular file, and of one that is far too large."""
    paths = {name: tmp_path / name for name in ("fifo", "socket", "zero", "loop", "null", "folder")}
    os.mkfifo(paths["fifo"])
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(paths["socket"]))
    paths["zero"].symlink_to("/dev/zero")
    paths["loop"].symlink_to(paths["loop"])
    paths["null"].symlink_to("/dev/null")
    paths["folder"].mkdir()
    yield paths
    server.close()


SHARD = "shard-000000.tar"
READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "open_input": ("a", open_input),
    "check_input": ("a", check_input),
    "read_input": ("a", read_input),
    "compute_sha256": ("a", compute_sha256),
    "load_json": ("a.json", load_json),
    "yaml": ("a.yaml", lambda path: Source("a.yaml").load_text(path)),
    "list": ("a.txt", load_image_list),
    "shard": (SHARD, lambda path: ShardReader(path.parent).read(SHARD, 0, 1)),
    "sheet": ("a.jpg", _read_image),
    "features": ("a.npz", load_feature_table),
    "onnx": ("a.onnx", load_session),
}


@pytest.mark.parametrize("kind", ["fifo", "socket", "zero", "loop", "null", "folder"])
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_opened(odd: dict[str, Path], reader: str, kind: str) -> None:
    name, read = READERS[reader]
    path = odd[kind].with_name(name)
    path.symlink_to(odd[kind])
    with pytest.raises((OSError, UserError)) as caught:
        read(path)
    assert str(caught.value)


@pytest.mark.parametrize("name", ["a.json", "a.yaml", "a.txt", "a.onnx", "a"])
def test_a_sparse_file_of_a_terabyte_is_not_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as file:
        file.truncate(HUGE)
    _, read = next(pair for pair in reversed(READERS.values()) if pair[0] == name)
    read = read_input if name == "a" else read
    with pytest.raises((OSError, UserError), match="too large: 1,000,000,000,000 bytes; allowed"):
        read(path)


def test_a_file_that_says_no_size_is_read_up_to_the_limit(tmp_path: Path) -> None:
    assert read_input(Path("/proc/self/status")).startswith(b"Name:")
    with pytest.raises(OSError, match="too large"):
        read_input(Path("/proc/self/status"), limit=10)
    (tmp_path / "a").write_bytes(b"12345")
    assert read_input(tmp_path / "a", limit=5) == b"12345"
    assert stat.S_ISREG((tmp_path / "a").stat().st_mode)
    assert MAX_YAML < MAX_BYTES


def test_data_sets_count_them_as_damaged(odd: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for number, kind in enumerate(("fifo", "socket", "zero"), start=1):
        (root / f"000{number}_c1_1.jpg").symlink_to(odd[kind])
        (root / f"000{number}_c2_1.jpg").symlink_to(odd[kind])
    layout = read_folder(root)
    report = ExtractReport()
    for image in layout.images:
        assert load_pixels(root / image.path, image.path, report) is None
    reasons = {reason for _, reason in report.bad}
    assert reasons == {f"a {kind}, not a regular file" for kind in ("FIFO", "device", "socket")}
    with pytest.raises(InventoryError, match="a FIFO, not a regular file"):
        build_inventory(root)
    (root / "predictions").mkdir()
    (root / "predictions/detections.parquet").symlink_to(odd["fifo"])
    with pytest.raises(UserError, match="a FIFO, not a regular file"):
        load_predictions(root)


@pytest.mark.parametrize("kind", ["fifo", "loop", "zero"])
def test_a_split_file_that_cannot_be_read_gives_no_other_split(
    odd: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for name in ("0001_c1_1.jpg", "0002_c1_1.jpg"):
        (root / name).touch()
    read_folder(root)
    (root / "splits.csv").symlink_to(odd[kind])
    with pytest.raises((OSError, UserError), match="not a regular file|symbolic links"):
        read_folder(root)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
MERGE = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}\n" for n in range(1, 10)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 3000))


@pytest.mark.parametrize("text", [BOMB, MERGE, CHAIN, "[" * 150 + "]" * 150, "a: &a [*a, *a]\n"])
def test_yaml_that_stands_for_more_than_it_holds(text: str) -> None:
    if text.startswith("a: &a"):  # refused where its field is read, by the field's name
        assert Source("a.yaml").parse_node(text)
        return
    with pytest.raises(UserError, match="too large once every alias|too many brackets"):
        Source("a.yaml").parse_node(text)


def test_pictures_of_too_many_pixels_are_refused_by_their_header(tmp_path: Path) -> None:
    from PIL import Image

    for suffix, settings in (("png", {}), ("jpg", {}), ("tif", {"compression": "tiff_deflate"})):
        path = tmp_path / f"a.{suffix}"
        Image.new("L", (7072, 7072)).save(path, **settings)  # 50,013,184
        with pytest.raises(CorruptImageError, match="7072 x 7072 pixels; allowed: 50 million"):
            read_image(path.read_bytes())
        with pytest.raises(CorruptImageError, match="allowed: 50 million"), path.open("rb") as file:
            read_header(file)
