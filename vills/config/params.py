"""All parameters: params.yaml as a typed object."""

import re
from dataclasses import dataclass, field

from vills.config.checks import ConfigError, check_choice
from vills.config.curate import CurateConfig
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig
from vills.config.lse import LseConfig
from vills.config.miniature import MiniatureConfig
from vills.config.operation import OperationConfig
from vills.config.pretrain import PretrainConfig
from vills.config.protocols import check_layout
from vills.config.report import ReportConfig


@dataclass
class Params:
    """One field per stage; finetune and evaluate have entries, each of one data set.

    Beside them, `operation`, which no stage of dvc.yaml names.
    """

    miniature: MiniatureConfig = field(default_factory=MiniatureConfig)
    """The embedded world."""
    curate: CurateConfig = field(default_factory=CurateConfig)
    """Raw data to records, shards and tracklets."""
    lse: LseConfig = field(default_factory=LseConfig)
    """Area masks."""
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    """Self-supervised pre-training."""
    finetune_defaults: FinetuneConfig = field(default_factory=FinetuneConfig)
    """What every entry of `finetune` has that says nothing else. A changed default concerns the
    entries that leave it open; DVC calls all of them, and those that set it are found finished."""
    finetune: dict[str, FinetuneConfig] = field(default_factory=dict)
    """Supervised fine-tuning, by entry; without a source, an entry has its data set's name."""
    evaluate_defaults: EvaluateConfig = field(default_factory=EvaluateConfig)
    """What every entry of `evaluate` has that says nothing else."""
    evaluate: dict[str, EvaluateConfig] = field(default_factory=dict)
    """Scores, by entry."""
    report: ReportConfig = field(default_factory=ReportConfig)
    """Tables and pictures."""
    operation: OperationConfig = field(default_factory=OperationConfig)
    """How runs are worked on: changed at any time, it renames no run and recomputes nothing."""

    def __post_init__(self) -> None:
        for stage in ("finetune", "evaluate"):
            for name, item in getattr(self, stage).items():
                item.source = item.source or name
                self._check_item(stage, name)
        if self.pretrain.probe.source:
            self._check_probe(self.pretrain.probe.source)
        for name, entry in self.evaluate.items():
            entry.model = entry.model or name
            self._check_model(name, entry.model)
            for protocol in entry.protocols:
                self._check_protocol(f"evaluate.{name}.protocols entry", entry.source, protocol)
        for name, trained in self.finetune.items():
            if trained.protocol:
                self._check_protocol(f"finetune.{name}.protocol", trained.source, trained.protocol)

    def _list_labelled(self) -> list[str]:
        return [key for key, source in self.curate.sources.items() if source.role == "reid"]

    def _check_probe(self, name: str) -> None:
        remedy = f"add curate.sources.{name} with role reid, or set pretrain.probe.source=''"
        check_choice("pretrain.probe.source", name, self._list_labelled() or ("none yet",), remedy)

    def _check_item(self, stage: str, name: str) -> None:
        own, sources = getattr(self, stage)[name].source, self._list_labelled()
        if own not in sources:
            raise ConfigError(
                f"{stage}.{name} has no source {own!r}. Allowed: "
                f"{', '.join(sources) or 'none yet'}. What to do: name one of them in "
                f"{stage}.{name}.source, add curate.sources.{own} with role reid, or remove "
                f"{stage}.{name}."
            )
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ConfigError(
                f"{stage} entry {name!r} is not allowed. Allowed: letters, digits, _ and -: it "
                "names a folder and a stage. What to do: rename it."
            )

    def _check_protocol(self, field: str, source: str, protocol: str) -> None:
        check_layout(field, protocol, self.curate.sources[source].layout)

    def _check_model(self, name: str, model: str) -> None:
        if model not in self.finetune:
            raise ConfigError(
                f"evaluate.{name}.model = {model!r} is not allowed. Allowed: "
                f"{', '.join(self.finetune) or 'none yet'}. What to do: name an entry of finetune, "
                f"add finetune.{model}, or remove evaluate.{name}."
            )
