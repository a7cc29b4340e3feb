"""Parameters of the probes of pre-training (vills.train.probe).

Parameters of the pretrain stage: UFLA (paper section 3.2, supplement 2).
"""

from dataclasses import dataclass, field, fields
from typing import Annotated

from vills.areas import AREAS
from vills.config.checks import (
    Count,
    Epochs,
    Frames,
    Length,
    Limits,
    OptionalName,
    PositiveCount,
    Range,
    Seed,
    Share,
    Size,
    Threads,
    Weight,
    build_error,
    check_choice,
    check_fields,
    check_range,
)
from vills.config.model import HeadConfig, ModelConfig, PublishedConfig


@dataclass
class ProbeConfig:
    """What pre-training's features contain about people and cameras; nothing is trained."""

    every_steps: Count = 0
    """Steps between probes, which also run before the first and after the last step; 0 = off. They
    take under 3 % of the time if every_steps * image_batch >= 10 * num_samples (docs/probes.md)."""
    source: OptionalName = ""
    """Source of role reid whose training people (split 0) are probed; empty = tracklets."""
    # four people, two for each half of LDA
    num_samples: Annotated[int, Limits(32, 1_000_000)] = 512
    """Largest number of crops, at most 8 per person; the same crops in every run."""
    min_rank: Annotated[float, Limits(0, 1_000_000)] = 4.0
    """A run warns if the effective rank of all roles ends lower. Examples: pixels 17, a fine-tuned
    network 17, a demo that had learned nothing 3 of 384."""

    def __post_init__(self) -> None:
        check_fields("pretrain.probe", self)


TOKENS = ("coarse", "roles")


@dataclass
class ViewConfig:
    """Views of a sample: two global ones for both networks, LSE views for the student only."""

    global_size: Size = field(default_factory=lambda: [256, 128])
    """Image view, [height, width] px."""
    frame_size: Size = field(default_factory=lambda: [64, 44])
    """Video frame, [height, width] px; padded on all sides to whole patches."""
    lse_size: Size = field(default_factory=lambda: [128, 64])
    """LSE view, [height, width] px."""
    num_frames: Frames = 8
    """Frames of a clip, T."""
    view_times: Annotated[str, ("same", "apart")] = "same"
    """Frames of a clip's two views: same, or apart (each view from another half of the tracklet, so
    that no clip contains the frame that L^a compares it with)."""
    frame_in_clip: bool = True
    """true: z^vi is a frame of its clip; false: another frame of the tracklet."""
    lse_frames: Annotated[int, Limits(0, 10_000)] = 8
    """Frames of a clip with LSE views, at most num_frames; 0 = only images have them."""
    lse_views: Annotated[int, Limits(1, 100)] = 1
    """LSE views per area."""
    global_scale: Annotated[Range, Limits(1e-3, 1)] = field(default_factory=lambda: [0.4, 1.0])
    """Share of the area that a random crop for a global view keeps, [least, largest]."""
    lse_scale: Annotated[Range, Limits(1e-3, 1)] = field(default_factory=lambda: [0.5, 1.0])
    """Share of the area that a random crop for an LSE view keeps, [least, largest]."""
    crop_ratio: Annotated[Range, Limits(0.01, 100)] = field(default_factory=lambda: [0.75, 1.333])
    """Aspect of a random crop relative to its image's, [least, largest]."""
    lse_margin: Annotated[float, Limits(0, 10)] = 0.1
    """Margin around the tight box of a mask, share of its sides."""
    lse_background: Annotated[str, ("mean", "keep")] = "mean"
    """Pixels outside the mask: mean (filled) or keep."""
    flip: Share = 0.5
    """Probability of a horizontal flip."""
    jitter: Share = 0.8
    """Probability of colour jitter."""
    jitter_strength: Annotated[list[float], Length(4, 4, "numbers"), Limits(0, 1)] = field(
        default_factory=lambda: [0.4, 0.4, 0.2, 0.1]
    )
    """Brightness, contrast, saturation, hue."""
    white_balance: Share = 0.0
    """Standard deviation of each colour channel's log gain, as between cameras; 0 = off."""
    gray: Share = 0.2
    """Probability of greyscale."""
    blur: Annotated[list[float], Length(3, 3, "numbers"), Limits(0, 1)] = field(
        default_factory=lambda: [1.0, 0.1, 0.5]
    )
    """Probability of blur in global view 1, global view 2, LSE views."""
    blur_sigma: Annotated[Range, Limits(1e-3, 100)] = field(default_factory=lambda: [0.1, 2.0])
    """Standard deviation of the blur, px, at view height 256; proportional to the height."""
    solarize: Share = 0.2
    """Probability of solarization in global view 2."""
    erase: Share = 0.0
    """Probability that a rectangle of a global view becomes noise, as in fine-tuning."""

    def __post_init__(self) -> None:
        check_fields("pretrain.views", self)
        check_range("pretrain.views.lse_frames", self.lse_frames, low=0, high=self.num_frames)
        for name in ("global_scale", "lse_scale", "crop_ratio", "blur_sigma"):
            least, largest = getattr(self, name)
            check_range(f"pretrain.views.{name} end", largest, low=least)


