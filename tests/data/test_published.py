import hashlib
import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.disks import limit_file_size
from vills.config.checks import ConfigError
from vills.data.published import PUBLISHED, PublishedWeights, load_published_weights


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch, *, sha256: str | None = None) -> None:
    folder.mkdir()
    (folder / "net.pth").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    known = PublishedWeights((folder / "net.pth").as_uri(), sha256 or digest, "tests")
    monkeypatch.setitem(PUBLISHED, "net", known)


def test_fetched_once_and_then_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "publisher", monkeypatch)
    path = load_published_weights("net", folder=tmp_path)
    assert path.read_bytes() == b"weights"
    (tmp_path / "publisher" / "net.pth").unlink()
    assert load_published_weights("net", folder=tmp_path) == path


def test_wrong_checksum_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "publisher", monkeypatch, sha256="0" * 64)
    with pytest.raises(ConfigError, match="has sha256"):
        load_published_weights("net", folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["publisher"]


def test_a_folder_that_takes_no_more_is_not_blamed_on_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "publisher", monkeypatch)
    with limit_file_size(3), pytest.raises(OSError, match="File too large") as caught:
        load_published_weights("net", folder=tmp_path)
    assert caught.value.filename == str(tmp_path / "net.pth")
    assert [p.name for p in tmp_path.iterdir()] == ["publisher"]


def test_unreachable_publisher_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = PublishedWeights((tmp_path / "none.pth").as_uri(), "00", "tests")
    monkeypatch.setitem(PUBLISHED, "net", known)
    with pytest.raises(ConfigError, match=r"copy none\.pth into VILLS_WEIGHTS"):
        load_published_weights("net", folder=tmp_path)
    with pytest.raises(ConfigError, match="sam_vit_h"):
        load_published_weights("sam", folder=tmp_path)


def test_what_is_sent_in_the_clear_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"weights")

    server = HTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.handle_request, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/net.pth"
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setitem(PUBLISHED, "net", PublishedWeights(url, digest, "tests"))
    with pytest.raises(ConfigError, match="without encryption"):
        load_published_weights("net", folder=tmp_path)
    server.server_close()
    assert not list(tmp_path.iterdir())


def test_names_carry_the_checksum_that_their_publishers_put_into_them() -> None:
    for known in PUBLISHED.values():
        tail = known.file_name.removesuffix(".pth").rsplit("-", 1)[-1]
        assert re.fullmatch("[0-9a-f]{64}", known.sha256)
        assert known.url.startswith("https://")
        if "pytorch" in known.url:
            assert known.sha256.startswith(tail)
