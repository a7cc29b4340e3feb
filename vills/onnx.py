"""Opening ONNX models: the only place that meets onnxruntime."""

import hashlib
from pathlib import Path

import onnxruntime

from vills.errors import InputError

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


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
    content = path.read_bytes()
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(
            f"{path} has sha256 {hashlib.sha256(content).hexdigest()}, expected {sha256}. "
            "What to do: fetch the file again, or correct the digest."
        )
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
