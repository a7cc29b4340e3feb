"""What a `model.json` must say before anything is built by it: names, types and ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from vills.areas import AREAS
from vills.config.checks import (
    LINE,
    ConfigError,
    Length,
    Limits,
    Sha256,
    check_fields,
)
from vills.config.compose import Schema
from vills.config.kinds import load_hints
from vills.config.model import ModelConfig
from vills.errors import UserError

REMEDY = "export or copy the weights again"


class WeightsError(UserError, ValueError):
    """A weights file is refused; the message says which, why, and what to do."""


@dataclass
class Architecture:
    """What a backbone is, without its weights."""

    model: ModelConfig
    areas: Annotated[list[str], AREAS, Length(0, len(AREAS), "areas")]
    video: bool

    def __post_init__(self) -> None:
        check_fields("architecture", self)


@dataclass
class Trained:
    """What fine-tuning adds; null, or nothing: as the backbone has it."""

    num_ids: Annotated[int, Limits(1, 10**9)]
    modality: Annotated[str, ("image", "video", "mixed")]
    neck: Annotated[str, ("bnneck", "none")] = "bnneck"
    input_size: Annotated[
        list[int] | None, Length(2, 2, "numbers, [height, width]"), Limits(1, 2048)
    ] = None
    num_frames: Annotated[int | None, Limits(1, 10_000)] = None

    def __post_init__(self) -> None:
        check_fields("reid", self)


@dataclass
class Description:
    """The part of a model.json that is read here; the rest is for others."""

    kind: Annotated[str, ("backbone", "reid")]
    architecture: Architecture
    file: Annotated[str, LINE]
    sha256: Sha256

    def __post_init__(self) -> None:
        check_fields("", self)


@dataclass
class ReidDescription(Description):
    """The same of a fine-tuned model."""

    reid: Trained


_SCHEMAS: Mapping[str, Schema[Any]] = {
    kind: Schema(name="model", kind=described, noun="entry of a model.json")
    for kind, described in (("backbone", Description), ("reid", ReidDescription))
}


def check_description(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a description, of one of the two kinds, by which no model can be built.

    Raises:
        WeightsError: naming the file and the entry.
    """
    schema = _SCHEMAS[content["kind"]]
    known = {name: content[name] for name in load_hints(schema.kind) if name in content}
    try:
        schema.build(known, origin=str(path))
    except ConfigError as error:
        # its own remedies are for params.yaml
        said = str(error).removeprefix(f"{path}: ").partition(" What to do: ")[0]
        raise WeightsError(f"{path}: {said} What to do: {REMEDY}.") from error
