"""A sweep on a terminal: the plan, and the table that `status` shows again and again."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from vills.config.resources import Resources
from vills.pipeline import STAGES
from vills.runner.plan.nodes import Node, Plan
from vills.runner.plan.states import OVER
from vills.runner.sweeps.sweep import Sweep, SweepState
from vills.runner.sweeps.sweeping import list_over

WORDS = {"running": "runs", **{state: state.upper() for state in OVER}}
"""What a table says for a state; the others stand as they are."""


def render_plan(state: SweepState, *, get_resources: Callable[[str], Resources]) -> str:
    """Every point, why it is not done, and what is left to do: jobs, wall time, GPU-hours."""
    sweep = state.sweep
    width = max(len(point.label) for point in sweep.points)
    points = [
        f"{point.label:{width}}  {point.fingerprint[:12]}  {_describe_point(point.plan, state)}"
        for point in sweep.points
    ]
    stages = dict.fromkeys(node.step.stage for node in sweep.nodes.values())
    sources = {name: get_resources(name).estimate.source for name in stages}
    return "\n".join(
        [
            f"{sweep.name}: {sweep.config.title}",
            "",
            *points,
            "",
            *_list_reasons(state),
            *_list_lacking(sweep),
            "to do, under the time limits of slurm/*.yaml:",
            *(f"  {line}" for line in _list_costs(state)),
            *(f"  {name}: {text}" for name, text in sources.items() if text),
            "Nothing was submitted.",
        ]
    )


def render_state(state: SweepState) -> str:
    """Return a row per point, a column per stage; below, what is over without a result."""
    plans = list(state.plans.values())
    columns = sorted(
        {name for plan in plans for name in plan},
        key=lambda name: (STAGES.index(name.partition("@")[0]), name),
    )
    keys = {column: {plan[column].key for plan in plans if column in plan} for column in columns}
    shared = [column for column in columns if len(plans) > 1 and len(keys[column]) == 1]
    own = [column for column in columns if column not in shared]
    num_done = sum(map(state.is_done, state.plans))
    counts = Counter(found.state for found in state.states.values())
    runs = ", ".join(f"{count} {WORDS.get(word, word)}" for word, count in sorted(counts.items()))
    lines = [f"{state.sweep.name}: {num_done} of {len(plans)} points done (runs: {runs})", ""]
    if shared:
        marks = ", ".join(f"{column} {_mark(plans[0].get(column), state)}" for column in shared)
        lines += [f"shared by all points: {marks}", ""]
    rows = [
        [label, *(_mark(plan.get(column), state) for column in own)]
        for label, plan in state.plans.items()
    ]
    lines += _align([["point", *own], *rows])
    over = list_over(state)
    if over:
        lines += ["", "ended without a result (--retry failed submits again):"]
    for title, found in over.values():
        job = f"job {found.job}: " if found.job else ""
        lines.append(f"  {title}: {found.state.upper()}, {job}{found.detail}")
    lacking = _list_lacking(state.sweep)
    return "\n".join([*lines, *(["", *lacking] if lacking else [])])


def _mark(node: Node | None, state: SweepState) -> str:
    if node is None:
        return "-"
    found = state.states[node.key]
    word = WORDS.get(found.state, found.state)
    if found.is_active and found.job:
        word += f" {found.job}"
    if found.attempts > 1 and found.state != "done":
        word += f" ({found.attempts} attempts)"
    return word


def _describe_point(plan: Plan, state: SweepState) -> str:
    if not plan:
        return "params.yaml has none of its data sets"
    words: dict[str, list[str]] = {}
    for name, node in plan.items():
        word: str = state.states[node.key].state
        if word == "waits":
            word = f"waits {_find_root(node, plan, state)}"
        elif node.key in state.stale and word in ("to do", "stopped"):
            word = "stale"
        if word != "done":
            words.setdefault(word, []).append(name)
    return "; ".join(f"{word}: {', '.join(names)}" for word, names in words.items()) or "done"


def _find_root(node: Node, plan: Plan, state: SweepState) -> str:
    """Find the first thing that a node waits for and that does not itself wait for a maker."""
    for entry in node.step.inputs.values():
        if entry.maker and state.states[plan[entry.maker].key].state == "waits":
            return _find_root(plan[entry.maker], plan, state)
    return state.states[node.key].detail


def _list_reasons(state: SweepState) -> list[str]:
    """Why nodes are stale; what follows from a stale node upstream is not repeated per point."""
    lines: dict[str, list[str]] = {}
    for point in state.sweep.points:
        for name, node in point.plan.items():
            if node.key in state.stale:
                lines.setdefault(f"{name}: {state.stale[node.key]}", []).append(point.label)
    found = [
        f"  {text} ({f'{len(points)} points' if len(points) > 1 else points[0]})"
        for text, points in lines.items()
    ]
    return ["stale, because", *found, ""] if found else []


def _list_lacking(sweep: Sweep) -> list[str]:
    lacking = ", ".join(sweep.lacking)
    return [f"cells that stay empty, since params.yaml lacks {lacking}", ""] if lacking else []


def _list_costs(state: SweepState) -> Iterator[str]:
    rows = [["stage", "runs", "jobs", "hours of a run", "GPU-hours", "how"]]
    for stage in STAGES:
        found = [
            estimate
            for key, estimate in state.estimates.items()
            if state.sweep.nodes[key].step.stage == stage
        ]
        if not found:
            continue
        known = [estimate for estimate in found if estimate.minutes is not None]
        hours = sorted({round(estimate.wall_hours, 2) for estimate in known})
        span = "?" if not hours else f"{hours[0]:g}" + (f" to {hours[-1]:g}" if hours[1:] else "")
        gpu_hours = f"{sum(estimate.gpu_hours for estimate in known):,.0f}" if known else "?"
        reasons = list(dict.fromkeys(estimate.why for estimate in found))
        how = reasons[0] + (", ..." if reasons[1:] else "")
        jobs = sum(estimate.jobs for estimate in found)
        rows.append([stage, str(len(found)), str(jobs), span, gpu_hours, how])
    if len(rows) == 1:
        yield "nothing"
        return
    every = state.estimates.values()
    jobs, total = sum(e.jobs for e in every), sum(e.gpu_hours for e in every)
    yield from _align([*rows, ["all", str(len(every)), str(jobs), "", f"{total:,.0f}", ""]])


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
