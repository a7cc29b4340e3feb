"""Why a node that was computed once has to be computed again: which parameter, file or data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.io import load_json
from vills.runner.plan.nodes import Node
from vills.runner.store.code_digest import compute_code_state
from vills.runner.store.fingerprint import find_differences
from vills.runner.work.job import NODES

MAX_REASONS = 4


def find_stale_reasons(
    node: Node, name: str, *, runs: Path, earlier: Mapping[str, Any], point: str
) -> list[str]:
    """What differs between a node and the one that the same point had at the last launch.

    Args:
        node: The node as it is now.
        name: `stage@item`.
        runs: The runs' folder.
        earlier: A sweep's record: `points` and `nodes`.
        point: Label of the point.

    Returns:
        Reasons in words; empty if the point had no such node, or this very one.
    """
    old_key = earlier.get("points", {}).get(point, {}).get("nodes", {}).get(name)
    if old_key is None or old_key == node.key:
        return []
    noted = runs / NODES / old_key / "run.json"
    if not noted.exists():
        return []
    old = earlier["nodes"][old_key]
    reasons = [
        line.replace(" -> ", " became ")
        for line in find_differences(old["step"]["sections"], node.step.sections)
    ]
    if old["code"] != node.code:
        fingerprint = load_json(noted)["fingerprint"]
        receipt = runs / node.step.stage / fingerprint / "receipt.json"
        reasons += _find_changed_files(node.step.stage, receipt)
    for key in sorted({*old["outside"], *node.outside}):
        if old["outside"].get(key) != node.outside.get(key):
            reasons.append(f"data {key} changed")
    for key, maker in node.makers.items():
        if old["makers"].get(key) != maker:
            reasons.append(f"{node.step.inputs[key].maker} is another")
    return reasons


def shorten(reasons: list[str]) -> str:
    """The first reasons, and how many more there are."""
    more = f", and {len(reasons) - MAX_REASONS} more" if len(reasons) > MAX_REASONS else ""
    return "; ".join(reasons[:MAX_REASONS]) + more


def _find_changed_files(stage: str, receipt: Path) -> list[str]:
    if not receipt.exists():
        return ["code changed"]
    before = load_json(receipt)["code"]["files"]
    now = compute_code_state(f"vills.pipeline.{stage}").files
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return [f"{name} changed" for name in changed]