@dataclass
class MaskConfig:
    """Block masking at patch embedding (BEiT blocks, DINOv2 ratios)."""

    probability: Share = 0.5
    """Share of samples that are masked."""
    min_ratio: Annotated[float, Limits(0, 0.9)] = 0.1
    """Least share of masked patches of a masked sample."""
    max_ratio: Annotated[float, Limits(0.0, 0.9)] = 0.5
    """Largest share of masked patches of a masked sample."""

    def __post_init__(self) -> None:
        check_fields("pretrain.masking", self)
        check_range("pretrain.masking.min_ratio", self.min_ratio, low=0.0, high=self.max_ratio)


@dataclass
class OptimConfig:
    """AdamW and its schedules (DINO and PASS values)."""

    base_lr: Annotated[float, Limits(0, 100)] = 5e-4
    """Peak rate at 256 images; scaled linearly with the image batch of a step."""
    min_lr: Annotated[float, Limits(0, 100)] = 1e-6
    """Rate at the end of the cosine."""
    warmup_epochs: Epochs = 10.0
    """Linear warm-up, epochs."""
    weight_decay: Annotated[float, Limits(0, 100)] = 0.04
    """Weight decay at the start; biases, norms, tokens and position tables have none."""
    weight_decay_end: Annotated[float, Limits(0, 100)] = 0.4
    """Weight decay at the end of the cosine."""
    clip_grad: Weight = 3.0
    """Largest norm of the whole gradient; 0 = off."""
    freeze_prototypes_epochs: Epochs = 1.0
    """Epochs at the start in which prototype layers stay fixed."""
    momentum: Share = 0.996
    """EMA momentum of the teacher at the start; a cosine brings it to 1."""
    half_life: Share = 0.0
    """In place of `momentum`: half-life of the teacher's average, as a share of all steps (so that
    the teacher of a short run forgets the random start); 0 = off."""

    def __post_init__(self) -> None:
        check_fields("pretrain.optim", self)


