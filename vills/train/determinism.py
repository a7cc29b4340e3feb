"""What bit-identity rests on besides the seeds: thread count and deterministic kernels."""

import os

import torch


def set_determinism(threads_per_rank: int) -> None:
    """Refuse another thread count than the receipt says, and ask for deterministic kernels.

    Args:
        threads_per_rank: what the launcher set before torch started; sums over another number of
            threads differ in their last bits.

    Raises:
        RuntimeError: if torch runs with another number of threads.
    """
    if torch.get_num_threads() != threads_per_rank:
        raise RuntimeError(
            f"torch runs with {torch.get_num_threads()} threads, threads_per_rank says "
            f"{threads_per_rank}. What to do: start the stage with `vills run`, or set "
            f"OMP_NUM_THREADS={threads_per_rank} before Python starts."
        )
    # Only warned about on GPUs: the bicubic position table has no deterministic backward there.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    # Filling every fresh tensor with NaN would cost a tenth of a CPU step and prove nothing here.
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
