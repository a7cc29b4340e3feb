"""Why something is computed again."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.launching import Bench, build_planner, load_steps
from vills.io import load_json, save_json
from vills.runner.plan.nodes import Plan, find_stale_reasons, render_first, select_steps
from vills.runner.store.code_digest import compute_code_state
from vills.runner.work.job import NODES


def remember(bench: Bench, plan: Plan) -> dict[str, Any]:
    """A record of these nodes, all of which have run."""
    for node in plan.values():
        save_json(bench.runs / NODES / node.key / "run.json", {"fingerprint": "f" * 64})
    return {
        "points": {"a": {"nodes": {name: node.key for name, node in plan.items()}}},
        "nodes": {node.key: asdict(node) for node in plan.values()},
    }


def find(bench: Bench, plan: Plan, name: str, earlier: Mapping[str, Any]) -> list[str]:
    return find_stale_reasons(plan[name], name, runs=bench.runs, earlier=earlier, point="a")


def test_a_parameter_and_what_follows_from_it(bench: Bench) -> None:
    earlier = remember(bench, bench.plan())
    plan = bench.plan("pretrain.koleo_weight=2.0", "pretrain.heads.hidden=16")
    assert find(bench, plan, "pretrain", earlier) == [
        "pretrain.heads.hidden: 32 became 16",
        "pretrain.koleo_weight: 3 became 2",
    ]
    assert find(bench, plan, "finetune@market1501", earlier) == ["pretrain is different"]
    assert find(bench, plan, "lse", earlier) == []


def test_a_file_of_the_code(bench: Bench) -> None:
    before = bench.plan()
    earlier = remember(bench, before)
    planner = build_planner(bench.project)
    planner._codes = {**planner._codes, "curate": "0" * 64}
    plan = planner.build_plan(select_steps(load_steps("tiny"), list(before)))
    assert find(bench, plan, "curate", earlier) == ["code changed"], "its run is gone"
    files = compute_code_state("vills.pipeline.curate").files
    name = sorted(files)[3]
    receipt = bench.runs / "curate" / ("f" * 64) / "receipt.json"
    save_json(receipt, {"code": {"files": {**files, name: "0" * 64, "vills/gone.py": "1" * 64}}})
    assert sorted(find(bench, plan, "curate", earlier)) == sorted(
        [f"{name} changed", "vills/gone.py changed"]
    )


def test_data_from_outside(bench: Bench) -> None:
    plan = bench.plan()
    earlier = remember(bench, plan)
    old = earlier["nodes"][plan["pretrain"].key]
    old_key = "0" * 64
    earlier["nodes"][old_key] = {**old, "outside": {"initial": "1" * 64}}
    earlier["points"]["a"]["nodes"]["pretrain"] = old_key
    assert find(bench, plan, "pretrain", earlier) == [], "it has never run"
    save_json(bench.runs / NODES / old_key / "run.json", {"fingerprint": "f" * 64})
    assert find(bench, plan, "pretrain", earlier) == ["data initial changed"]


def test_what_is_new_is_not_stale(bench: Bench, tmp_path: Path) -> None:
    plan = bench.plan()
    assert find(bench, plan, "pretrain", {}) == []
    earlier = remember(bench, plan)
    assert find(bench, plan, "pretrain", earlier) == []
    other = {**earlier, "points": {"b": earlier["points"]["a"]}}
    assert find(bench, bench.plan("pretrain.koleo_weight=2.0"), "pretrain", other) == []
    assert load_json(bench.runs / NODES / plan["lse"].key / "run.json")


def test_many_reasons_are_shortened() -> None:
    assert render_first(["a", "b"]) == "a; b"
    assert render_first([str(number) for number in range(6)]) == "0; 1; 2; 3, and 2 more"