@dataclass
class PretrainConfig:
    """Self-supervised pre-training on images and videos (eq. 8 to 12)."""

    enabled: bool = True
    """false: nothing is trained; for a DAG whose models all start from scratch or `published`."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and resampler."""
    heads: HeadConfig = field(default_factory=HeadConfig)
    """Feature, masking and alignment heads."""
    views: ViewConfig = field(default_factory=ViewConfig)
    """Augmented views."""
    masking: MaskConfig = field(default_factory=MaskConfig)
    """What the student does not see."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimizer and schedules."""
    initial: PublishedConfig = field(default_factory=PublishedConfig)
    """Published weights that teacher and student start from; without a file, random ones."""
    seed: Seed = 0
    """Initial weights, order of samples, views, masks, drop path."""
    epochs: Annotated[float, Limits(1e-6, 100_000)] = 100.0
    """Passes over the images (over the videos, if there are no images)."""
    max_steps: Count = 0
    """Largest number of steps; schedules are shortened to it; 0 = no limit."""
    image_batch: Annotated[int, Limits(2, 1_000_000)] = 1024
    """Images of a step, all processes together."""
    video_batch: Annotated[int, Limits(2, 1_000_000)] = 256
    """Distinct videos of a step, all processes together."""
    video_unit: Annotated[str, ("video", "tracklet")] = "video"
    """What counts as a video: video (a file; one of its tracklets is drawn), or tracklet (as the
    paper's 67,956 videos; people of one scene are then negatives of L^a)."""
    modalities: Annotated[str, ("image", "image+video")] = "image+video"
    """image, or image+video (Table 2b)."""
    areas: Annotated[list[str], AREAS] = field(default_factory=lambda: list(AREAS))
    """A of eq. 5; [] = no LSE. Table 2a: the first 1 to 3 of upper_body, lower_body, head."""
    reading: Annotated[str, ("default", "literal")] = "default"
    """default, or literal: eq. 4, 8, 9, 10 and 11 as printed (KoLeo over all tokens, masking after
    R, alignment=index)."""
    feature_weight: Weight = 1.0
    """lambda_1 of eq. 12; 0 = off and not computed."""
    masking_weight: Weight = 1.0
    """lambda_2 of eq. 12."""
    koleo_weight: Weight = 3.0
    """lambda_3 of eq. 12."""
    alignment_weight: Weight = 2.0
    """lambda_4 of eq. 12."""
    alignment: Annotated[str, ("pairs", "index", "both")] = "pairs"
    """Eq. 11: pairs (CLIP's InfoNCE over the videos of a step), index (as printed: h^v and h^i
    classify the index y of the video), or both (their sum)."""
    alignment_pairs: Annotated[str, ("all", "hardest")] = "all"
    """Negatives of a pair: all (all other videos of a step, by cosines and a learned scale: CLIP's
    InfoNCE), or hardest (farthest image of a video against the nearest one of another)."""
    alignment_tokens: Annotated[str, TOKENS] = "coarse"
    """What L^a aligns: coarse (token), or roles (all spatial role tokens, concatenated as in
    fine-tuning)."""
    shuffle_tracklets: bool = False
    """A control: every frame goes to a random tracklet, so no tracklet is one person."""
    alignment_samples: Count = 0
    """alignment index, both: number of videos not in the step to classify against, drawn anew in
    each step; 0 = all."""
    student_temperature: Annotated[float, Limits(1e-3, 100)] = 0.1
    """Softmax temperature of the student."""
    teacher_temperature: Annotated[float, Limits(1e-3, 100)] = 0.04
    """Softmax temperature of the teacher after its warm-up."""
    teacher_temperature_start: Annotated[float, Limits(1e-3, 100)] = 0.04
    """Softmax temperature of the teacher at step 0."""
    temperature_warmup_epochs: Epochs = 0.0
    """Linear warm-up of the teacher's temperature, epochs."""
    centering: Annotated[str, ("ema", "sinkhorn")] = "ema"
    """Against collapse: ema (centers per role and modality), or sinkhorn."""
    center_momentum: Share = 0.9
    """EMA of the centers."""
    koleo_tokens: Annotated[str, TOKENS] = "coarse"
    """What L^r spreads: coarse (token), or roles (all spatial role tokens, concatenated)."""
    koleo_group: Count = 0
    """Samples of a KoLeo group (literal reading: with all tokens); 0 = the whole batch."""
    drop_path: Share = 0.1
    """Stochastic depth of the student's last block, rising linearly from 0 at the first."""
    precision: Annotated[str, ("fp32", "bf16")] = "fp32"
    """fp32, or bf16 by torch autocast."""
    zero_stage: Annotated[int, (0, 1, 2, 3)] = 1
    """DeepSpeed ZeRO, 0 to 3; it changes the form of checkpoints and the order of sums."""
    threads_per_rank: Threads = 2
    """CPU threads of a process; it changes the last bits of sums."""
    health_steps: PositiveCount = 50
    """Steps between measurements of gradient norms per loss, entropies and spread."""
    log_steps: PositiveCount = 10
    """Steps between entries of the losses in the published curves."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """What the features contain during training."""

    def __post_init__(self) -> None:
        check_fields("pretrain", self)
        pairs = ("all",) if self.alignment == "index" else ("all", "hardest")
        check_choice("pretrain.alignment_pairs", self.alignment_pairs, pairs)
        samples, remedy = self.alignment_samples, "set pretrain.alignment=index, or this to 0"
        high = None if self.aligns_index else 0
        check_range("pretrain.alignment_samples", samples, low=0, high=high, remedy=remedy)
        # a group of one has no neighbours: the term would be 0 without a word
        check_range("pretrain.koleo_group", self.koleo_group, low=2 if self.koleo_group else 0)
        if self.modalities == "image" and self.probe.every_steps and not self.probe.source:
            allowed = (
                "0 with pretrain.modalities = image and no pretrain.probe.source, since there are "
                "no tracklets to probe"
            )
            remedy = "name a source of role reid in pretrain.probe.source"
            raise build_error("pretrain.probe.every_steps", self.probe.every_steps, allowed, remedy)
        weights = [field.name for field in fields(self) if field.name.endswith("_weight")]
        if not any(getattr(self, name) for name in weights):
            remedy = f"set one of {', '.join(weights)} above 0"
            raise build_error("the sum of pretrain.*_weight", 0.0, "above 0", remedy)
        if self.modalities == "image" and self.alignment_weight:
            allowed = "0 with pretrain.modalities = image, since L^a pairs videos with their frames"
            remedy = "set pretrain.alignment_weight=0 or pretrain.modalities=image+video"
            raise build_error("pretrain.alignment_weight", self.alignment_weight, allowed, remedy)

    @property
    def aligns_index(self) -> bool:
        """Whether L^a classifies the index of the video; the literal reading does."""
        return self.alignment != "pairs" or self.reading == "literal"

    @property
    def aligns_pairs(self) -> bool:
        """Whether L^a pairs videos with their frames."""
        return self.alignment != "index" and self.reading != "literal"
