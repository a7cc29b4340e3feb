"""Parameters of finetune@data set (supplement 1 and 2)."""

from dataclasses import dataclass, field, replace
from typing import Annotated

from vills.config.checks import (
    ConfigError,
    Count,
    Epochs,
    Frames,
    Length,
    Limits,
    Name,
    OptionalName,
    Seed,
    Share,
    Size,
    SplitIds,
    Threads,
    Weight,
    build_error,
    check_choice,
    check_distinct,
    check_fields,
    check_range,
    check_subset,
)
from vills.config.model import PublishedConfig
from vills.config.protocols import PROTOCOLS

INITIALISATIONS = ("pretrained", "scratch")
"""Beside the names of `published`."""
PositiveEpochs = Annotated[int, Limits(1, 100_000)]
Rate = Annotated[float, Limits(0, 100)]


@dataclass
class FinetuneConfig:
    """Teacher's encoder and resampler, BNNeck, cross-entropy and triplet loss."""

    source: OptionalName = ""
    """Curated data set to learn; empty = the one of the entry's name."""
    modality: Annotated[str, ("image", "video", "mixed")] = "image"
    """Inputs: image (crops), video (tracklets), mixed (both in every batch; BRIAR)."""
    initialisations: Annotated[list[Name], Length(1, 100)] = field(
        default_factory=lambda: ["pretrained"]
    )
    """Models, trained one after the other: pretrained, scratch, names of `published` (supplement
    Fig. 2)."""
    published: Annotated[dict[Name, PublishedConfig], Length(0, 100)] = field(default_factory=dict)
    """Files of published weights, {NAME: {file, layout, normalisation}} as pretrain.initial;
    `initialisations` must have each NAME."""
    network: Annotated[str, ("teacher", "student")] = "teacher"
    """Pre-trained network to start from: teacher (the paper's) or student."""
    split_ids: SplitIds = field(default_factory=lambda: [0])
    """Splits to train on, one model per split (PRID2011: 0 to 9)."""
    seed: Seed = 0
    """Order of samples, augmentation, new layers, choice of `num_train_ids`."""
    num_val_ids: Count = 0
    """Number of training people held out for the accuracy per epoch, the same people for any seed
    and `num_train_ids`; 0 = none: accuracy is then measured on the test people."""
    num_train_ids: Count = 0
    """Number of the other training people that are kept, drawn by seed; 0 = all."""
    input_size: Size = field(default_factory=lambda: [256, 128])
    """[height, width], px; multiples of the encoder's patch."""
    num_frames: Frames = 8
    """Frames of a clip (modality image: of tracklets in the accuracy per epoch)."""
    sampling: Annotated[str, ("random", "restricted", "stride", "consecutive", "evenly")] = "random"
    """Frames of a training clip: random (torchreid), restricted (one of each equal part: SINet,
    CAL's tsn), stride (every `stride`-th: TKP, CAL), consecutive, evenly."""
    stride: Frames = 8
    """sampling stride: distance of the frames; no time, as labelled tracklets are image files."""
    max_track: Count = 0
    """Training tracklets are cut into pieces of this many frames (CAL: 64); 0 = not cut."""
    epochs: PositiveEpochs = 120
    """Epochs; the last one is kept, never the best on test."""
    num_ids: Annotated[int, Limits(2, 100_000)] = 16
    """P: people in a batch."""
    num_instances: Annotated[int, Limits(2, 10_000)] = 4
    """K: samples of a person in a batch (of each kind, if mixed)."""
    optimizer: Annotated[str, ("sgd", "adam", "adamw")] = "sgd"
    """sgd with momentum 0.9 (PASS, TransReID), adam (CAL, SINet), adamw (HAP)."""
    lr: Rate = 4e-4
    """Peak rate."""
    lr_of: Annotated[dict[Name, Rate], Length(0, 100)] = field(default_factory=dict)
    """Initialisation -> its own peak rate: random weights need a larger one than pre-trained
    ones."""
    epochs_of: Annotated[dict[Name, PositiveEpochs], Length(0, 100)] = field(default_factory=dict)
    """Initialisation -> its own number of epochs: random weights converge later; pre-trained ones
    would then overfit."""
    bias_lr_factor: Annotated[float, Limits(0, 1000)] = 1.0
    """Rate of biases, divided by that of weights (PASS, TransReID: 2)."""
    schedule: Annotated[str, ("cosine", "steps")] = "cosine"
    """cosine (to zero), or steps (at `milestones`)."""
    milestones: Annotated[list[PositiveEpochs], Length(0, 100)] = field(default_factory=list)
    """schedule steps: epochs after which the rate is multiplied by gamma (CAL: 20, 40)."""
    gamma: Share = 0.1
    """schedule steps: factor at each milestone."""
    warmup_epochs: Epochs = 20.0
    """Linear warm-up, at most `epochs`."""
    weight_decay: Annotated[float, Limits(0, 100)] = 1e-4
    """Weight decay of matrices; nothing else decays."""
    layer_decay: Share = 1.0
    """Rate factor from a block to the one below it (HAP: 0.4)."""
    neck: Annotated[str, ("bnneck", "none")] = "bnneck"
    """bnneck (Luo et al. 2019) or none (HAP: feature straight to the classifier)."""
    label_smoothing: Share = 0.0
    """Label smoothing of the cross-entropy (PASS, TransReID, SOLIDER: 0; CAL, PSTA: 0.1)."""
    identity_weight: Weight = 1.0
    """Weight of the cross-entropy."""
    triplet_weight: Weight = 1.0
    """Weight of the triplet loss; 0 = not computed (CAL)."""
    triplet_margin: Weight = 0.0
    """Margin of the triplet loss; 0 = soft margin."""
    triplet_scale: Weight = 0.0
    """Features are scaled to this length for the triplet loss; 0 = not (PASS, TransReID)."""
    drop_path: Share = 0.1
    """Stochastic depth of the last block, rising linearly from 0 at the first."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    pad: Annotated[int, Limits(0, 1024)] = 10
    """Zero padding before a random crop, px."""
    zoom: Share = 0.0
    """Probability of a random crop of the image enlarged by 1/8 (CAL: 0.5, pad 0)."""
    erase: Share = 0.5
    """Probability of random erasing."""
    jitter: Share = 0.0
    """Probability of brightness, contrast, saturation jitter of +-0.3 (recipes: 0)."""
    white_balance: Share = 0.0
    """Standard deviation of colour channels' log gains, relative to their mean; 0 = off."""
    protocol: Annotated[str, ("", *PROTOCOLS)] = ""
    """Protocol of the accuracy per epoch; empty = image or video, by modality."""
    eval_epochs: Annotated[int, Limits(0, 100_000)] = 1
    """Epochs between measurements of accuracy, which select no model; 0 = only at the end."""
    threads_per_rank: Threads = 2
    """CPU threads of a process; it changes the last bits of sums."""

    def __post_init__(self) -> None:
        check_fields("finetune.*", self)
        if not self.identity_weight and not self.triplet_weight:
            when, remedy = "with triplet_weight 0", "set one of the two: no loss, no training"
            raise build_error(
                "finetune.*.identity_weight", 0, "one of them above 0", remedy, when=when
            )
        if self.triplet_scale and not self.triplet_weight:
            when = "with triplet_weight 0: it would be unused"
            remedy = "set it to 0, or set triplet_weight"
            raise build_error(
                "finetune.*.triplet_scale", self.triplet_scale, "0", remedy, when=when
            )
        self._check_variants()
        self._check_schedule()
        for name, least, remedy in (
            ("num_val_ids", 2, "hold out 2 people or more: a single person is always found"),
            ("num_train_ids", self.num_ids, "keep more people, or lower num_ids"),
        ):
            value = getattr(self, name)
            if value < 0 or 0 < value < least:
                raise build_error(f"finetune.*.{name}", value, f"0, or {least} and more", remedy)
        if self.num_val_ids and self.protocol == "sigset":
            when = "with protocol sigset: training people have no templates"
            remedy = "set finetune.*.protocol to image, video or image_to_video, or num_val_ids=0"
            raise build_error("finetune.*.num_val_ids", self.num_val_ids, "0", remedy, when=when)

    def build_for(self, initialisation: str) -> "FinetuneConfig":
        """Return the parameters of an initialisation: with its own rate and epochs."""
        return replace(
            self,
            lr=self.lr_of.get(initialisation, self.lr),
            epochs=self.epochs_of.get(initialisation, self.epochs),
        )

    @property
    def accuracy_people(self) -> str:
        """Whose accuracy is measured per epoch: val or test."""
        return "val" if self.num_val_ids else "test"

    def _check_schedule(self) -> None:
        field, value = "finetune.*.milestones", list(self.milestones)
        if self.schedule == "steps" and not value:
            remedy = "set milestones, or schedule=cosine"
            raise build_error(
                field, value, "epochs, such as [20, 40]", remedy, when="with schedule steps"
            )
        if self.schedule == "cosine" and value:
            when = "with schedule cosine, which has no milestones"
            raise build_error(field, value, "[]", "set schedule=steps, or milestones=[]", when=when)
        met = {milestone for milestone in value if 1 <= milestone < self.epochs}
        if len(met) < len(value):
            allowed = f"distinct epochs from 1 to {self.epochs - 1}"
            remedy = "name each epoch once, and only epochs before the last one"
            raise build_error(field, value, allowed, remedy, when=f"with epochs = {self.epochs}")

    def _check_variants(self) -> None:
        for name, entry in self.published.items():
            if name in INITIALISATIONS:
                allowed = f"names other than {', '.join(INITIALISATIONS)}"
                raise build_error("finetune.*.published key", name, allowed, "rename it")
            if not entry.file:
                allowed = "a file below VILLS_WEIGHTS"
                raise build_error(f"finetune.*.published.{name}.file", "", allowed, "name it")
            if name not in self.initialisations:
                raise ConfigError(
                    f"finetune.*.published has {name!r}, which finetune.*.initialisations = "
                    f"{list(self.initialisations)} does not name. Allowed: files that a model "
                    f"starts from. What to do: add {name} to initialisations, or remove it."
                )
        starts = (*INITIALISATIONS, *self.published)
        # a start that this entry does not train is no mistake: `finetune_defaults` may name it
        for name in self.lr_of:
            check_choice("finetune.*.lr_of key", name, starts)
        for name, epochs in self.epochs_of.items():
            check_choice("finetune.*.epochs_of key", name, starts)
            # met now: the last start's error should not follow days of training the first
            low = 1 + max(self.milestones, default=0)
            if name in self.initialisations:
                check_range(f"finetune.*.epochs_of.{name}", epochs, low=low)
        check_subset("finetune.*.initialisations", self.initialisations, starts)
        check_distinct("finetune.*.split_ids", self.split_ids)


@dataclass(frozen=True)
class Variant:
    """One model that a fine-tuning makes."""

    name: str
    """Its folder and its curve: pretrained, scratch_split3."""
    initialisation: str
    split_id: int


def list_variants(config: FinetuneConfig) -> list[Variant]:
    """Models in the order of training: every initialisation on every split."""
    plain = config.split_ids == [0]
    return [
        Variant(name if plain else f"{name}_split{split_id}", name, split_id)
        for name in config.initialisations
        for split_id in config.split_ids
    ]


def count_epochs(config: FinetuneConfig, num_variants: int) -> int:
    """Epochs of the first `num_variants` models together."""
    first = list_variants(config)[:num_variants]
    return sum(config.build_for(variant.initialisation).epochs for variant in first)
