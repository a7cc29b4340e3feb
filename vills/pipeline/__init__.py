"""What a DVC stage is to us. One file beside this one = one stage of dvc.yaml, named alike.

A stage file defines STAGE. The floor above (vills.runner) gives it a run directory, the inputs and
its own sections of params.yaml, and publishes what it leaves in `context.outs`.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vills.config.checks import ConfigError
from vills.config.environment import read_count
from vills.io import find_weights, save_bytes
from vills.progress import Progress

# For annotations only: a stage's code digest must not change with another stage's parameters.
if TYPE_CHECKING:
    from vills.config.curate import CurateConfig
    from vills.config.params import OperationConfig, Params
    from vills.runner.store.journal import Journal

ARTIFACTS = Path("artifacts")
INVENTORIES = Path("data/inventories")
FOLDERS = {
    "VILLS_DATA": "the folder that holds your raw data sets",
    "VILLS_WEIGHTS": "the folder that holds weights files",
}
STAGES = ("miniature", "curate", "lse", "pretrain", "finetune", "evaluate", "report")

Config = TypeVar("Config")
Ranks = Literal["one", "group", "shares"]


@dataclass(frozen=True)
class StageContext:
    """What a stage may touch: its parameters, its inputs, its run directory."""

    item: str
    """Data set of finetune@ and evaluate@, else empty."""
    sections: Mapping[str, Any]
    """Its sections of params.yaml, by dotted name with the item left out."""
    operation: "OperationConfig"
    """How to work on it; no part of what the run is."""
    inputs: Mapping[str, Path]
    """Published outs of earlier stages and files from outside, by name."""
    work: Path
    """Kept from attempt to attempt: a stage goes on there where it was."""
    outs: Mapping[str, Path]
    """Where to leave what is published, by name."""
    journal: "Journal"
    """Metrics by step."""
    guard: Callable[[], None]
    """Raises if another attempt has taken this run over; asked before a commit."""
    progress: Progress
    """Tells the user (label, done, total)."""
    fingerprint: str
    """Of this run; stands beside every number that it reports."""

    def config(self, section: str, kind: type[Config]) -> Config:
        """Return the typed parameters of one section."""
        value = self.sections[section]
        assert isinstance(value, kind)
        return value

    def save_metrics(self, values: Mapping[str, Any]) -> None:
        """Write the stage's metrics file: the few numbers that people compare between runs."""
        content = {"fingerprint": self.fingerprint, **values}
        self._save("metrics", json.dumps(content, indent=1, sort_keys=True, allow_nan=False))

    def save_plot(self, rows: Iterable[Sequence[object]]) -> None:
        """Write the rows of the stage's curves, the first of which names the columns."""
        self._save("plots", "\n".join(",".join(map(str, row)) for row in rows))

    def save_switched_off(self) -> None:
        """Publish outs that hold nothing and say so: DVC's deps are static, so it asks for them."""
        for name, path in self.outs.items():
            if name not in ("metrics", "plots"):
                text = f"params.yaml: {name}.enabled is false\n"
                save_bytes(path / "SWITCHED_OFF", text.encode())
        if "plots" in self.outs:
            self.save_plot([["step"]])
        self.save_metrics({"enabled": False})

    def _save(self, name: str, text: str) -> None:
        save_bytes(self.outs[name], f"{text}\n".encode())


