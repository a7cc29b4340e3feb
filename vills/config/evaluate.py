"""Parameters of evaluate@data set: protocols and baselines.

Parameters of the report stage.
"""

from dataclasses import dataclass, field
from typing import Annotated

from vills.config.checks import (
    Batch,
    BelowPath,
    Frames,
    Length,
    Limits,
    Line,
    OptionalName,
    Seed,
    SplitIds,
    Threads,
    build_error,
    check_distinct,
    check_fields,
)
from vills.config.convention import check_convention
from vills.config.protocols import PROTOCOLS

AS_PROTOCOL = "protocol"
"""Leave a choice to the protocol, as the literature has it."""
METRICS = ("cosine", "euclidean")
AVERAGE_PRECISIONS = ("step", "trapezoid")
POOLINGS = ("mean", "max")
QUERY_FRAMES = ("first", "middle", "random")
TEST_SAMPLINGS = ("all", "dense", "evenly", "begin")


@dataclass
class EvaluateConfig:
    """Retrieval scores of fine-tuned models, beside baselines."""

    source: OptionalName = ""
    """Curated data set to test on; empty = the one of the entry's name."""
    model: OptionalName = ""
    """Entry of finetune whose models are scored; empty = the one of the same name."""
    protocols: Annotated[list[str], PROTOCOLS, Length(1, len(PROTOCOLS))] = field(
        default_factory=lambda: ["image"]
    )
    """Protocols to score under, by name: see docs/protocols.md."""
    split_ids: SplitIds = field(default_factory=lambda: [0])
    """Splits to score (PRID2011: 0 to 9); with several, also mean and deviation."""
    baselines: Annotated[list[str], ("histogram", "untrained", "pretrained", "onnx")] = field(
        default_factory=lambda: ["histogram", "untrained", "pretrained"]
    )
    """Rows for comparison: histogram, untrained, pretrained, onnx."""
    onnx_weights: BelowPath = ""
    """baseline onnx: a ReID model below VILLS_WEIGHTS."""
    onnx_convention: Line = ""
    """How it takes pixels, such as imagenet; empty: the file says it (docs/weights.md)."""
    distance: Annotated[str, (AS_PROTOCOL, *METRICS)] = AS_PROTOCOL
    """Distance between features: protocol, cosine, euclidean."""
    average_precision: Annotated[str, (AS_PROTOCOL, *AVERAGE_PRECISIONS)] = AS_PROTOCOL
    """AP: protocol, step (torchreid, fast-reid), trapezoid (official MATLAB)."""
    flip: Annotated[str, (AS_PROTOCOL, "on", "off")] = AS_PROTOCOL
    """Add the mirrored image's feature: protocol (on for PRCC, LTCC, as CAL), on, off."""
    neck: Annotated[str, (AS_PROTOCOL, "before", "after")] = AS_PROTOCOL
    """Feature before or after the BNNeck: protocol, before (PASS, TransReID), after (CAL)."""
    pooling: Annotated[str, (AS_PROTOCOL, *POOLINGS)] = AS_PROTOCOL
    """How a tracklet's clips become one feature: protocol, mean, max (MARS's MATLAB)."""
    roles: Annotated[list[str], ("coarse", "areas", "temporal")] = field(default_factory=list)
    """Parts of the feature: coarse, areas, temporal; [] = all that the model has."""
    ranks: Annotated[list[int], Length(1, 100), Limits(1, 1_000_000)] = field(
        default_factory=lambda: [1, 5, 10, 20]
    )
    """Ranks of the CMC."""
    fars: Annotated[list[float], Length(1, 100), Limits(0.0, 1.0)] = field(
        default_factory=lambda: [0.01, 0.001, 0.0001]
    )
    """sigset: false accept rates at which TAR is read."""
    query_frame: Annotated[str, QUERY_FRAMES] = "first"
    """image_to_video: frame of a query tracklet that is the query: first, middle, random."""
    sampling: Annotated[str, TEST_SAMPLINGS] = "all"
    """Clips of a tracklet: all (spread) and dense (consecutive) use every frame once; evenly: one
    clip; begin: one clip, the first frame of each part."""
    num_frames: Frames = 8
    """Frames per clip of a tracklet."""
    rerank: bool = False
    """A second row per model after k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3)."""
    bootstrap: Annotated[int, Limits(0, 1_000_000)] = 1000
    """Bootstrap resamples (of people) for each 95 % confidence interval; 0 = no intervals."""
    batch_size: Batch = 64
    """Images per forward pass; it changes a score's last bits, so it is in the run's name."""
    seed: Seed = 0
    """Seed of untrained weights, random query frames, single-shot draws and resamples."""
    threads_per_rank: Threads = 2
    """CPU threads of a process; it changes the last bits of sums."""

    def __post_init__(self) -> None:
        check_fields("evaluate.*", self)
        for name in ("split_ids", "ranks", "fars"):
            check_distinct(f"evaluate.*.{name}", getattr(self, name))
        check_convention(
            "evaluate.*.onnx_convention",
            self.onnx_convention,
            used=bool(self.onnx_weights),
            needs="onnx_weights",
        )
        if self.onnx_weights and "onnx" not in self.baselines:
            when = "without the baseline onnx: it would be unused"
            remedy = "add onnx to evaluate.*.baselines, or remove the weights"
            raise build_error(
                "evaluate.*.onnx_weights", self.onnx_weights, "empty", remedy, when=when
            )


@dataclass
class ReportConfig:
    """What the report shows."""

    num_strips: Annotated[int, Limits(1, 1000)] = 8
    """Ranked retrieval strips per protocol."""
    strip_length: Annotated[int, Limits(1, 100)] = 8
    """Gallery entries of a strip."""
    num_attention: Annotated[int, Limits(1, 1000)] = 4
    """People whose attention maps are drawn."""

    def __post_init__(self) -> None:
        check_fields("report", self)
