"""A sweep on a terminal: the plan, and the table that `status` shows again and again."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from vills.pipeline import STAGES
from vills.runner.clusters.jobs import Resources
from vills.runner.plan.estimate import Estimate
from vills.runner.plan.nodes import Node, Plan
from vills.runner.plan.states import NodeState
from vills.runner.sweeps.sweep import Sweep, SweepState
from vills.runner.sweeps.sweeping import count_states, list_over

MARKS: Mapping[str, str] = {
    "done": "done",
    "running": "runs",
    "queued": "queued",
    "to do": "to do",
    "waits": "waits",
    "stopped": "stopped",
    "failed": "FAILED",
    "cancelled": "CANCELLED",
    "lost": "LOST",
}
WIDTH = 110
_NOT_ASKED = ("to do", "waits", "stopped")


def format_plan(
    sweep: Sweep, state: SweepState, *, get_resources: Callable[[str], Resources]
) -> str:
    """Every point, why it is not done, and what is left to do: jobs, wall time, GPU-hours."""
    lines = [f"{sweep.name}: {sweep.config.title}", ""]
    width = max(len(point.label) for point in sweep.points)
    for point in sweep.points:
        lines.append(
            f"{point.label:{width}}  {point.fingerprint[:12]}  {_describe_point(point.plan, state)}"
        )
    lines += ["", *_list_reasons(sweep, state), *_list_lacking(state)]
    lines += ["to do, under the time limits of slurm/*.yaml:", *_list_costs(sweep, state)]
    sources = {
        name: get_resources(name).estimate.source
        for name in dict.fromkeys(node.step.stage for node in sweep.nodes.values())
    }
    lines += [f"  {name}: {text}" for name, text in sources.items() if text]
    return "\n".join([*lines, "Nothing was submitted."])


def format_state(name: str, state: SweepState) -> str:
    """Return a row per point, a column per stage; below, what is over without a result."""
    columns = _list_columns(state)
    shared = [c for c in columns if len({p[c].key for p in state.plans.values() if c in p}) == 1]
    own = [column for column in columns if column not in shared or len(state.plans) == 1]
    lines = [f"{name}: {_summarise(state)}", ""]
    if shared and len(state.plans) > 1:
        plan = next(iter(state.plans.values()))
        lines.append(
            "shared by all points: " + ", ".join(_say_node(c, plan, state) for c in shared)
        )
        lines.append("")
    rows = [["point", *own]]
    for label, plan in state.plans.items():
        rows.append([label, *(_mark(plan.get(column), state) for column in own)])
    lines += _align(rows)
    over = list_over(state)
    if over:
        lines += ["", "over without a result (--retry failed asks again):"]
        lines += [f"  {title}: {_say_over(found)}" for title, found in over.values()]
    return "\n".join([*lines, *(["", *rest] if (rest := _list_lacking(state)) else [])])


def _say_over(state: NodeState) -> str:
    job = f"job {state.job}: " if state.job else ""
    return f"{state.state.upper()}, {job}{state.detail}"


def _list_columns(state: SweepState) -> list[str]:
    names = {name for plan in state.plans.values() for name in plan}
    return sorted(names, key=lambda name: (STAGES.index(name.partition("@")[0]), name))


def _say_node(name: str, plan: Plan, state: SweepState) -> str:
    return f"{name} {_mark(plan.get(name), state)}"


def _mark(node: Node | None, state: SweepState) -> str:
    if node is None:
        return "-"
    found = state.states[node.key]
    word = MARKS[found.state]
    if found.is_active and found.job:
        word += f" {found.job}"
    if found.attempts > 1 and found.state != "done":
        word += f" ({found.attempts} attempts)"
    return word


def _summarise(state: SweepState) -> str:
    points = sum(state.is_done(label) for label in state.plans)
    nodes = {node.key: node for plan in state.plans.values() for node in plan.values()}
    counts = count_states(list(nodes.values()), state.states)
    parts = ", ".join(f"{count} {MARKS[name]}" for name, count in sorted(counts.items()))
    return f"{points} of {len(state.plans)} points done (runs: {parts})"


def _describe_point(plan: Plan, state: SweepState) -> str:
    if not plan:
        return "nothing of it is in params.yaml"
    open_nodes = {n: node for n, node in plan.items() if state.states[node.key].state != "done"}
    if not open_nodes:
        return "done"
    words: dict[str, list[str]] = {}
    for name, node in open_nodes.items():
        found = state.states[node.key]
        word: str = found.state
        if word == "waits":
            word = f"waits {_find_root(node, plan, state)}"
        elif node.key in state.stale and word in _NOT_ASKED:
            word = "stale"
        words.setdefault(word, []).append(name)
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items())


def _find_root(node: Node, plan: Plan, state: SweepState) -> str:
    """Find the first thing that a node waits for and that does not itself wait for a maker."""
    for entry in node.step.inputs.values():
        if entry.maker and state.states[plan[entry.maker].key].state == "waits":
            return _find_root(plan[entry.maker], plan, state)
    return state.states[node.key].detail


def _list_reasons(sweep: Sweep, state: SweepState) -> list[str]:
    """Why nodes are stale; what follows from a stale node upstream is not repeated per point."""
    lines: dict[str, list[str]] = {}
    for point in sweep.points:
        for name, node in point.plan.items():
            if node.key in state.stale:
                lines.setdefault(f"{name}: {state.stale[node.key]}", []).append(point.label)
    if not lines:
        return []
    found = [
        f"  {text}" + (f" ({len(points)} points)" if len(points) > 1 else f" ({points[0]})")
        for text, points in lines.items()
    ]
    return ["stale, because", *found, ""]


def _list_lacking(state: SweepState) -> list[str]:
    lacking = sorted({entry for entries in state.lacking.values() for entry in entries})
    if not lacking:
        return []
    text = ", ".join(lacking)
    return [f"cells that stay empty, since params.yaml has no {text}", ""]


def _list_costs(sweep: Sweep, state: SweepState) -> Iterator[str]:
    rows = [["stage", "runs", "jobs", "hours of a run", "GPU-hours", "how"]]
    totals = [0, 0, 0.0]
    for stage in STAGES:
        entries = [
            estimate
            for key, estimate in state.estimates.items()
            if sweep.nodes[key].step.stage == stage
        ]
        if entries:
            rows.append(_build_cost_row(stage, entries))
            totals[0] += len(entries)
            totals[1] += sum(entry.jobs for entry in entries)
            totals[2] += sum(entry.gpu_hours for entry in entries)
    if len(rows) == 1:
        yield "  nothing"
        return
    rows.append(["all", f"{totals[0]}", f"{totals[1]}", "", f"{totals[2]:,.0f}", ""])
    yield from (f"  {line}" for line in _align(rows))


def _build_cost_row(stage: str, entries: Sequence[Estimate]) -> list[str]:
    known = [entry for entry in entries if entry.minutes is not None]
    hours = sorted({round(entry.wall_hours, 2) for entry in known})
    span = "?" if not hours else f"{hours[0]:g}" + (f" to {hours[-1]:g}" if hours[1:] else "")
    gpu_hours = f"{sum(entry.gpu_hours for entry in known):,.0f}" if known else "?"
    reasons = list(dict.fromkeys(entry.why for entry in entries))
    why = reasons[0] + (", ..." if reasons[1:] else "")
    return [stage, str(len(entries)), str(sum(e.jobs for e in entries)), span, gpu_hours, why]


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
