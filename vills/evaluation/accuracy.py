"""Test accuracy after an epoch of fine-tuning: recorded (supplement Fig. 2), never selecting."""

from vills.config.finetune import FinetuneConfig
from vills.data.reid import ReidData
from vills.evaluation.entries import Entries
from vills.evaluation.features import FeatureCache, NetworkFeatures
from vills.evaluation.protocols import RetrievalSettings, get_native_protocol, select_entries
from vills.models.reid import ReidModel


def compute_accuracy(
    model: ReidModel,
    *,
    data: ReidData,
    config: FinetuneConfig,
    batch_size: int = 64,
    workers: int = 0,
) -> dict[str, float]:
    """Compute mAP, R-1, R-5 and R-10 in the data set's own modality.

    Cosine distance, step AP, all clips of a tracklet, queries not in the gallery. Every rank must
    call: they share the batches, and all get the scores. The model is left in the mode (train or
    eval) that it was in.
    """
    query, gallery = select_entries(
        Entries(data.query, data.reader),
        Entries(data.gallery, data.reader),
        gallery_with_queries=False,
    )
    features = NetworkFeatures(
        model,
        input_size=config.input_size,
        num_frames=config.num_frames,
        batch_size=batch_size,
        workers=workers,
    )
    result = get_native_protocol(gallery.kind).run(
        FeatureCache(features), query=query, gallery=gallery, settings=RetrievalSettings()
    )
    scores = result.scores
    return {"mAP": scores.mean_ap, **{f"R-{rank}": share for rank, share in scores.cmc.items()}}
