"""Protocols by key: what params.yaml names, in the order of a table. One small file per family."""

from vills.evaluation.protocols import (
    image_to_video,
    ltcc,
    market1501,
    mars,
    plain,
    prcc,
    prid2011,
    sigset,
)
from vills.evaluation.protocols.base import (
    ComputeFeatures,
    FeatureChoice,
    Protocol,
    ProtocolError,
    ProtocolResult,
    ProtocolSettings,
    Row,
    TestData,
)
from vills.evaluation.protocols.plain import get_native_protocol

__all__ = [
    "PROTOCOLS",
    "ComputeFeatures",
    "FeatureChoice",
    "Protocol",
    "ProtocolError",
    "ProtocolResult",
    "ProtocolSettings",
    "Row",
    "TestData",
    "get_native_protocol",
]

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        *plain.PROTOCOLS,
        *image_to_video.PROTOCOLS,
        *market1501.PROTOCOLS,
        *prcc.PROTOCOLS,
        *ltcc.PROTOCOLS,
        *mars.PROTOCOLS,
        *prid2011.PROTOCOLS,
        *sigset.PROTOCOLS,
    )
}
