"""A published ReID model in ONNX form, to compare with."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.evaluation.distance import FloatArray
from vills.onnx import load_session

DEFAULT_SIZE = (256, 128)
"""Height and width, px, where the model leaves them open."""


class OnnxReid:
    """Feature of one crop by an ONNX model that takes BGR values of 0 to 255.

    The layout is read from the input's shape: channels last (OpenVINO's models, such as
    person-reidentification-retail-0287) or channels first. The crop is resized bilinearly.
    """

    def __init__(self, path: Path) -> None:
        """Open the model.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not an ONNX model, or one whose input is no single colour image.
        """
        self._session = load_session(path)
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or 3 not in (shape[1], shape[3]):
            raise ValueError(
                f"{path.name} takes {[(entry.name, entry.shape) for entry in inputs]}. Allowed: "
                "one input, [N, H, W, 3] or [N, 3, H, W]. What to do: set evaluate.*.onnx_weights "
                "to a model that maps a person crop to a feature."
            )
        self._name = inputs[0].name
        self._channels_last = shape[3] == 3
        size = shape[1:3] if self._channels_last else shape[2:4]
        self._size = tuple(
            side if isinstance(side, int) else default
            for side, default in zip(size, DEFAULT_SIZE, strict=True)
        )

    def __call__(self, image: NDArray[np.uint8]) -> FloatArray:
        """Describe an RGB image [H, W, 3], float32 [D]."""
        height, width = self._size
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        pixels = resized[None, :, :, ::-1].astype(np.float32)  # BGR [1, H, W, 3]
        if not self._channels_last:
            pixels = pixels.transpose(0, 3, 1, 2)
        output = self._session.run(None, {self._name: np.ascontiguousarray(pixels)})[0]
        return np.asarray(output, np.float32).reshape(-1)
