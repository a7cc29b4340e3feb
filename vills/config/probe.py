"""Parameters of the probes of pre-training (vills.train.probe)."""

from dataclasses import dataclass

from vills.config.checks import check_range


@dataclass
class ProbeConfig:
    """What a pre-training's features know of persons and cameras; asking trains nothing."""

    every_steps: int = 0
    """Probed every so many steps, and before the first and after the last one; 0 = off. Under 3 %
    of the time where every_steps * image_batch is 10 * num_samples or more (docs/probes.md)."""
    source: str = ""
    """Source of role reid whose training people (of split 0) are asked; empty: tracklets."""
    num_samples: int = 512
    """Crops at most, the same ones in every run; of a person at most 8."""
    min_rank: float = 4.0
    """Effective rank of all roles below which a run warns: 3.0 of 384 were left of a demo that had
    learned nothing, where pixels have 17 and a fine-tuned network 17."""

    def __post_init__(self) -> None:
        check_range("pretrain.probe.every_steps", self.every_steps, low=0)
        # four people, two for each half of LDA
        check_range("pretrain.probe.num_samples", self.num_samples, low=32)
        check_range("pretrain.probe.min_rank", self.min_rank, low=0.0)
