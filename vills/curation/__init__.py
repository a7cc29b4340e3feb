"""Curation: raw images and videos to records of people (paper section 4.1)."""

from vills.curation.detector import Detector, build_detector, weights_digest
from vills.curation.source import EmptySourceError, curate_source

__all__ = ["Detector", "EmptySourceError", "build_detector", "curate_source", "weights_digest"]
