"""Runs a function in several gloo processes: `run_ranks(fn, world_size, *args)`.

A fork server imports torch once and forks a clean child per rank: spawning would import torch
anew in each, and forking pytest itself would inherit autograd's threads.
"""

import importlib.util
import inspect
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 300.0
_PRELOAD = ["torch", "torch.distributed", "timm", "vills.distributed"]


def run_ranks(fn: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
    """Call `fn(*args)` on each rank of a gloo group; the ranks' results, in rank order.

    `fn` is a function at the top of its file, which each rank loads from its path. Arguments and
    results are pickled.

    Raises:
        RuntimeError: with the traceback of the first rank that failed.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    source = inspect.getsourcefile(fn)
    assert source is not None
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        (results / "args").write_bytes(pickle.dumps(args))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        children = [
            context.Process(
                target=_run_rank, args=(source, fn.__name__, rank, world_size, port, folder)
            )
            for rank in range(world_size)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(_TIMEOUT_SECONDS)
        late = [rank for rank, child in enumerate(children) if child.is_alive()]
        for child in children:
            child.kill()
            child.join()
        errors = sorted(results.glob("error*"), key=lambda path: path.stat().st_mtime_ns)
        if errors:
            raise RuntimeError(f"{errors[0].name}\n{errors[0].read_text()}")
        if late or any(child.exitcode != 0 for child in children):
            raise RuntimeError(f"ranks {late} hung; exits {[c.exitcode for c in children]}")
        return [pickle.loads((results / f"rank{r}").read_bytes()) for r in range(world_size)]


def local_slice(num_global: int) -> slice:
    """Rows of a global batch that belong to this rank; all of them without a group."""
    from vills import distributed

    share = num_global // distributed.get_world_size()
    return slice(distributed.get_rank() * share, (distributed.get_rank() + 1) * share)


def _run_rank(source: str, name: str, rank: int, world: int, port: int, folder: str) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        CUDA_VISIBLE_DEVICES="",
        GLOO_SOCKET_IFNAME="lo",
    )
    try:
        import torch

        from vills import distributed

        torch.set_num_threads(1)
        args = pickle.loads((Path(folder) / "args").read_bytes())
        distributed.init_process_group(timeout_minutes=4.0)
        result = getattr(_load_module(source), name)(*args)
        (Path(folder) / f"rank{rank}").write_bytes(pickle.dumps(result))
        distributed.destroy_process_group()
    except BaseException:
        (Path(folder) / f"error of rank {rank}").write_text(traceback.format_exc())
        # Not sys.exit: a peer may wait for this rank in a collective, and it must see it go.
        os._exit(1)


def _load_module(source: str) -> Any:
    root = str(Path(__file__).resolve().parents[1])
    if root not in sys.path:
        sys.path.insert(0, root)
    spec = importlib.util.spec_from_file_location(f"ranks_{Path(source).stem}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
