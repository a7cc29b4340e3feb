"""Parameters of finetune@data set (supplement 1 and 2)."""

from dataclasses import dataclass, field

from vills.config.checks import check_choice, check_range, check_subset

REID_MODALITIES = ("image", "video")
INITIALISATIONS = ("pretrained", "scratch")
OPTIMIZERS = ("sgd", "adamw")
TEACHER_OR_STUDENT = ("teacher", "student")


@dataclass
class FinetuneConfig:
    """Teacher's encoder and resampler, BNNeck, cross-entropy and triplet loss."""

    modality: str = "image"
    """What the data set holds: image crops or video tracklets."""
    initialisations: list[str] = field(default_factory=lambda: ["pretrained"])
    """Models trained one after the other: pretrained, scratch (supplement Fig. 2)."""
    network: str = "teacher"
    """Which pre-trained network to start from (the paper's: the teacher)."""
    seed: int = 0
    """Order of samples, augmentation, new layers."""
    input_size: list[int] = field(default_factory=lambda: [256, 128])
    """Height and width, px."""
    num_frames: int = 8
    """Frames of a clip (video)."""
    epochs: int = 120
    """The last epoch is kept, never the best on test."""
    num_ids: int = 16
    """P: people in a batch."""
    num_instances: int = 4
    """K: samples of a person in a batch."""
    optimizer: str = "sgd"
    """sgd with momentum 0.9 (PASS, TransReID), or adamw."""
    lr: float = 4e-4
    """Peak rate."""
    warmup_epochs: float = 20.0
    """Linear warm-up, then a cosine to zero."""
    weight_decay: float = 1e-4
    """On weights only."""
    layer_decay: float = 1.0
    """Rate factor from a block to the one below it."""
    label_smoothing: float = 0.0
    """Of the cross-entropy (PASS, TransReID and SOLIDER: off)."""
    triplet_weight: float = 1.0
    """Weight of the triplet loss beside the cross-entropy's 1."""
    triplet_margin: float = 0.0
    """0 = soft margin."""
    drop_path: float = 0.1
    """Stochastic depth of the last block."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    pad: int = 10
    """Zero padding before a random crop, px."""
    erase: float = 0.5
    """Probability of random erasing."""
    jitter: float = 0.0
    """Probability of brightness, contrast and saturation jitter of +-0.3 (0 in the recipes)."""
    eval_epochs: int = 1
    """Test accuracy is recorded every so many epochs (0: only at the end); it selects nothing."""
    threads_per_rank: int = 2
    """CPU threads of a process."""

    def __post_init__(self) -> None:
        check_choice("finetune.*.modality", self.modality, REID_MODALITIES)
        check_choice("finetune.*.optimizer", self.optimizer, OPTIMIZERS)
        check_choice("finetune.*.network", self.network, TEACHER_OR_STUDENT)
        check_subset("finetune.*.initialisations", self.initialisations, INITIALISATIONS)
        check_range("finetune.*.number of initialisations", len(self.initialisations), low=1)
        for name in ("epochs", "num_frames", "threads_per_rank"):
            check_range(f"finetune.*.{name}", getattr(self, name), low=1)
        check_range("finetune.*.num_ids", self.num_ids, low=2)
        check_range("finetune.*.num_instances", self.num_instances, low=2)
        for name in ("lr", "warmup_epochs", "weight_decay", "triplet_weight", "pad"):
            check_range(f"finetune.*.{name}", getattr(self, name), low=0)
        for name in ("label_smoothing", "layer_decay", "flip", "erase", "jitter", "drop_path"):
            check_range(f"finetune.*.{name}", getattr(self, name), low=0.0, high=1.0)
        check_range("finetune.*.eval_epochs", self.eval_epochs, low=0)
