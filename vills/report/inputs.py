"""What the report is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vills.config.finetune import FinetuneConfig


@dataclass(frozen=True)
class ReportInputs:
    """Where the published outs lie, and what was evaluated with which models."""

    artifacts: Path
    items: Mapping[str, str]
    """Entry of evaluate -> entry of finetune whose models were scored."""
    sources: Mapping[str, str]
    """Entry of evaluate -> curated data set that was searched."""
    models: Mapping[str, FinetuneConfig]
    """Entries of finetune."""
    runs: Path
    """Folder of all runs, for their times."""

    def get_model_folder(self, model: str, variant: str) -> Path:
        """One fine-tuned model."""
        return self.artifacts / "finetune" / model / variant
