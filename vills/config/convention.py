"""How a foreign model takes its pictures: stated in parameters or in its file, never assumed.

A statement is words in any order, such as

    rgb 0-1 mean 0.485 0.456 0.406 std 0.229 0.224 0.225
    bgr 0-255 mean 0 std 1 nhwc 256x128 output features

rgb | bgr: the order of the colours. 0-1 | 0-255: the values of black and white before `mean` is
taken off and `std` divides; one number or three in the order of the colours, on that scale.
imagenet, half: the first four in one word. nchw | nhwc, HEIGHTxWIDTH and `output NAME`: only where
the file leaves them open.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from vills.config.checks import ConfigError, build_error

NAMED = {
    "imagenet": "rgb 0-1 mean 0.485 0.456 0.406 std 0.229 0.224 0.225",
    "half": "rgb 0-1 mean 0.5 std 0.5",
}
COMMON = {
    NAMED["imagenet"]: "imagenet: torchreid, CAL, torchvision, DINO, HRNet and SimplePose",
    NAMED["half"]: "half: TransReID, PASS, SOLIDER, VILLS",
    "rgb 0-255 mean 0 std 1": "fast-reid's own export, which normalises inside",
    "rgb 0-1 mean 0 std 1": "networks that normalise inside, as torchvision's detectors",
    "bgr 0-255 mean 0 std 1": "OpenVINO's models, YOLOX since 0.1.1",
}
"""Statements that fit most published files, and whose they are."""
_NEEDED = ("colour", "white", "mean", "std")
_SIZE = re.compile(r"(\d+)x(\d+)")
_COLOURS = {"rgb": "rgb", "bgr": "bgr", "rgb8": "rgb", "bgr8": "bgr"}
_RANGES = {"0-1": "0-1", "normalized_0_1": "0-1", "nominalrange_0_255": "0-255", "0-255": "0-255"}
_KEYS = {
    "colour": _COLOURS,
    "color": _COLOURS,
    "image.bitmappixelformat": _COLOURS,  # of ONNX's own specification, as the next with a dot
    "range": _RANGES,
    "image.nominalpixelrange": {**_RANGES, "normalized_1_1": "0-1 mean 0.5 std 0.5"},
    "layout": {"nchw": "nchw", "nhwc": "nhwc"},
}
"""Keys of a file's metadata -> its values -> words of a statement."""

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Convention:
    """What is known of a model's input; None: not known."""

    colour: str | None = None
    """rgb or bgr."""
    white: float | None = None
    """Value of white before normalisation: 1 or 255."""
    mean: Triple | None = None
    """By colour, in the model's order, on the scale of `white`."""
    std: Triple | None = None
    layout: str | None = None
    """nchw or nhwc."""
    size: tuple[int, int] | None = None
    """Height and width, px."""
    output: str | None = None
    """Which output is meant."""

    @property
    def missing(self) -> list[str]:
        """Names of what decides the values of pixels and is not known."""
        return [
            {"white": "range (0-1 or 0-255)", "colour": "colour order (rgb or bgr)"}.get(name, name)
            for name in _NEEDED
            if getattr(self, name) is None
        ]

    def describe(self) -> str:
        """Write as a statement."""
        words = [self.colour or ""]
        words += [f"0-{self.white:g}"] if self.white else []
        for name, triple in (("mean", self.mean), ("std", self.std)):
            if triple is not None:
                shown = triple if len(set(triple)) > 1 else triple[:1]
                words += [name, *(f"{value:g}" for value in shown)]
        words += [self.layout or ""]
        words += [f"{self.size[0]}x{self.size[1]}"] if self.size else []
        words += [f"output {self.output}"] if self.output else []
        return " ".join(filter(None, words))

    def join(self, other: "Convention") -> "tuple[Convention, list[str]]":
        """Take from `other` what is not known here; and the names of what contradicts."""
        pairs = {own.name: (getattr(self, own.name), getattr(other, own.name)) for own in _FIELDS}
        joined = {name: (b if a is None else a) for name, (a, b) in pairs.items()}
        wrong = [name for name, (a, b) in pairs.items() if None not in (a, b) and a != b]
        if self._is_same_scale(other):
            wrong = [name for name in wrong if name not in ("white", "mean", "std")]
        return Convention(**joined), wrong

    def _is_same_scale(self, other: "Convention") -> bool:
        """Whether both give the same values, on whatever scale mean and std are written."""
        if None in (self.white, self.mean, self.std, other.white, other.mean, other.std):
            return False
        ends = np.array([[[[0] * 3, [255] * 3]]], np.uint8)  # black and white
        own, its = (replace(c, colour="rgb").normalise(ends) for c in (self, other))
        return bool(np.abs(own - its).max() < 1e-3 * max(1.0, np.abs(own).max()))

    def normalise(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 RGB [..., 3] -> float32 [..., 3], the values and colour order of the model."""
        assert not self.missing, "a convention that is not whole normalises nothing"
        assert self.white is not None
        values = image[..., ::-1] if self.colour == "bgr" else image
        scaled = values.astype(np.float32)
        if self.white != 255:
            scaled = scaled / np.float32(255 / self.white)
        mean, std = (np.array(triple, np.float32) for triple in (self.mean, self.std))
        return np.asarray((scaled - mean) / std, np.float32)

    @property
    def keeps_bytes(self) -> bool:
        """Whether the values are the bytes of the picture."""
        return (self.white, self.mean, self.std) == (255, (0, 0, 0), (1, 1, 1))


_FIELDS = fields(Convention)


def parse_convention(field: str, text: str) -> Convention:
    """Parse a statement; '' is an empty one.

    Raises:
        ConfigError: a word that is not known or said twice, or numbers that cannot be meant.
    """
    words = " ".join(NAMED.get(word.lower(), word) for word in text.split()).split()
    found: dict[str, object] = {}

    def put(name: str, value: object) -> None:
        if found.setdefault(name, value) != value:
            raise _refuse(field, text, f"says {name} twice")

    while words:
        word = words.pop(0)
        lower = word.lower()
        size = _SIZE.fullmatch(lower)
        if lower in ("rgb", "bgr"):
            put("colour", lower)
        elif lower in ("0-1", "0-255"):
            put("white", float(lower[2:]))
        elif lower in ("nchw", "nhwc"):
            put("layout", lower)
        elif size and int(size[1]) and int(size[2]):
            put("size", (int(size[1]), int(size[2])))
        elif lower == "output" and words:
            put("output", words.pop(0))
        elif lower in ("mean", "std"):
            put(lower, _take_numbers(words, field, text, lower))
        else:
            raise _refuse(field, text, f"has {word!r}")
    convention = Convention(**found)  # type: ignore[arg-type]
    _check_numbers(convention, field, text)
    return convention


def check_convention(field: str, text: str, *, used: bool, needs: str) -> None:
    """Refuse a statement that cannot be parsed, or that nothing reads because `needs` is not set.

    Raises:
        ConfigError: saying which.
    """
    parse_convention(field, text)
    if text and not used:
        raise build_error(field, text, "empty", "remove it", when=f"without {needs}: it is unused")


def parse_metadata(path: str, metadata: Mapping[str, str]) -> Convention:
    """Read what a file says of itself: `convention` (a statement), or its parts by key.

    Keys, in any case: colour or color, range, mean, std, layout, size; Image.BitmapPixelFormat and
    Image.NominalPixelRange of ONNX's specification.

    Raises:
        ConfigError: a value that cannot be understood.
    """
    lowered = {key.lower(): value.strip() for key, value in metadata.items()}
    if text := lowered.get("convention"):
        return parse_convention(f"{path}, metadata convention", text)
    words = []
    for key, known in _KEYS.items():
        if key in lowered:
            value = lowered[key]
            if value.lower() not in known:
                raise _refuse(f"{path}, metadata {key}", value, "is not known")
            words.append(known[value.lower()])
    for key in ("mean", "std", "size"):
        if key in lowered:
            value = re.sub(r"[\[\](),]+", " ", lowered[key])
            words.append(value if key == "size" else f"{key} {value}")
    return parse_convention(f"{path}, metadata", " ".join(words))


def list_common() -> str:
    """List the common statements for a message."""
    return "; ".join(f"'{statement}' ({whose})" for statement, whose in COMMON.items())


def _take_numbers(words: list[str], field: str, text: str, name: str) -> Triple:
    """Take one or three numbers from the front of `words`."""
    numbers: list[float] = []
    while words and len(numbers) < 3:
        try:
            numbers.append(float(words[0]))
        except ValueError:
            break
        words.pop(0)
    if len(numbers) not in (1, 3) or not np.isfinite(numbers).all():
        raise _refuse(field, text, f"has {len(numbers)} numbers after {name}, not one or three")
    first, second, third = numbers * (3 // len(numbers))
    return first, second, third


def _check_numbers(convention: Convention, field: str, text: str) -> None:
    """Refuse a mean or std that belongs to the other range."""
    white, mean, std = convention.white, convention.mean, convention.std
    if std is not None and min(std) <= 0:
        raise _refuse(field, text, "has a std that is not above 0")
    if white is None:
        return
    far = mean is not None and (max(mean) > white or min(mean) < 0)
    far |= std is not None and max(std) > max(white, 1.0)
    near = white > 1 and std is not None and std != (1, 1, 1) and min(std) < 1
    if far or near:
        raise _refuse(field, text, f"has a mean or std that is not of the range 0-{white:g}")


def _refuse(field: str, text: str, reason: str) -> ConfigError:
    return ConfigError(
        f"{field} = {text!r} {reason}. Allowed: rgb or bgr, 0-1 or 0-255, mean and std with one or "
        "three numbers on that scale, and where the file leaves them open nchw or nhwc, "
        f"HEIGHTxWIDTH, output NAME; common ones: {list_common()}. What to do: state it so."
    )