@dataclass(frozen=True)
class Stage:
    """One stage of the DAG."""

    name: str
    sections: tuple[str, ...]
    """Sections of params.yaml that it reads; `{item}` stands for the data set, other names in
    braces for what `names` gives."""
    publishes: Mapping[str, str]
    """Paths of what it publishes, by name, below the project's folder; `{item}` as above."""
    run: Callable[[StageContext], None]
    inputs: Callable[["Params", str], dict[str, Path]] = lambda params, item: {}
    """What it reads, by name; relative paths are below the project's folder."""
    items: Callable[["Params"], tuple[str, ...]] = lambda _: ("",)
    """Data sets that it runs for."""
    is_enabled: Callable[["Params"], bool] = lambda _: True
    """Whether it does anything; if not, it publishes empty outs that say so."""
    names: Callable[["Params", str], Mapping[str, str]] = lambda params, item: {}
    """What stands for a name in `sections`, where it depends on the parameters."""
    ranks: Ranks = "one"
    """In how many processes it may run. one: a single one. group: any number, which form a
    torch.distributed group (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT); all end
    together. shares: any number, which share the work through the run's folder and know of each
    other by RANK and WORLD_SIZE alone; rank 0 ends last. Rank 0 alone publishes and speaks."""
    check: Callable[[Mapping[str, Path], "OperationConfig"], None] = lambda outs, operation: None
    """Refuses outs that the parameters of operation do not allow: before they are committed, and
    whenever a finished run is collected."""

    def outs(self, item: str) -> dict[str, Path]:
        """Return the paths of what it publishes for a data set, by name."""
        return {name: Path(path.format(item=item)) for name, path in self.publishes.items()}

    def list_sections(self, params: "Params", item: str) -> dict[str, str]:
        """Its sections by dotted name, keyed without the part in braces."""
        known = {"item": item, **self.names(params, item)}
        return {section.split(".{")[0]: section.format(**known) for section in self.sections}

    def resolve_sections(self, params: "Params", item: str) -> dict[str, Any]:
        """Return the content of its sections, keyed alike."""
        resolved = {}
        for key, section in self.list_sections(params, item).items():
            value: Any = params
            for part in section.split("."):
                value = value[part] if isinstance(value, dict) else getattr(value, part)
            resolved[key] = value
        return resolved


def count_workers() -> int:
    """Count the processes of a stage: VILLS_WORKERS, else one per core; no result depends on it.

    Raises:
        ConfigError: if it is no number above 0.
    """
    return read_count("VILLS_WORKERS", default=len(os.sched_getaffinity(0)), low=1)


def count_loaders() -> int:
    """Count the processes that load batches: VILLS_LOADERS; no result depends on it.

    Without it, `count_workers` beyond two, else none: a loader in the training's own process reads
    in step order, others pay off beyond two cores.

    Raises:
        ConfigError: if it is no number.
    """
    workers = count_workers()
    return read_count("VILLS_LOADERS", default=workers if workers > 2 else 0)


def get_share() -> tuple[int, int]:
    """(RANK, WORLD_SIZE) that a launcher set, else (0, 1)."""
    return read_count("RANK", default=0), read_count("WORLD_SIZE", default=1, low=1)


def get_folder(variable: str) -> Path:
    """Folder that one of FOLDERS names: of the real data sets, or of weights files.

    Raises:
        ConfigError: if it is not set or no folder.
    """
    value = os.environ.get(variable, "")
    if not value or not Path(value).is_dir():
        raise ConfigError(
            f"{variable} = {value!r} is not a folder. Allowed: {FOLDERS[variable]}. "
            f"What to do: export {variable}=/path/to/it."
        )
    return Path(value)


def get_weights_path(name: str) -> Path:
    """Return a weights file below VILLS_WEIGHTS.

    Raises:
        ConfigError: if the folder or the file is missing, or it is named from elsewhere.
    """
    path = find_weights(name, get_folder("VILLS_WEIGHTS"))
    if path is None:
        raise ConfigError(
            f"weights {name!r} are not below VILLS_WEIGHTS. Allowed: a path below it. What to do: "
            "put the file there and give its path below that folder, or fetch known ones: `vills "
            "weights list`."
        )
    return path


def list_inventories(config: "CurateConfig") -> dict[str, Path]:
    """Return the inventories of raw data, by input; the miniature has none."""
    names = config.sources if config.root == "data" else ()
    return {f"inventory_{name}": INVENTORIES / f"{name}.parquet" for name in names}


def list_weights(**names: str) -> dict[str, Path]:
    """Return the weights files that a stage reads, by input; a name that is empty asks for none.

    Raises:
        ConfigError: as `get_weights_path`.
    """
    return {key: get_weights_path(name) for key, name in names.items() if name}
