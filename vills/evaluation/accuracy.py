"""Accuracy after an epoch of fine-tuning: recorded (supplement Fig. 2), never selecting.

That of the test people, or of people held out of training if there are any.
"""

import numpy as np
import pyarrow as pa

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.protocols import get_data_set
from vills.data.records import SCHEMA, Manifest
from vills.data.reid import ReidData
from vills.evaluation.entries import Entries, build_test_data, set_column
from vills.evaluation.feature_cache import FeatureCache
from vills.evaluation.features import NetworkFeatures, Sampling
from vills.evaluation.protocols import (
    PROTOCOLS,
    Protocol,
    ProtocolError,
    ProtocolSettings,
    TestData,
    get_native_protocol,
)
from vills.evaluation.protocols.retrieval import RetrievalProtocol
from vills.models.reid import ReidModel

RANKS = (1, 5, 10)


def compute_accuracy(
    model: ReidModel, *, data: ReidData, config: FinetuneConfig, batch_size: int = 64
) -> dict[str, float]:
    """Compute mAP, R-1, R-5 and R-10 under `config.protocol`, with all its own choices.

    All clips of a tracklet, first frames as query images, no re-ranking. Where a protocol scores
    several galleries, their mean. Every rank must call: they share the batches, and all get the
    scores. The model is left in the mode (train or eval) that it was in.

    Raises:
        ProtocolError: the data set lacks what the protocol needs.
    """
    protocol = _find_protocol(data, config)
    features = NetworkFeatures(
        model,
        input_size=config.input_size,
        batch_size=batch_size,
        sampling=Sampling("all", config.num_frames),
    )
    result = protocol.run(
        FeatureCache(features),
        data=_build_scored(data, protocol),
        settings=ProtocolSettings(ranks=RANKS),
    )
    row = result.rows[-1]
    return {name: float(row[name] or 0.0) for name in ("mAP", *(f"R-{rank}" for rank in RANKS))}


def check_accuracy(*, data: ReidData, config: FinetuneConfig) -> None:
    """Refuse, before the first epoch, data that `config.protocol` cannot score.

    Raises:
        ProtocolError: saying what test people lack.
        ConfigError: saying what people held out of training lack.
    """
    protocol = _find_protocol(data, config)
    scored = _build_scored(data, protocol)
    if data.val is None:
        protocol.select(scored, ProtocolSettings())
        return
    try:
        # whether anybody has a true match is up to the labels, not to features
        protocol.run(
            lambda entries, choice: np.ones((len(entries), 1), np.float32),
            data=scored,
            settings=ProtocolSettings(ranks=RANKS),
        )
    except ProtocolError as error:
        raise ConfigError(
            f"finetune.*.num_val_ids = {config.num_val_ids} of {data.name} is not allowed: "
            f"{str(error).split(' What to do: ')[0]} Allowed: held-out people whom the protocol "
            "can score. What to do: hold out more, choose another finetune.*.protocol, or set "
            "num_val_ids to 0."
        ) from error


def build_val_data(data: ReidData, *, protocol: Protocol) -> TestData:
    """Build what `protocol` sees of the people who are held out of `data`.

    Every record asks and is searched: what has the person in the same camera is junk, the record
    itself with it, so that a person must be found in other cameras. Protocols that choose by camera
    (PRCC, PRID2011) find both sides apart. Where cameras need not be known, a record of an unknown
    one has a camera of its own, and only itself for junk. MARS asks with one tracklet per person
    and camera, as its release does, and says by protocol whether the others alone are searched. The
    gallery has no strangers and few people: these are not the scores of a test split.
    """
    assert data.val is not None
    manifest = data.val
    if get_data_set(protocol.name) == "mars":
        views = np.stack([manifest.column("pid"), manifest.column("camid")], axis=1)
        _, first = np.unique(views, axis=0, return_index=True)
        others = np.setdiff1d(np.arange(len(manifest)), first)
        query, gallery = (manifest.take(rows) for rows in (np.sort(first), others))
        return TestData(Entries(query, data.reader), Entries(gallery, data.reader))
    if isinstance(protocol, RetrievalProtocol) and not protocol.needs_cameras:
        camids = manifest.column("camid")
        own = camids.max(initial=-1) + 1 + np.arange(len(camids))
        told = pa.array(np.where(camids < 0, own, camids), SCHEMA.field("camid").type)
        manifest = Manifest(set_column(manifest.table, "camid", told))
    records = Entries(manifest, data.reader)
    return TestData(records, records)


def _build_scored(data: ReidData, protocol: Protocol) -> TestData:
    return build_test_data(data) if data.val is None else build_val_data(data, protocol=protocol)


def _find_protocol(data: ReidData, config: FinetuneConfig) -> Protocol:
    """Take that of the parameters; else image or video, by modality; mixed by what is searched."""
    if config.protocol:
        return PROTOCOLS[config.protocol]
    if config.modality != "mixed":
        return get_native_protocol(config.modality)
    kinds = set(data.gallery.column("kind").astype(str).tolist())
    return get_native_protocol("video" if "tracklet" in kinds else "image")
