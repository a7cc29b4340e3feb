"""Parameters of evaluate@data set: protocols and baselines."""

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
    """Curated data set that is searched; empty: the entry's own name."""
    model: str = ""
    """Entry of finetune whose models are scored; empty: that of the entry's own name."""
    protocols: list[str] = field(default_factory=lambda: ["image"])
    """Who searches whom, and what counts; docs/protocols.md describes each."""
    split_ids: list[int] = field(default_factory=lambda: [0])
    """Splits to score (PRID2011 has 0 to 9); with several, their mean and deviation too."""
    baselines: list[str] = field(default_factory=lambda: ["histogram", "untrained", "pretrained"])
    """Rows beside the fine-tuned models; onnx scores `onnx_weights`."""
    onnx_weights: str = ""
    """An ONNX ReID model to compare with, below VILLS_WEIGHTS (NHWC, BGR, 0-255)."""
    distance: str = AS_PROTOCOL
    """Distance between features: protocol, cosine, euclidean."""
    average_precision: str = AS_PROTOCOL
    """protocol, step (torchreid, fast-reid) or trapezoid (official MATLAB)."""
    flip: str = AS_PROTOCOL
    """Add the feature of the mirrored image: protocol (on for PRCC and LTCC, as CAL), on, off."""
    neck: str = AS_PROTOCOL
    """Feature before or after the BNNeck: protocol, before (PASS, TransReID), after (CAL)."""
    pooling: str = AS_PROTOCOL
    """How the clips of a tracklet become one feature: protocol, mean, max (MARS's MATLAB)."""
    roles: list[str] = field(default_factory=list)
    """Parts of the feature: coarse, areas, temporal; empty: all that the model has."""
    ranks: list[int] = field(default_factory=lambda: [1, 5, 10, 20])
    """Ranks of the CMC."""
    fars: list[float] = field(default_factory=lambda: [0.01, 0.001, 0.0001])
    """sigset: false accept rates at which TAR is read."""
    query_frame: str = "first"
    """image_to_video: the frame of a query tracklet that is the query image."""
    sampling: str = "all"
    """Clips of a tracklet: all (spread, every frame once), dense (consecutive, every frame once),
    evenly (one clip), begin (one clip, first frame of each part)."""
    num_frames: int = 8
    """Frames per clip of a tracklet."""
    rerank: bool = False
    """A second row of every model after k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)."""
    bootstrap: int = 1000
    """Resamples of the people behind each 95 % confidence interval (0: none)."""
    batch_size: int = 64
    """Images per forward. It names the run: a product of matrices of another number of rows differs
    in the last bits, and so may a score."""
    seed: int = 0
    """Seed of untrained weights, random query frames, single-shot draws and resamples."""
    threads_per_rank: int = 2
    """CPU threads of a process; sums differ in the last bits with their number."""

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
