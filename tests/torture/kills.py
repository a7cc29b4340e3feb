"""Kills at random file operations: the stage is run again until it ends, at the same bits.

All of it on what looks like another machine, in another folder: dvc.lock differs by neither.
"""

import shutil
from pathlib import Path

import numpy as np

from tests.torture.case import SAME, TOLD, WRONG, Ended, build_generator, build_name
from tests.torture.undisturbed import STAGES, Undisturbed, run

MAX_KILLS = 3
DVC_LOCK = ".dvc/tmp/rwlock"
"""DVC writes it in place: one that dies meanwhile leaves half of it, and says so for ever after."""


def run_case(number: int, seed: int, *, reference: Undisturbed, folder: Path) -> Ended:
    """Kill one stage, once to three times, and let it end."""
    draw = build_generator("kill", number, seed)
    stage = STAGES[number % len(STAGES)]
    project = reference.copy(folder / f"{build_name('kill', number)} näme", without=stage)
    by_dvc = draw.random() < 0.25
    command = ("dvc", "repro", "--single-item", stage) if by_dvc else ("vills", "run", stage)
    said = [" ".join(command)]
    for _ in range(1 + int(draw.integers(MAX_KILLS)) if draw.random() < 0.5 else 1):
        kill, whom = draw_kill(draw, reference.counts[stage][by_dvc], by_dvc=by_dvc)
        log = project.folder.with_suffix(".log")
        log.unlink(missing_ok=True)
        status, _ = run(project, *command, log=log, kill=kill, whom=whom, elsewhere=True)
        said.append(f"killed ({whom}) at {kill} of {reference.counts[stage][by_dvc]}: {status}")
    status, output = run(project, *command, elsewhere=True)
    outcome = SAME
    if by_dvc and DVC_LOCK in output:
        (project.folder / DVC_LOCK).unlink()
        said.append(f"{DVC_LOCK} was half written by DVC, and is removed")
        outcome, (status, output) = TOLD, run(project, *command, elsewhere=True)
    fault = f"ends with {status}: {output[-2000:]}" if status else ""
    fault = fault or reference.find_difference(project, stage)
    wanted = reference.project.load_lock()[stage]["outs"]
    if by_dvc and not fault and project.load_lock()[stage]["outs"] != wanted:
        fault = "dvc.lock differs"
    if not fault:
        shutil.rmtree(project.folder)
    said.append(f"wrong: {fault}" if fault else outcome)
    return (WRONG if fault else outcome, "; ".join(said))


def draw_kill(draw: np.random.Generator, count: int, *, by_dvc: bool) -> tuple[str, str]:
    """When, as the hook takes it, and whom."""
    how = str(draw.choice(["before", "after", str(int(2 ** draw.uniform(3, 16)))]))
    alone = by_dvc and not how.isdigit()
    whom = str(draw.choice(["group", "leader", "self"])) if alone else "group"
    return f"{draw.integers(1, count + 1)} {how}", whom
