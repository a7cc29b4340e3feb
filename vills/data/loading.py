"""What a loader hands to a step, and the processes that make it.

Legend: B images and V videos of this rank, T frames of a clip, Tl frames of it with LSE views,
N patches of an image view, Nf of a frame, A areas, K LSE views per area, H x W pixels of a view,
h x w of an LSE view. Pixels are normalised with vills.data.transforms.MEAN and STD.
"""

import pickle
import traceback
from collections.abc import Generator
from dataclasses import dataclass, fields, replace
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self, TypeVar

import torch
from torch import Tensor
from torch._C import _remove_worker_pids
from torch.utils.data import DataLoader, Dataset

from vills.config.environment import read_choice
from vills.data.transforms import MEAN, STD
from vills.errors import LostProcessError
from vills.interrupt import open_shield


@dataclass(frozen=True, slots=True)
class _Batch:
    def to(self, device: torch.device | str) -> Self:
        """Return the batch on `device`."""

        def move(value: Any) -> Any:
            if isinstance(value, tuple):
                return tuple(map(move, value))
            return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True, slots=True)
class PretrainBatch(_Batch):
    """Rows of one step that belong to this rank; a modality that is switched off is None.

    Global views go to both networks, LSE views to the student only. An area whose mask is missing
    has weight 0 and an all-zero view. Areas stand in the order of `pretrain.areas`.
    """

    step: int
    """Step whose rows these are."""
    images: Tensor | None = None
    """[2, B, 3, H, W] global views."""
    image_masks: Tensor | None = None
    """bool [2, B, N], True = the student does not see the patch."""
    image_lse: Tensor | None = None
    """[A, K, B, 3, h, w]; None without areas."""
    image_lse_weight: Tensor | None = None
    """float [A, K, B], 1 or 0 (missing)."""
    image_keys: Tensor | None = None
    """long [B], identifies (seed, epoch, image): noise keyed by it ignores the world size."""
    frames: Tensor | None = None
    """[2, V, T, 3, Hf, Wf] clips, padded to whole patches; [2, V, T + 1, ...] if the frame that
    becomes z^vi is none of them: it is the last."""
    frame_index: Tensor | None = None
    """long [V], position of the frame that becomes z^vi; T if it is not in the clip."""
    frame_masks: Tensor | None = None
    """bool [2, V, Nf], of that frame."""
    clip_lse: Tensor | None = None
    """[A, V, Tl, 3, h, w]; None without areas."""
    clip_lse_weight: Tensor | None = None
    """float [A, V, Tl], 1 or 0 (missing)."""
    clip_lse_index: Tensor | None = None
    """long [A, V, Tl], position in the clip of each LSE frame."""
    video_ids: Tensor | None = None
    """long [V], index of the video; distinct over the global batch."""
    video_keys: Tensor | None = None
    """long [V], as image_keys."""


@dataclass(frozen=True, slots=True)
class ReidBatch(_Batch):
    """Labelled samples: this rank's rows of a PK batch of fine-tuning."""

    inputs: tuple[Tensor, ...]
    """[B, 3, H, W] images, or [B, T, 3, H, W] clips, or both (mixed). Rows of what follows are
    those of the first, then those of the second."""
    pids: Tensor
    """long [rows], relabelled 0..num_ids - 1."""
    camids: Tensor
    """long [rows]."""
    indices: Tensor
    """long [rows], rows of the manifest."""
    keys: Tensor
    """long [rows], identifies (seed, epoch, position in the epoch): for keyed noise."""


def normalise(pixels: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """uint8 [..., 3, H, W] -> float (x / 255 - MEAN) / STD; exactly 0 where weight [...] is 0."""
    values = pixels.float().mul_(1 / (255 * STD)).sub_(MEAN / STD)
    if weight is not None:
        values[weight == 0] = 0.0
    return values


Batch = TypeVar("Batch")
VARIABLE = "VILLS_WORKER_START"
METHODS = ("fork", "spawn")


def get_start_method() -> str:
    """VILLS_WORKER_START: fork (the default) or spawn; no result depends on it.

    Forked workers start in milliseconds and share manifests and masks with their parent. Spawned
    ones import torch again and hold copies; they are for where forking is unsafe, as beside
    libraries whose threads or devices do not survive it.

    Raises:
        ConfigError: if it is neither.
    """
    return read_choice(VARIABLE, METHODS)


def load_batches(
    batches: Dataset[Batch], *, numbers: range, workers: int
) -> Generator[Batch, None, None]:
    """Items `numbers` of `batches`, in order, made by `workers` processes (0: by this one).

    Close it to end early: when it is closed, its processes are gone.

    Raises:
        ConfigError: if VILLS_WORKER_START is not allowed.
        LostProcessError: if one of the processes was killed.
    """
    method = get_start_method()
    if not workers:
        yield from DataLoader(batches, batch_size=None, sampler=numbers)
        return
    with open_shield(method):
        loader: DataLoader[bytes] = DataLoader(
            _Answers(batches),
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            multiprocessing_context=method,
        )
        iterator: Any = iter(loader)
    try:
        for content in iterator:
            answer = pickle.loads(content)
            if isinstance(answer, Exception):
                raise answer
            yield answer
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker"):
            raise LostProcessError(str(error).rstrip(".")) from error
        raise
    finally:
        _kill_workers(iterator)


@dataclass(frozen=True)
class _Answers(Dataset[bytes]):
    """Pickled items, or why there is none, as it was raised.

    Torch would make text of its traceback. What cannot be pickled, as where there are too many open
    files, its processes would tell nobody, and their parent would wait for ever.
    """

    batches: Dataset[Any]

    def __getitem__(self, number: int) -> bytes:
        try:
            return bytes(ForkingPickler.dumps(self.batches[number]))
        except Exception as error:  # noqa: BLE001 - raised again in the parent
            error.add_note(f"in a process that reads batches:\n{traceback.format_exc()}")
            try:
                content = pickle.dumps(error)
                pickle.loads(content)
            except Exception:  # noqa: BLE001 - of whatever class it is
                return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
            return content


def _kill_workers(iterator: Any) -> None:
    """End the processes of torch's iterator at once: they only read.

    Torch's own way waits 5 s for each that is in the middle of a batch, ends with a SIGTERM that is
    blocked in there, and asks for a lock that one which was killed may hold for ever. It is not
    left to the garbage collector either: an error's traceback keeps the iterator alive.
    """
    iterator._shutdown = True
    if iterator._worker_pids_set:  # whose deaths would count as failures
        _remove_worker_pids(id(iterator))
        iterator._worker_pids_set = False
    for worker in iterator._workers:
        worker.kill()
    for worker in iterator._workers:
        worker.join()
    for queue in (*iterator._index_queues, iterator._worker_result_queue):
        queue.cancel_join_thread()
        queue.close()
