"""Bad words: arguments of the commands that write settings, look at data and sweeps, or serve."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.torture.bad_files import use_raw
from tests.torture.bad_values import PLAN, add_traps
from tests.torture.inputs import Input

NAMES = ("nosuch", "../..", "x; touch Y", "/etc/passwd", "a\nb", "$(id)", "a\x1bb", "x" * 300, "")
FOLDERS = ("nosuch", "params.yaml", "fifo", "zero", "loop", "params.yaml/x", "x" * 300)
COUNTS = ("x", "-5", "1e3", "99999999999999999999", "²", "")
SETTINGS: tuple[str, ...] = (
    "",
    "=",
    "=1",
    "nosuch=1",
    "pretrain",
    "pretrain=1",
    "a.b.c=1",
    "profile=",
    "profile=../x",
)
SETTINGS += (
    "pretrain.seed=",
    "pretrain.seed=1\n2",
    "pretrain..seed=1",
    ".seed=1",
    "+x.y=1",
    "~pretrain",
)
SETTINGS += (
    "pretrain.seed={a: 1}",
    "pretrain.seed=!!python/name:os.system",
    "hydra.run.dir=/tmp/x",
)
SETTINGS += ("pretrain.seed=&a [*a]", "pretrain.seed=[", "++pretrain.nosuch=1", "defaults=[x]")
SETTINGS += ("pretrain.seed=${oc.env:HOME}", "pretrain@x=1", "pretrain.seed='1", "--nosuch", "-x")
WORDS: Sequence[tuple[tuple[str, ...], Sequence[str]]] = (
    (("vills", "configure", "profile=tiny", "--force", "{}"), SETTINGS),
    (("vills", "configure", "profile={}", "--force"), NAMES),
    (("launch.py", "own.yaml", "--plan", "{}"), SETTINGS),
    (("launch.py", "{}", "--plan"), (*NAMES, *FOLDERS[2:], "sweeps")),
    ((*PLAN, "--max-parallel={}"), COUNTS),
    ((*PLAN, "--retry={}"), NAMES),
    (("launch.py", "own.yaml", "--cluster={}"), NAMES[:-1]),
    (("launch.py", "status", "{}"), NAMES[:-1]),
    (("launch.py", "logs", "{}", "a"), NAMES),
    (("launch.py", "cancel", "{}"), NAMES),
    (("launch.py", "report", "{}"), NAMES),
    (("vills", "data", "check", "{}"), FOLDERS),
    (("vills", "data", "register", "{}"), NAMES),
    (("vills", "data", "verify", "{}"), NAMES),
    (("vills", "weights", "fetch", "{}"), NAMES),
    (("vills", "weights", "inspect", "{}"), (*FOLDERS, "")),
    (("vills", "weights", "inspect", "plain.safetensors", "--layout={}"), NAMES[:-1]),
    (("vills", "ui", "--port={}"), (*COUNTS, "0", "65536")),
    (("vills", "repro", "--cluster={}"), NAMES[:-1]),
    (("vills", "run", "{}"), (*NAMES, "report@x", "finetune@", "@", "finetune@../x", "lse@a b")),
    (("vills", "extract", "{}", "--weights", "artifacts/pretrain/teacher"), FOLDERS),
    (("vills", "evaluate", "{}", "--layout", "market1501", "--root", "raw/market1501",
      "--protocol", "market1501"), FOLDERS),
    (("vills", "export", "--weights", "{}", "--out", "x.safetensors"), (*FOLDERS, "media")),
    (("vills", "explain", "{}"), (*NAMES, "a/b/c", "a/b/c/d", "mars/mars/scratch/nosuch")),
    (("vills", "scores", "{}"), NAMES[:-1]),
    (("vills", "{}"), NAMES),
)  # fmt: skip
"""A command, in which one word stands for what is no good there."""


def build_word(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """An argument that is no name, no file, no number."""
    words, traps = WORDS[int(draw.integers(len(WORDS)))]
    trap = str(draw.choice(traps))
    given = ["vills", "check"] if valid else [word.replace("{}", trap) for word in words]
    option = next((word for word in words if "{}" in word), "")
    shown = trap.partition("\n")[0].partition("\x1b")[0][:40].strip("~+.-=")
    said = [shown.partition("=")[0] or words[-1], Path(shown).name or words[-1]]
    said += [option.partition("=")[0].strip("-{}") or "nothing", "cell", "STAGE", "name", "empty"]
    env = {"VILLS_WEIGHTS": "weights", "VILLS_DATA": "raw"}

    def prepare(folder: Path) -> None:
        use_raw(folder)
        add_traps(folder)

    what = f"{' '.join(words)[:60]}: {trap[:60]!r}"
    return Input([given], said, what=what, prepare=prepare, env=env, statuses=(1, 2))


TRAIN = ("vills", "run", "pretrain")
SETTINGS_OF_RUNS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "MASTER_PORT": (("x", "-1", "99999", "1.5"), TRAIN),
    "VILLS_LOADERS": (("x", "-1", "1e3", "²", "1000000000"), TRAIN),
    "VILLS_WORKER_START": (("x", "0", "FORK"), TRAIN),
    "VILLS_CLUSTER": (("nosuch", "../x", "Slurm"), (*PLAN[:2], "--wait")),
    "VILLS_TRUSTED_GROUP": (("nosuch_group", "-1", "99999999999999999999"), ("vills", "status")),
    "VILLS_WORKERS": (("x", "0", "-2", "٣"), TRAIN),
    "WORLD_SIZE": (("x", "0", "-1", "1.0"), TRAIN),
    "RANK": (("x", "-1", "7"), TRAIN),
    "LOCAL_RANK": (("x", "-1"), TRAIN),
    "SLURM_PROCID": (("x", "-1"), TRAIN),
    "SLURM_STEP_NUM_TASKS": (("x", "0", "-1"), TRAIN),
    "VILLS_RUNS": (("fifo", "zero", "loop", "params.yaml", "x" * 300), ("vills", "status")),
    "VILLS_DATA": (("fifo", "zero", "loop", "x" * 300), ("vills", "data", "verify", "mars")),
    "VILLS_WEIGHTS": (("fifo", "zero", "loop"), ("vills", "weights", "inspect", "nosuch.pth")),
    "MLFLOW_TRACKING_URI": (
        ("/proc/nosuch", "file:///dev/null/x", "sqlite:////nosuch/x.db", "ftp://x", ":", "x y"),
        ("vills", "track"),
    ),
}
"""A variable of the environment, what it may not be, and a command that asks for it."""


def build_setting(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    """A variable of the environment that says nonsense."""
    name = str(draw.choice(list(SETTINGS_OF_RUNS)))
    traps, command = SETTINGS_OF_RUNS[name]
    trap = str(draw.choice(traps))

    def prepare(folder: Path) -> None:
        add_traps(folder)
        for path in list((folder / "runs" / "pretrain").iterdir()):
            path.rename(folder / path.name)  # to be done again
        for path in (folder / "artifacts" / "pretrain").rglob("*.safetensors"):
            path.unlink()

    env = {"VILLS_TRACKING": "on"} if name == "MLFLOW_TRACKING_URI" else {}
    env |= {} if valid else {name: trap}
    command = ("vills", "check") if valid else command
    return Input([command], [name], what=f"{name}={trap[:60]}", prepare=prepare, env=env)


MORE = (build_word, build_word, build_setting)
