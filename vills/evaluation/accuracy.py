"""Test accuracy after an epoch of fine-tuning: recorded (supplement Fig. 2), never selecting."""

from vills.config.finetune import FinetuneConfig
from vills.data.reid import ReidData
from vills.evaluation.feature_cache import FeatureCache
from vills.evaluation.features import NetworkFeatures, Sampling
from vills.evaluation.protocols import PROTOCOLS, Protocol, ProtocolSettings, get_native_protocol
from vills.evaluation.splits import build_test_data
from vills.models.reid import ReidModel

RANKS = (1, 5, 10)


def compute_accuracy(
    model: ReidModel,
    *,
    data: ReidData,
    config: FinetuneConfig,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, float]:
    """Compute mAP, R-1, R-5 and R-10 under `config.protocol`, with all its own choices.

    All clips of a tracklet, first frames as query images, no re-ranking. Where a protocol scores
    several galleries, their mean. Every rank must call: they share the batches, and all get the
    scores. The model is left in the mode (train or eval) that it was in.

    Raises:
        ProtocolError: the data set lacks what the protocol needs.
    """
    test = build_test_data(data)
    features = NetworkFeatures(
        model,
        input_size=config.input_size,
        batch_size=batch_size,
        sampling=Sampling("all", config.num_frames),
        workers=workers,
    )
    protocol = _find_protocol(data, config)
    result = protocol.run(FeatureCache(features), data=test, settings=ProtocolSettings(ranks=RANKS))
    row = result.rows[-1]
    return {name: float(row[name] or 0.0) for name in ("mAP", *(f"R-{rank}" for rank in RANKS))}


def check_accuracy(*, data: ReidData, config: FinetuneConfig) -> None:
    """Refuse, before the first epoch, data that `config.protocol` cannot score.

    Raises:
        ProtocolError: saying what is missing.
    """
    _find_protocol(data, config).check(build_test_data(data), ProtocolSettings())


def _find_protocol(data: ReidData, config: FinetuneConfig) -> Protocol:
    """That of the parameters; else image or video, by modality; mixed by what is searched."""
    if config.protocol:
        return PROTOCOLS[config.protocol]
    if config.modality != "mixed":
        return get_native_protocol(config.modality)
    kinds = set(data.gallery.column("kind").astype(str).tolist())
    return get_native_protocol("video" if "tracklet" in kinds else "image")
