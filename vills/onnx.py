"""ONNX models of others: the only place that meets onnxruntime, and where pixels become inputs.

Legend: n pictures, H x W of the model's input.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vills.config.checks import ConfigError
from vills.config.convention import Convention, list_common, parse_convention, parse_metadata
from vills.errors import InputError
from vills.inputs import read_input
from vills.tensors import describe_faults, read_onnx_constants

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_TYPES: dict[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
}

FloatArray = NDArray[np.float32]
MAX_MODEL = 2**31
"""Bytes of a file: a protocol buffer has no more."""


def load_session(
    path: Path, *, sha256: str | None = None, threads: int = 1
) -> onnxruntime.InferenceSession:
    """Open an ONNX model, on the GPU when this onnxruntime has one, else on the CPU.

    Args:
        path: The model file.
        sha256: Expected digest of the file; not checked when None.
        threads: Threads inside one operator. The count changes the last bits of a result, so it
            is fixed unless the caller asks for another.

    Raises:
        FileNotFoundError: no such file.
        InputError: the digest differs, or the file is no ONNX model.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"No ONNX model at {path}. What to do: put the file below VILLS_WEIGHTS, with the name "
            "that params.yaml gives."
        )
    content = read_input(path, limit=MAX_MODEL)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"{path} has sha256 {hashlib.sha256(content).hexdigest()}, expected {sha256}. "
            "What to do: fetch the file again, or correct the digest."
        )
    _check_constants(path, content)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [name for name in PROVIDERS if name in available]
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    # onnxruntime's exception classes are generated and share no other public base.
    except Exception as error:
        raise InputError(
            f"{path} is not an ONNX model that onnxruntime can open ({error}). What to do: fetch "
            "the file again."
        ) from error


def _check_constants(path: Path, content: bytes) -> None:
    try:
        faults = describe_faults(read_onnx_constants(content), has_masks=True)
    except ValueError as error:
        raise InputError(
            f"{path} is not an ONNX model with all its numbers in it ({error}). What to do: fetch "
            "it again, or export it into one file."
        ) from error
    if faults:
        raise InputError(
            f"{path} holds {faults}. Allowed: numbers. What to do: fetch or export it again."
        )


