"""One damaged file of a run, or of what it published: the same bits, or a sentence that helps."""

import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np

from tests.damage import DAMAGES
from tests.project import Project
from tests.torture.case import SAME, TOLD, WRONG, Ended, build_generator, build_name, find_fault
from tests.torture.spoil import BREAK, put
from tests.torture.undisturbed import STAGES, Undisturbed, find_run, run

TARGETS = {
    "journal": "journal.jsonl",
    "receipt": "receipt.json",
    "result": "result.json",
    "attempt": "attempts/*",
    "checkpoint": "work/checkpoints/**/*",
    "part": "work/**/*",
    "out": "out/**/*",
}
"""What is damaged, as a pattern below the run's folder; `artifact` is what was published."""
WITH_RIGHTS_OF_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""What root may read then is what the rights of a file let its owner."""
KINDS = ("flip", "cut", "empty", "garbage", "remove", "folder", "other", "no rights")


def run_case(number: int, seed: int, *, reference: Undisturbed, folder: Path) -> Ended:
    """Damage one file of a run that is complete, or was killed, and give its command again."""
    name, draw = build_name("damage", number), build_generator("damage", number, seed)
    stage, damage = STAGES[number % len(STAGES)], str(draw.choice(KINDS))
    killed = draw.random() < 0.5
    project = reference.copy(folder / name, without=stage if killed else "")
    command: tuple[str, ...] = ("vills", "run", stage)
    said = [shlex.join(command), "complete"]
    if killed:
        kill = f"{int(reference.counts[stage][0] * draw.uniform(0.3, 0.98))} before"
        run(project, *command, log=folder / f"{name}.log", kill=kill)
        said[-1] = f"killed at {kill} of {reference.counts[stage][0]}"
    if damage == "no rights" and os.geteuid() == 0:
        command = (*WITH_RIGHTS_OF_OTHERS, *command)
    path = draw_file(draw, project, reference, stage)
    if path is None:
        return (SAME, "; ".join([*said, "nothing was there to be damaged"]))
    said.append(f"{damage}: {path.relative_to(project.folder)}")
    break_file(path, damage, draw)
    status, output = run(project, *command)
    outcome, fault = SAME, ""
    if status != 0:
        outcome, fault = TOLD, find_fault(status, output)
        said.append(output.strip()[-600:])
        if not fault:
            said.append(follow_remedy(project, path, damage, output))
            status, output = run(project, *command)
            fault = f"its remedy leads to {status}: {output.strip()[-600:]}" if status else ""
    fault = fault or reference.find_difference(project, stage)
    if not fault:
        shutil.rmtree(project.folder)
    said.append(f"wrong: {fault}" if fault else outcome)
    return (WRONG if fault else outcome, "; ".join(said))


def draw_file(
    draw: np.random.Generator, project: Project, reference: Undisturbed, stage: str
) -> Path | None:
    """A file of one of TARGETS, each as often as any other; None: the run has not begun."""
    done = find_run(reference.project, stage)
    assert done is not None
    root = project.folder / "runs" / stage.partition("@")[0] / done.name
    found = {target: sorted(root.glob(pattern)) for target, pattern in TARGETS.items()}
    found["artifact"] = [
        path
        for out in reference.list_outs(stage)
        for path in (project.folder / out, *sorted((project.folder / out).rglob("*")))
    ]
    files = {target: [p for p in paths if p.is_file()] for target, paths in found.items()}
    kinds = [target for target, paths in files.items() if paths]
    if not kinds:
        return None
    paths = files[str(draw.choice(kinds))]
    return paths[int(draw.integers(len(paths)))]


def break_file(path: Path, damage: str, draw: np.random.Generator) -> None:
    """Do the damage; names beside it, and hard links of it elsewhere, stay as they are."""
    if damage == "no rights":
        path.chmod(0)
    elif damage == "other":
        put(path, draw_other(path, draw).read_bytes())
    else:
        {**DAMAGES, **BREAK}[damage](path)


def draw_other(path: Path, draw: np.random.Generator) -> Path:
    """A file of another run or another part with the same name, or else the same suffix."""
    runs = next(folder for folder in path.parents if (folder / "runs").is_dir()) / "runs"
    others = [p for p in sorted(runs.rglob("*")) if p.is_file() and p != path]
    for like in (path.name, path.suffix, ""):
        alike = [p for p in others if p.name.endswith(like)]
        if alike:
            break
    return alike[int(draw.integers(len(alike)))]


def follow_remedy(project: Project, path: Path, damage: str, output: str) -> str:
    """Do what a message says: its commands, the removal of what it names, or the rights."""
    output = output[output.rfind("\nvills: ") + 1 :]  # its last words, and no line of progress
    remedy = output.partition("What to do: ")[2]
    done = []
    if damage == "no rights" and "permission" in remedy:
        path.chmod(0o644)
        done.append("the rights are given back")
    for line in re.findall(r"`((?:rm|mv|vills|dvc|chmod) [^`]+)`", remedy):
        run(project, "bash", "-c", line)
        done.append(line)
    if not done and re.search(r"\b(remove|delete|move)\b", remedy):
        for word in re.findall(r"[\w./@-]+", output):
            named = (project.folder / word.rstrip(".")).resolve()
            inside = project.folder.resolve() in named.parents
            if inside and named.is_relative_to(project.folder / "runs") and named.exists():
                shutil.rmtree(named) if named.is_dir() else named.unlink()
                done.append(f"removed {word}")
    return f"remedy: {', '.join(done) or 'the same command again'}"
