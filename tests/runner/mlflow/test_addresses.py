"""Paths become addresses in one place, whatever characters a folder's name has."""

import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.runner.mlflow.conftest import MakeRun
from vills.config.checks import ConfigError
from vills.config.place import check_place
from vills.config.tracking import has_run, load_tracking_settings
from vills.io import build_file_uri, build_sqlite_uri, parse_sqlite_uri
from vills.runner.clusters.jobs import Batch, ClusterError, read_environment
from vills.runner.clusters.slurm import SlurmCluster
from vills.runner.mlflow.replay import sync_run
from vills.runner.mlflow.settings import open_store

NAMES = [
    "run one",
    "run%20one",
    "what?",
    "a#b",
    'it\'s "q"',
    "ü",
    "new\nline",
    "a;b&c=d,e",
    "[x]",
    "$HOME",
    "trailing ",
    "100%",
    "a:b@c",
    "back\\",
    "L" * 150,
]


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_the_path(name: str, tmp_path: Path) -> None:
    path = tmp_path / name / "mlflow.db"
    path.parent.mkdir()
    assert parse_sqlite_uri(build_sqlite_uri(path)) == path
    sqlite3.connect(f"{build_file_uri(path)}?mode=rwc", uri=True).close()
    assert list(tmp_path.rglob("*")) == [path.parent, path]
    check_place(path.parent)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run%20one", "what?", "a#b", 'it\'s "q"', "ü\n"])
def test_the_store_lies_in_the_project(
    name: str, tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("VILLS_TRACKING", raising=False)
    project = tmp_path / "place" / name
    project.mkdir(parents=True)
    folder = make_run()
    (folder / "out" / "metrics").write_text("{}")
    (folder / "result.json").write_text(
        f'{{"fingerprint": "{folder.name}", "finished_ms": 1, "artifacts": ["metrics"], '
        '"outputs": {}}'
    )
    monkeypatch.chdir(project)
    settings = load_tracking_settings(project)
    result = sync_run(folder, settings)
    assert result.ok, result.reason
    assert has_run(settings.uri, result.run_id)
    client = MlflowClient(settings.uri)
    assert {entry.path for entry in client.list_artifacts(result.run_id)} == {"metrics", "run"}
    assert {path.name for path in project.iterdir()} >= {"mlflow.db", "mlartifacts"}
    assert [path.name for path in project.parent.iterdir()] == [name]


def test_addresses_of_others_are_read_as_they_read_them() -> None:
    assert parse_sqlite_uri("sqlite:////a%20b/x.db?timeout=5") == Path("/a b/x.db")
    assert parse_sqlite_uri("sqlite+pysqlite:////a/x.db") == Path("/a/x.db")
    assert parse_sqlite_uri("http://host:5000") is None
    assert parse_sqlite_uri("postgresql://a/b") is None


@pytest.mark.parametrize("name", ["{y}", "a}", "${HOME}", "x\udcff"])
def test_where_others_cannot_work_is_refused_at_the_start(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the path of the project.*What to do: give the folder"):
        check_place(tmp_path / name)


def test_jobs_are_not_asked_for_where_they_could_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a path with :.*VILLS_RUNS"):
        read_environment(tmp_path, runs=tmp_path / "a:b")


@pytest.mark.parametrize("name", ["run%j", "new\nline", "back\\"])
def test_slurm_is_given_no_path_that_it_reads_otherwise(name: str, tmp_path: Path) -> None:
    batch = Batch.__new__(Batch)
    object.__setattr__(batch, "runs", tmp_path / name)
    with pytest.raises(ClusterError, match=r"(?s)SLURM cannot write logs.*What to do"):
        SlurmCluster()._submit_chunk(batch, [], dependency="", throttle=0)


def open_project_store(folder: Path) -> None:
    open_store(load_tracking_settings(folder))


@pytest.mark.parametrize("content", [b"no database at all, of some length" * 9, None])
def test_a_database_that_is_none_is_named_at_once(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if content is None:
        (tmp_path / "mlflow.db").mkdir()
    else:
        (tmp_path / "mlflow.db").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{tmp_path}/mlflow.db cannot be used.*What to do"):
        open_project_store(tmp_path)


def test_a_locked_database_is_named(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("vills.config.tracking.WRITE_SECONDS", 0.1)
    (tmp_path / "mlflow.db").write_bytes(empty_store.read_bytes())
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ConfigError, match=r"is locked.*end the process that holds it"):
        open_project_store(tmp_path)
    holder.close()
