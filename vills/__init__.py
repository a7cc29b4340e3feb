"""VILLS: video-image learning to learn semantics for person re-identification."""

__version__ = "0.1.0"
