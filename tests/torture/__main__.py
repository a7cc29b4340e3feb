"""`make torture`: kills, damages and bad inputs, drawn at random; a table of how they ended.

It can be killed: given again, it goes on with the cases that are left, as long as the code is the
same. Variables: SEED (0), COUNT (kill=100,damage=30,input=300; a kind that is left out is not
tried), CASE=kill-0042 (that one alone), JOBS (2, at once), FOLDER (.torture; what went wrong
stays).
"""

import hashlib
import json
import os
import shutil
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from tests.project import ROOT
from tests.torture import damages, inputs, kills
from tests.torture.base import get_base
from tests.torture.case import KINDS, OUTCOMES, WRONG, Verdict, build_name
from tests.torture.undisturbed import Undisturbed, build_undisturbed

COUNTS = "kill=100,damage=30,input=300"
RUN = {"kill": kills.run_case, "damage": damages.run_case, "input": inputs.run_case}


def main() -> int:
    """Run the cases that are left; 1 if one of all is wrong."""
    seed, case = int(os.environ.get("SEED", "0")), os.environ.get("CASE", "")
    folder = prepare_folder(Path(os.environ.get("FOLDER", ROOT / ".torture")).absolute())
    names = [case] if case else list_names(os.environ.get("COUNT", COUNTS))
    results = folder / f"seed-{seed}.jsonl"
    done = {} if case else load_results(results)
    reference = build_undisturbed(folder / "undisturbed" / "project")
    if any(name.startswith("input") for name in names):
        get_base(reference)
        inputs.import_all()
    work = partial(run_case, seed=seed, reference=reference, folder=folder)
    jobs = int(os.environ.get("JOBS", "2"))
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for verdict in pool.map(work, [name for name in names if name not in done]):
            done[verdict.name] = verdict
            print(f"{verdict.name}: {verdict.outcome} ({verdict.seconds:.0f} s)", flush=True)
            if verdict.outcome == WRONG or case:
                print(f"    {verdict.words}", flush=True)
            if not case:
                with results.open("a") as file:
                    file.write(json.dumps(asdict(verdict)) + "\n")
    print(render_table([done[name] for name in names]))
    return int(any(done[name].outcome == WRONG for name in names))


def run_case(name: str, *, seed: int, reference: Undisturbed, folder: Path) -> Verdict:
    """Run one case; a fault of the harness itself is wrong too."""
    kind, _, number = name.partition("-")
    start = time.monotonic()
    shutil.rmtree(folder / name, ignore_errors=True)
    try:
        outcome, words = RUN[kind](int(number), seed, reference=reference, folder=folder)
    except Exception:  # noqa: BLE001 - the others go on
        outcome, words = WRONG, traceback.format_exc()
    return Verdict(name, outcome, words, round(time.monotonic() - start, 1))


def prepare_folder(folder: Path) -> Path:
    """Empty the folder if another code than the present one was tortured in it."""
    digest = hashlib.sha256()
    for path in sorted([*(ROOT / "vills").rglob("*.py"), *(ROOT / "vills").rglob("*.yaml")]):
        digest.update(path.read_bytes())
    key = folder / "code"
    if not key.exists() or key.read_text() != digest.hexdigest():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        key.write_text(digest.hexdigest())
    return folder


def list_names(counts: str) -> list[str]:
    """Names of the cases of `kind=count,kind=count`."""
    pairs = [pair.partition("=") for pair in counts.split(",")]
    return [build_name(kind, number) for kind, _, count in pairs for number in range(int(count))]


def load_results(path: Path) -> dict[str, Verdict]:
    """What is done already; a line that a kill has cut is left out."""
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    verdicts = [Verdict(**json.loads(line)) for line in lines]
    return {verdict.name: verdict for verdict in verdicts}


def render_table(verdicts: list[Verdict]) -> str:
    """Kind, cases and outcomes."""
    rows = [f"{'kind':8}{'cases':>8}" + "".join(f"{word:>16}" for word in OUTCOMES)]
    for kind in KINDS:
        of = [verdict for verdict in verdicts if verdict.name.startswith(kind)]
        found = Counter(verdict.outcome for verdict in of)
        rows.append(f"{kind:8}{len(of):8}" + "".join(f"{found[word]:16}" for word in OUTCOMES))
    seconds = sum(verdict.seconds for verdict in verdicts)
    return "\n".join([*rows, f"{seconds / 60:.0f} minutes of one job"])


if __name__ == "__main__":
    sys.exit(main())
