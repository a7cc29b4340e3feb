"""Parameters of evaluate@data set: protocols and baselines.

Parameters of the report stage.
"""

from dataclasses import dataclass, field

from vills.config.checks import ConfigError, check_choice, check_range, check_subset
from vills.config.protocols import PROTOCOLS

AS_PROTOCOL = "protocol"
"""Leave a choice to the protocol, as the literature has it."""
METRICS = ("cosine", "euclidean")
AVERAGE_PRECISIONS = ("step", "trapezoid")
FLIPS = ("on", "off")
NECKS = ("before", "after")
POOLINGS = ("mean", "max")
FEATURE_ROLES = ("coarse", "areas", "temporal")
QUERY_FRAMES = ("first", "middle", "random")
TEST_SAMPLINGS = ("all", "dense", "evenly", "begin")
BASELINES = ("histogram", "untrained", "pretrained", "onnx")


@dataclass
class EvaluateConfig:
    """Retrieval scores of fine-tuned models, beside baselines."""

    source: str = ""
    """Curated data set to search; empty = the one of the entry's name."""
    model: str = ""
    """Entry of finetune whose models are scored; empty = the one of the same name."""
    protocols: list[str] = field(default_factory=lambda: ["image"])
    """Who searches whom, and what counts: see docs/protocols.md."""
    split_ids: list[int] = field(default_factory=lambda: [0])
    """Splits to score (PRID2011: 0 to 9); of several, also mean and deviation."""
    baselines: list[str] = field(default_factory=lambda: ["histogram", "untrained", "pretrained"])
    """Rows beside the models: histogram, untrained, pretrained, onnx."""
    onnx_weights: str = ""
    """baseline onnx: a ReID model below VILLS_WEIGHTS (NHWC, BGR, 0-255)."""
    distance: str = AS_PROTOCOL
    """Between features: protocol, cosine, euclidean."""
    average_precision: str = AS_PROTOCOL
    """protocol, step (torchreid, fast-reid), trapezoid (official MATLAB)."""
    flip: str = AS_PROTOCOL
    """Add the mirrored image's feature: protocol (on for PRCC, LTCC, as CAL), on, off."""
    neck: str = AS_PROTOCOL
    """Feature relative to the BNNeck: protocol, before (PASS, TransReID), after (CAL)."""
    pooling: str = AS_PROTOCOL
    """Clips of a tracklet into one feature: protocol, mean, max (MARS's MATLAB)."""
    roles: list[str] = field(default_factory=list)
    """Parts of the feature: coarse, areas, temporal; [] = all that the model has."""
    ranks: list[int] = field(default_factory=lambda: [1, 5, 10, 20])
    """Ranks of the CMC."""
    fars: list[float] = field(default_factory=lambda: [0.01, 0.001, 0.0001])
    """sigset: false accept rates at which TAR is read."""
    query_frame: str = "first"
    """image_to_video: frame of a query tracklet to ask with: first, middle, random."""
    sampling: str = "all"
    """Clips of a tracklet: all (spread) and dense (consecutive) show every frame once; evenly: one
    clip; begin: one clip, the first frame of each part."""
    num_frames: int = 8
    """Frames per clip of a tracklet."""
    rerank: bool = False
    """A second row per model after k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)."""
    bootstrap: int = 1000
    """Resamples of the people behind each 95 % confidence interval; 0 = none."""
    batch_size: int = 64
    """Images per forward; the last bits of a score depend on it, so it names the run."""
    seed: int = 0
    """Of untrained weights, random query frames, single-shot draws and resamples."""
    threads_per_rank: int = 2
    """CPU threads of a process; the last bits of sums depend on it."""

    def __post_init__(self) -> None:
        check_subset("evaluate.*.protocols", self.protocols, PROTOCOLS)
        check_subset("evaluate.*.baselines", self.baselines, BASELINES)
        check_subset("evaluate.*.roles", self.roles, FEATURE_ROLES)
        for name, allowed in (
            ("distance", METRICS),
            ("average_precision", AVERAGE_PRECISIONS),
            ("flip", FLIPS),
            ("neck", NECKS),
            ("pooling", POOLINGS),
        ):
            check_choice(f"evaluate.*.{name}", getattr(self, name), (AS_PROTOCOL, *allowed))
        check_choice("evaluate.*.query_frame", self.query_frame, QUERY_FRAMES)
        check_choice("evaluate.*.sampling", self.sampling, TEST_SAMPLINGS)
        for name in ("num_frames", "batch_size", "threads_per_rank"):
            check_range(f"evaluate.*.{name}", getattr(self, name), low=1)
        check_range("evaluate.*.ranks entry", min(self.ranks, default=0), low=1)
        check_range("evaluate.*.number of split_ids", len(self.split_ids), low=1)
        check_range("evaluate.*.split_ids entry", min(self.split_ids, default=0), low=0)
        if len(set(self.split_ids)) != len(self.split_ids):
            raise ConfigError(
                f"evaluate.*.split_ids = {self.split_ids} is not allowed. Allowed: each split at "
                "most once. What to do: remove repeats."
            )
        check_range("evaluate.*.bootstrap", self.bootstrap, low=0)
        check_range("evaluate.*.seed", self.seed, low=0)
        for far in self.fars:
            check_range("evaluate.*.fars entry", far, low=0.0, high=1.0)
        if self.onnx_weights and "onnx" not in self.baselines:
            raise ConfigError(
                f"evaluate.*.onnx_weights = {self.onnx_weights!r} is not allowed without the "
                "baseline onnx: nothing would read it. Allowed: empty. What to do: add onnx to "
                "evaluate.*.baselines, or leave the weights out."
            )


@dataclass
class ReportConfig:
    """What the report shows."""

    num_strips: int = 8
    """Ranked retrieval strips per protocol."""
    strip_length: int = 8
    """Gallery entries of a strip."""
    num_attention: int = 4
    """People whose attention is drawn."""

    def __post_init__(self) -> None:
        for name in ("num_strips", "strip_length", "num_attention"):
            check_range(f"report.{name}", getattr(self, name), low=1)