class PictureModel:
    """A model of pictures whose input is known: by the file's shapes, its metadata, a statement.

    What none of them says is refused, and so is what two of them say differently.
    """

    def __init__(self, path: Path, *, field: str, stated: str) -> None:
        """Open the model.

        Args:
            path: the ONNX file.
            field: parameter that states the convention, for messages.
            stated: its value, see vills.config.convention; '': the file must say it.

        Raises:
            FileNotFoundError: no such file.
            ConfigError: no model of one colour picture, or a convention that is not stated, is
                stated in contradiction, or cannot be met.
            InputError: no ONNX model.
        """
        self.name, self._field = path.name, field
        self._session = load_session(path)
        inputs = self._session.get_inputs()
        shape = list(inputs[0].shape) if len(inputs) == 1 else []
        if len(shape) != 4:
            shown = [(own.name, own.shape) for own in inputs]
            raise self._refuse(
                f"takes {shown}", "one input, [N, 3, H, W] or [N, H, W, 3]",
                "export the network so that it takes pictures of people alone",
            )  # fmt: skip
        self._input, self._shape = inputs[0].name, shape
        self.convention = self._resolve(parse_convention(field, stated))
        self._type = self._find_type(inputs[0].type)
        self._output = self._find_output()
        self._batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input, px."""
        assert self.convention.size is not None
        return self.convention.size

    @property
    def output_shape(self) -> list[int | str]:
        """Shape of the chosen output as the file says it; names where it leaves a side open."""
        shapes = {own.name: own.shape for own in self._session.get_outputs()}
        return list(shapes[self._output])

    def has_room(self, convention: Convention) -> bool:
        """Whether the input can hold the values of a convention: bytes hold nothing but bytes."""
        return self._type is not np.uint8 or convention.keeps_bytes

    def run(self, values: FloatArray) -> FloatArray:
        """Run the model on normalised pictures.

        Args:
            values: [n, H, W, 3], see `Convention.normalise`; a file of a fixed batch gets them in
                parts of its size.

        Returns:
            The chosen output, float32 [n, ...].

        Raises:
            ConfigError: onnxruntime refuses the input, or the output is not one row per picture.
        """
        step = self._batch or max(1, len(values))
        parts = [self._run(values[start : start + step]) for start in range(0, len(values), step)]
        return np.concatenate(parts)

    def _run(self, values: FloatArray) -> FloatArray:
        num = len(values)
        if self._batch is not None:  # the last part of a fixed batch is filled up
            values = np.concatenate([values, values[:1].repeat(self._batch - num, axis=0)])
        if self._type is np.uint8:
            values = np.rint(values)
        if self.convention.layout == "nchw":
            values = values.transpose(0, 3, 1, 2)
        inputs = np.ascontiguousarray(values, self._type)
        try:
            output = self._session.run([self._output], {self._input: inputs})[0]
        except Exception as error:  # see load_session
            raise self._refuse(
                f"cannot be run on an input {list(inputs.shape)} ({error})",
                "a file that takes pictures of the stated layout and size",
                f"correct {self._field}, or export the network again",
            ) from error
        if np.ndim(output) < 2 or len(output) != len(inputs):
            raise self._refuse(
                f"gives {list(np.shape(output))} for {len(inputs)} pictures",
                "an output with a row per picture",
                f"name the right output in {self._field} (output NAME), or export again",
            )
        return np.asarray(output[:num], np.float32)

    def _resolve(self, stated: Convention) -> Convention:
        """Join what the parameters, the metadata and the shape say."""
        try:
            said = parse_metadata(self.name, self._session.get_modelmeta().custom_metadata_map)
        except ConfigError:
            if stated.missing:
                raise
            said = Convention()  # words of another meaning; what counts is stated
        joined, wrong = stated.join(said)
        if wrong:
            raise self._refuse(
                f"says {said.describe()!r} in its metadata, and {self._field} is "
                f"{stated.describe()!r}: {', '.join(wrong)} differ", "one of them",
                f"set {self._field} to '', or correct it; export again if the file is wrong",
            )  # fmt: skip
        by_shape = self._read_shape(joined.layout)
        whole, wrong = by_shape.join(joined)
        if wrong:
            raise self._refuse(
                f"takes {self._shape}, which is not {joined.describe()!r}",
                f"{by_shape.describe()}, as the file has it", f"correct {self._field}",
            )  # fmt: skip
        self._check_whole(whole)
        return whole

    def _read_shape(self, layout: str | None) -> Convention:
        """Read layout, where it is unambiguous, and size; `layout` is what else is known."""
        first, last = self._shape[1] == 3, self._shape[3] == 3
        if not first and not last and all(isinstance(side, int) for side in self._shape[1:]):
            raise self._refuse(
                f"takes {self._shape}", "[N, 3, H, W] or [N, H, W, 3]: three colours",
                "choose a model of colour pictures",
            )  # fmt: skip
        if first != last:
            layout = "nchw" if first else "nhwc"
        sides = self._shape[2:] if layout == "nchw" else self._shape[1:3]
        known = layout is not None and all(isinstance(side, int) and side > 0 for side in sides)
        return Convention(layout=layout, size=(int(sides[0]), int(sides[1])) if known else None)

    def _check_whole(self, convention: Convention) -> None:
        channels = self._shape[3] if convention.layout == "nhwc" else self._shape[1]
        if convention.layout and isinstance(channels, int) and channels != 3:
            raise self._refuse(
                f"takes {self._shape}, which is not {convention.layout}", "three colours",
                f"correct {self._field}",
            )  # fmt: skip
        missing = list(convention.missing)
        missing += [] if convention.layout else ["layout (nchw or nhwc)"]
        missing += [] if convention.size else ["size (HEIGHTxWIDTH)"]
        if missing:
            known = convention.describe()
            raise self._refuse(
                f"takes {self._shape} and neither it nor {self._field} says: {', '.join(missing)}"
                + (f" (known: {known})" if known else ""),
                "what the network was trained with; a wrong one gives plausible wrong numbers",
                f"read its publisher's preprocessing and set {self._field}. Common: "
                f"{list_common()}",
            )

    def _find_type(self, kind: str) -> type[np.generic]:
        """Find the number type of the input; bytes hold nothing but bytes."""
        is_bytes = kind == "tensor(uint8)"
        if kind not in _TYPES or (is_bytes and not self.convention.keeps_bytes):
            stated = self.convention.describe()
            raise self._refuse(
                f"takes {kind} and is said to take {stated!r}",
                f"{', '.join(_TYPES)}; tensor(uint8) with 0-255 mean 0 std 1 only",
                f"correct {self._field}, or export the network with a float input",
            )
        return _TYPES[kind]

    def _find_output(self) -> str:
        """Find the output that is meant."""
        names = [own.name for own in self._session.get_outputs()]
        stated = self.convention.output
        if stated in names:
            return str(stated)
        if stated is None and len(names) == 1:
            return str(names[0])
        shown = ", ".join(f"{own.name} {own.shape}" for own in self._session.get_outputs())
        raise self._refuse(
            f"has the outputs {shown}" + (f", none of them {stated!r}" if stated else ""),
            "one that is named", f"add `output NAME` to {self._field}",
        )  # fmt: skip

    def _refuse(self, found: str, allowed: str, remedy: str) -> ConfigError:
        return ConfigError(f"{self.name} {found}. Allowed: {allowed}. What to do: {remedy}.")
