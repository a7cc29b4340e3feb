"""Parameters of the pretrain stage: UFLA (paper section 3.2, supplement 2)."""

from dataclasses import dataclass, field

from vills.areas import AREAS
from vills.config.checks import ConfigError, check_choice, check_range, check_subset
from vills.config.model import HeadConfig, ModelConfig
from vills.config.probe import ProbeConfig
from vills.config.published import PublishedConfig

MODALITIES = ("image", "image+video")
READINGS = ("default", "literal")
CENTERINGS = ("ema", "sinkhorn")
ALIGNMENTS = ("pairs", "index", "both")
ALIGNMENT_PAIRS = ("all", "hardest")
VIDEO_UNITS = ("video", "tracklet")
TOKENS = ("coarse", "roles")
VIEW_TIMES = ("same", "apart")
PRECISIONS = ("fp32", "bf16")


@dataclass
class ViewConfig:
    """Views of a sample: two global ones for both networks, LSE views for the student only."""

    global_size: list[int] = field(default_factory=lambda: [256, 128])
    """Image view, [height, width] px."""
    frame_size: list[int] = field(default_factory=lambda: [64, 44])
    """Video frame, [height, width] px; padded symmetrically to whole patches."""
    lse_size: list[int] = field(default_factory=lambda: [128, 64])
    """LSE view, [height, width] px."""
    num_frames: int = 8
    """Frames of a clip, T."""
    view_times: str = "same"
    """The two views of a clip show the same frames, or frames of different halves of the tracklet
    (apart): a clip then never holds the frame that L^a compares it with."""
    frame_in_clip: bool = True
    """Whether z^vi is a frame of its clip; else it is another frame of the tracklet."""
    lse_frames: int = 8
    """Frames of a clip that carry LSE views, at most num_frames; 0: images alone have LSE views."""
    lse_views: int = 1
    """LSE views per area."""
    global_scale: list[float] = field(default_factory=lambda: [0.4, 1.0])
    """Area range of the random crop of a global view."""
    lse_scale: list[float] = field(default_factory=lambda: [0.5, 1.0])
    """Area range of the random crop of an LSE view."""
    crop_ratio: list[float] = field(default_factory=lambda: [0.75, 1.333])
    """Aspect range of a random crop, relative to the aspect of what it is cut from."""
    lse_margin: float = 0.1
    """Margin around the tight box of a mask, share of its sides."""
    lse_background: str = "mean"
    """What lies outside the mask: mean fill, or keep."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    jitter: float = 0.8
    """Probability of colour jitter."""
    jitter_strength: list[float] = field(default_factory=lambda: [0.4, 0.4, 0.2, 0.1])
    """Brightness, contrast, saturation, hue."""
    white_balance: float = 0.0
    """Standard deviation of the log gain of each colour channel: what cameras differ in."""
    gray: float = 0.2
    """Probability of greyscale."""
    blur: list[float] = field(default_factory=lambda: [1.0, 0.1, 0.5])
    """Probability of blur in global view 1, global view 2, LSE views."""
    blur_sigma: list[float] = field(default_factory=lambda: [0.1, 2.0])
    """Standard deviation of the blur, px of a view 256 px high; it goes with a view's height."""
    solarize: float = 0.2
    """Probability of solarization in global view 2."""
    erase: float = 0.0
    """Probability that a rectangle of a global view is noise, as in fine-tuning."""

    def __post_init__(self) -> None:
        check_range("pretrain.views.num_frames", self.num_frames, low=1)
        check_range("pretrain.views.lse_frames", self.lse_frames, low=0, high=self.num_frames)
        check_range("pretrain.views.lse_views", self.lse_views, low=1)
        check_choice("pretrain.views.lse_background", self.lse_background, ("mean", "keep"))
        check_choice("pretrain.views.view_times", self.view_times, VIEW_TIMES)
        check_range("pretrain.views.white_balance", self.white_balance, low=0.0, high=1.0)
        for name in ("flip", "jitter", "gray", "solarize", "erase"):
            check_range(f"pretrain.views.{name}", getattr(self, name), low=0.0, high=1.0)
        for name in ("global_scale", "lse_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            check_range(f"pretrain.views.{name} start", low, low=1e-3)
            check_range(f"pretrain.views.{name} end", high, low=low)
        for name in ("global_scale", "lse_scale"):
            check_range(f"pretrain.views.{name} end", getattr(self, name)[1], high=1.0)


@dataclass
class MaskConfig:
    """Block masking at patch embedding (BEiT blocks, DINOv2 ratios)."""

    probability: float = 0.5
    """Share of samples that are masked."""
    min_ratio: float = 0.1
    """Least share of masked patches of a masked sample."""
    max_ratio: float = 0.5
    """Largest share of masked patches of a masked sample."""

    def __post_init__(self) -> None:
        check_range("pretrain.masking.probability", self.probability, low=0.0, high=1.0)
        check_range("pretrain.masking.min_ratio", self.min_ratio, low=0.0, high=self.max_ratio)
        check_range("pretrain.masking.max_ratio", self.max_ratio, low=0.0, high=0.9)


@dataclass
class OptimConfig:
    """AdamW and its schedules (DINO and PASS values)."""

    base_lr: float = 5e-4
    """Peak rate at 256 images; scaled linearly with the global image batch."""
    min_lr: float = 1e-6
    """Rate at the end of the cosine."""
    warmup_epochs: float = 10.0
    """Linear warm-up, epochs."""
    weight_decay: float = 0.04
    """At the start; no decay on biases, norms, tokens and position tables."""
    weight_decay_end: float = 0.4
    """At the end of the cosine."""
    clip_grad: float = 3.0
    """Global gradient norm; 0 = off."""
    freeze_prototypes_epochs: float = 1.0
    """Prototype layers stand still for so long."""
    momentum: float = 0.996
    """EMA momentum of the teacher at the start; 1 at the end, by a cosine."""
    half_life: float = 0.0
    """Half-life of the teacher's average, share of the run's steps, in place of `momentum`: a
    short run's teacher is then no average of its beginning; 0 = off."""

    def __post_init__(self) -> None:
        check_range("pretrain.optim.base_lr", self.base_lr, low=0.0)
        for name in ("momentum", "half_life"):
            check_range(f"pretrain.optim.{name}", getattr(self, name), low=0.0, high=1.0)
        for name in ("min_lr", "warmup_epochs", "weight_decay", "weight_decay_end", "clip_grad"):
            check_range(f"pretrain.optim.{name}", getattr(self, name), low=0.0)


@dataclass
class PretrainConfig:
    """Self-supervised pre-training on images and videos (eq. 8 to 12)."""

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
    seed: int = 0
    """Initial weights, order of samples, views, masks, drop path."""
    epochs: float = 100.0
    """Passes over the images (over the videos, if there are no images)."""
    max_steps: int = 0
    """Stop after so many steps, schedules included; 0 = no cap."""
    image_batch: int = 1024
    """Images of a step over all processes."""
    video_batch: int = 256
    """Distinct videos of a step over all processes."""
    video_unit: str = "video"
    """What counts as a video: a video file, of whose tracklets one is drawn, or every tracklet (the
    paper's 67,956 videos are curated tracklets): people of one scene are then negatives of L^a."""
    modalities: str = "image+video"
    """image, or image+video (Table 2b)."""
    areas: list[str] = field(default_factory=lambda: list(AREAS))
    """A of eq. 5; [] switches LSE off. Table 2a takes prefixes of upper_body, lower_body, head."""
    reading: str = "default"
    """literal sets eq. 4, 8, 9, 10 and 11 as printed: KoLeo over all tokens, masking after R,
    alignment=index."""
    feature_weight: float = 1.0
    """lambda_1 of eq. 12; 0 = off and not computed."""
    masking_weight: float = 1.0
    """lambda_2 of eq. 12."""
    koleo_weight: float = 3.0
    """lambda_3 of eq. 12."""
    alignment_weight: float = 2.0
    """lambda_4 of eq. 12."""
    alignment: str = "pairs"
    """Eq. 11 as CLIP's InfoNCE over the videos of a step (pairs), or as printed: h^v and h^i
    classify the index y of the video (index); or the sum of both readings."""
    alignment_pairs: str = "all"
    """What a pair is told from: all other videos of a step, by cosines and a learned scale (CLIP's
    InfoNCE); or hardest: the farthest picture of a video against the nearest one of another."""
    alignment_tokens: str = "coarse"
    """What L^a aligns: the coarse token, or all spatial role tokens side by side, as fine-tuning
    uses them (roles)."""
    shuffle_tracklets: bool = False
    """A control: every frame goes to a tracklet at random, so that none tells a person."""
    alignment_samples: int = 0
    """With alignment index: videos other than those of the step that are classified against, drawn
    anew in each step; 0 = all."""
    student_temperature: float = 0.1
    """Softmax temperature of the student."""
    teacher_temperature: float = 0.04
    """Softmax temperature of the teacher after warm-up."""
    teacher_temperature_start: float = 0.04
    """Softmax temperature of the teacher at step 0."""
    temperature_warmup_epochs: float = 0.0
    """Linear warm-up of the teacher's temperature, epochs."""
    centering: str = "ema"
    """Against collapse: ema centers per role and modality, or sinkhorn."""
    center_momentum: float = 0.9
    """EMA of the centers."""
    koleo_tokens: str = "coarse"
    """What L^r spreads: the coarse token, or all spatial role tokens side by side (roles)."""
    koleo_group: int = 0
    """Samples of a KoLeo group within the global batch, with all their tokens in the literal
    reading; 0 = the whole batch."""
    drop_path: float = 0.1
    """Stochastic depth of the student's last block, rising linearly."""
    precision: str = "fp32"
    """fp32, or bf16 by torch autocast."""
    zero_stage: int = 1
    """DeepSpeed ZeRO stage; it decides the form of checkpoints and the order of sums."""
    threads_per_rank: int = 2
    """CPU threads of a process; sums differ in the last bits with their number."""
    health_steps: int = 50
    """Gradient norm per loss term, entropies and spread are measured every so many steps: points
    of the published curves."""
    log_steps: int = 10
    """Losses are journalled every so many steps: points of the published curves."""
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    """What the features know while they are trained."""

    def __post_init__(self) -> None:
        check_choice("pretrain.modalities", self.modalities, MODALITIES)
        check_choice("pretrain.reading", self.reading, READINGS)
        check_choice("pretrain.centering", self.centering, CENTERINGS)
        check_choice("pretrain.precision", self.precision, PRECISIONS)
        check_choice("pretrain.alignment", self.alignment, ALIGNMENTS)
        pairs = ("all",) if self.alignment == "index" else ALIGNMENT_PAIRS
        check_choice("pretrain.alignment_pairs", self.alignment_pairs, pairs)
        check_choice("pretrain.video_unit", self.video_unit, VIDEO_UNITS)
        for name in ("alignment_tokens", "koleo_tokens"):
            check_choice(f"pretrain.{name}", getattr(self, name), TOKENS)
        samples, remedy = self.alignment_samples, "set pretrain.alignment=index, or leave it at 0"
        high = None if self.aligns_index else 0
        check_range("pretrain.alignment_samples", samples, low=0, high=high, remedy=remedy)
        check_choice("pretrain.zero_stage", self.zero_stage, (0, 1, 2, 3))
        check_subset("pretrain.areas", self.areas, AREAS)
        check_range("pretrain.epochs", self.epochs, low=0.0)
        # a group of one has no neighbours: the term would be 0 without a word
        check_range("pretrain.koleo_group", self.koleo_group, low=2 if self.koleo_group else 0)
        check_range("pretrain.image_batch", self.image_batch, low=2)
        check_range("pretrain.video_batch", self.video_batch, low=2)
        for name in ("feature", "masking", "koleo", "alignment"):
            check_range(f"pretrain.{name}_weight", getattr(self, f"{name}_weight"), low=0.0)
        for name in ("drop_path", "center_momentum"):
            check_range(f"pretrain.{name}", getattr(self, name), low=0.0, high=1.0)
        for name in ("student_temperature", "teacher_temperature", "teacher_temperature_start"):
            check_range(f"pretrain.{name}", getattr(self, name), low=1e-3)
        for name in ("threads_per_rank", "health_steps", "log_steps"):
            check_range(f"pretrain.{name}", getattr(self, name), low=1)
        self._check_modalities()

    @property
    def aligns_index(self) -> bool:
        """Whether L^a classifies the index of the video; the literal reading does."""
        return self.alignment != "pairs" or self.reading == "literal"

    @property
    def aligns_pairs(self) -> bool:
        """Whether L^a pairs videos with their frames."""
        return self.alignment != "index" and self.reading != "literal"

    def _check_modalities(self) -> None:
        if self.modalities == "image" and self.probe.every_steps and not self.probe.source:
            raise ConfigError(
                f"pretrain.probe.every_steps = {self.probe.every_steps} is not allowed. Allowed: 0 "
                "with pretrain.modalities = image and no pretrain.probe.source, since there are no "
                "tracklets to ask. What to do: name a source of role reid in pretrain.probe.source."
            )
        if self.modalities == "image" and self.alignment_weight:
            raise ConfigError(
                f"pretrain.alignment_weight = {self.alignment_weight} is not allowed. Allowed: 0 "
                "with pretrain.modalities = image, since L^a pairs videos with their frames. "
                "What to do: set pretrain.alignment_weight=0 or pretrain.modalities=image+video."
            )
