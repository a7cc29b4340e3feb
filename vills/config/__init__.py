"""Typed parameters: one dataclass per stage, composed and checked by Hydra."""
