"""Damaged files below the runs' folder: what a launcher wrote, and what runs left for it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damage import DAMAGES
from tests.launching import Bench
from tests.runner.launch.test_plan import DAG
from vills.errors import InputError
from vills.io import load_json
from vills.runner.plan.registry import Registry
from vills.runner.store.lock import get_attempt_path, get_end_path
from vills.runner.sweeps.explain import load_attempts
from vills.runner.sweeps.sweep import load_earlier, load_record

FIRST = DAG[0]
WAYS: dict[str, Callable[[Path], object]] = {
    **DAMAGES,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff\x00"),
    "no keys": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_whose_result_is_damaged_is_asked_for_again(bench: Bench, way: str) -> None:
    plan = bench.plan()
    folder = bench.finish(plan, FIRST)
    assert bench.get_states(plan)[FIRST] == "done"
    WAYS[way](folder / "result.json")
    content = (folder / "result.json").read_bytes() if (folder / "result.json").exists() else b""
    assert bench.get_states(plan)[FIRST] != "done" or b"outputs" in content  # made-up: no digest
    WAYS[way](get_attempt_path(folder / "attempts", 1))
    WAYS[way](get_end_path(folder / "attempts", 1))
    bench.get_states(plan)
    list(load_attempts(folder))


@pytest.mark.parametrize("way", WAYS)
def test_what_a_launcher_noted_is_made_anew_or_refused(bench: Bench, way: str) -> None:
    plan = bench.plan(wanted=["curate"])
    bench.finish(plan, FIRST)
    bench.submit(plan)
    folder, maker = (bench.runs / "_nodes" / plan[name].key for name in ("curate", FIRST))
    for path in (maker / "run.json", maker / "spec.json", folder / "spec.json"):
        WAYS[way](path)
    fingerprint = Registry(bench.runs).find_fingerprint(plan[FIRST], plan)
    bench.slurm.states.clear()
    bench.note_job(plan["curate"], "9", age=1e6)
    bench.submit(plan, retry=True)
    assert load_json(maker / "run.json") == {"fingerprint": fingerprint}
    assert load_json(maker / "spec.json")["stage"] == FIRST
    assert load_json(folder / "spec.json")["planned"]["code"] == plan["curate"].code
    (folder / "error.json").write_bytes(b"{")
    assert Registry(bench.runs).load_error(plan["curate"].key) == ""
    WAYS[way](folder / "jobs.json")
    registry = Registry(bench.runs)
    if way == "remove":
        assert registry.load_submissions(plan["curate"].key) == []
    else:
        with pytest.raises(InputError, match=r"jobs.json is damaged .*What to do: .*cancel"):
            registry.load_submissions(plan["curate"].key)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_record_of_a_sweep_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "_sweeps" / "grid.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"grid.json is damaged .*What to do: remove the file"):
        load_record(tmp_path, "grid")
    sweep = type("Named", (), {"name": "grid", "fingerprint": "x"})()
    with pytest.raises(InputError, match="launch the sweep again"):
        load_earlier(tmp_path, sweep)
