"""Typed parameters: a dataclass per stage; Hydra composes files, types say what a value is."""
