"""All parameters: params.yaml as a typed object."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Annotated

from vills.config.checks import (
    ConfigError,
    Count,
    Length,
    Limits,
    Name,
    Share,
    build_error,
    check_choice,
    check_fields,
)
from vills.config.curate import CurateConfig
from vills.config.evaluate import EvaluateConfig, ReportConfig
from vills.config.finetune import FinetuneConfig
from vills.config.lse import LseConfig
from vills.config.miniature import MiniatureConfig
from vills.config.pretrain import PretrainConfig
from vills.config.protocols import check_layout

_FORMER = (
    "curate.max_corrupt_share",
    "lse.max_corrupt_share",
    "pretrain.checkpoint_minutes",
    "pretrain.checkpoint_steps",
    "finetune.*.checkpoint_minutes",
    "evaluate.*.block_size",
)
"""What the fields were called while they were parts of their stages."""
_RENAMED = {
    "curate.lost_track_buffer": "curate.lost_track_seconds",
    "curate.frame_step": "curate.frames_per_second",
    "curate.min_length": "curate.min_seconds",
    "curate.max_length": "curate.max_seconds",
}
"""What counted frames of a video, and is now a time."""


@dataclass
class OperationConfig:
    """How runs are worked on: nothing here changes a byte of what a run publishes, or names it.

    A field belongs here if a run whose value is changed half-way goes on where it was and leaves
    the bytes of an undisturbed one; tests/pipeline/test_operation.py does that to every field.
    What changes bits (the rows of a matrix product, threads that share a sum) or published curves
    (`log_steps`, `health_steps`, `eval_epochs`) belongs to its stage.

    The values are read when a stage starts: `vills run` takes them from the project's params.yaml,
    a job of a cluster from the copy that was made when it was launched. So a job that is queued,
    running or requeued keeps its values; receipts say which ones a run was worked on with.
    """

    checkpoint_minutes: Annotated[float, Limits(0, 100_000)] = 5.0
    """Largest number of minutes between checkpoints of pretrain and finetune (0 = one after every
    step); there is also one at the end of pretrain and after every epoch of finetune."""
    checkpoint_steps: Count = 0
    """pretrain: steps between additional checkpoints; 0 = by minutes only."""
    max_corrupt_share: Share = 0.05
    """curate, lse: largest share of a source's inputs that may be unreadable; they are counted and
    skipped. Above it the stage fails, also when it collects a finished run."""
    block_size: Annotated[int, Limits(1, 1_000_000)] = 1024
    """evaluate: queries ranked at once; it changes only the use of memory."""

    def __post_init__(self) -> None:
        check_fields("operation", self)


def find_new_name(key: str) -> tuple[str, str]:
    """Return what a dotted key of an older version is called now, and how it differs; or empty."""
    if any(fnmatch(key, former) for former in _FORMER):
        return f"operation.{key.rpartition('.')[2]}", "is no longer part of a run's name"
    return _RENAMED.get(key, ""), "counts seconds of a video, not frames"


@dataclass
class Params:
    """One field per stage, and `operation`, which no stage of dvc.yaml names.

    The entries of finetune and evaluate are complete here. A file gives an entry what is its own,
    and `finetune_defaults` or `evaluate_defaults` the rest (vills.config.compose).
    """

    miniature: MiniatureConfig = field(default_factory=MiniatureConfig)
    """The rendered world."""
    curate: CurateConfig = field(default_factory=CurateConfig)
    """Raw data to records, shards and tracklets."""
    lse: LseConfig = field(default_factory=LseConfig)
    """Local Semantic Extraction: area masks."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """Self-supervised pre-training."""
    finetune_defaults: FinetuneConfig = field(default_factory=FinetuneConfig)
    """Values of every entry of `finetune` that does not set its own. If you change a value here,
    DVC calls `vills run` for every entry; for an entry that sets its own value this takes seconds,
    since its run is finished."""
    finetune: Annotated[dict[Name, FinetuneConfig], Length(0, 1000)] = field(default_factory=dict)
    """Supervised fine-tuning: one stage per entry; an entry lists only values that differ from
    `finetune_defaults`. Without a source, its name is its source."""
    evaluate_defaults: EvaluateConfig = field(default_factory=EvaluateConfig)
    """Values of every entry of `evaluate` that does not set its own."""
    evaluate: Annotated[dict[Name, EvaluateConfig], Length(0, 1000)] = field(default_factory=dict)
    """Scores: one stage per entry; an entry lists only values that differ from `evaluate_defaults`,
    and always its model, which dvc.yaml reads."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """Tables and images."""
    operation: OperationConfig = field(default_factory=OperationConfig)
    """Settings that change no result: change them at any time; no run is renamed or computed again.
    A job, queued or running, keeps the values that it was launched with."""

    def __post_init__(self) -> None:
        check_fields("", self)
        labelled = [key for key, source in self.curate.sources.items() if source.role == "reid"]
        for stage in ("finetune", "evaluate"):
            for name, item in getattr(self, stage).items():
                item.source = item.source or name
                _check_entry(f"{stage}.{name}", item.source, labelled)
        asked = self.pretrain.probe.source
        if asked:
            remedy = f"add curate.sources.{asked} with role reid, or set pretrain.probe.source=''"
            check_choice("pretrain.probe.source", asked, labelled or ("none yet",), remedy)
        self._check_enabled()
        for name, entry in self.evaluate.items():
            entry.model = entry.model or name
            remedy = f"name an entry of finetune, add finetune.{entry.model}, or remove evaluate."
            trained = tuple(self.finetune) or ("none yet",)
            check_choice(f"evaluate.{name}.model", entry.model, trained, remedy + name)
            for protocol in entry.protocols:
                layout = self.curate.sources[entry.source].layout
                check_layout(f"evaluate.{name}.protocols entry", protocol, layout)
        for name, tuned in self.finetune.items():
            if tuned.protocol:
                layout = self.curate.sources[tuned.source].layout
                check_layout(f"finetune.{name}.protocol", tuned.protocol, layout)

    def _check_enabled(self) -> None:
        """Refuse that a stage is switched off whose outs another one reads."""
        readers = {
            "pretrain": [
                f"{stage}.{name}.{key}"
                for stage, key in (("finetune", "initialisations"), ("evaluate", "baselines"))
                for name, entry in getattr(self, stage).items()
                if "pretrained" in getattr(entry, key)
            ],
            "lse": ["pretrain.areas"] if self.pretrain.enabled and self.pretrain.areas else [],
        }
        for stage, fields in readers.items():
            if fields and not getattr(self, stage).enabled:
                allowed = f"true, since {', '.join(fields)} asks for what it makes"
                remedy = f"set {stage}.enabled=true, or change {', '.join(fields)}"
                raise build_error(f"{stage}.enabled", False, allowed, remedy)


def _check_entry(name: str, source: str, labelled: Sequence[str]) -> None:
    """Refuse an entry such as finetune.market1501 whose source cannot be."""
    if source not in labelled:
        raise ConfigError(
            f"{name} has no source {source!r}. Allowed: {', '.join(labelled) or 'none yet'}. What "
            f"to do: name one of them in {name}.source, add curate.sources.{source} with role "
            f"reid, or remove {name}."
        )
