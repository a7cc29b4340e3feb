"""Time and memory of ranking, ours beside torchreid's Cython and a plain argsort.

    python benchmarks/ranking.py --torchreid ~/src/deep-person-reid     # needs its Cython built
    python benchmarks/ranking.py --size large                           # Market-1501 + 500k

torchreid's ranking is not in its PyPI package. Build it in a checkout outside this repository:

    git clone https://github.com/KaiyangZhou/deep-person-reid ~/src/deep-person-reid
    cd ~/src/deep-person-reid/torchreid/metrics/rank_cylib
    pip install cython setuptools && python setup.py build_ext --inplace

`--size market`: all methods rank the same precomputed float32 distances of 3,368 queries to 15,913
gallery entries, random, with labels as in Market-1501. Each has a process of its own, and they take
turns, one repetition each, so that a busy machine is busy for all. What one repetition does: from
distances and labels to mAP and CMC. Memory is the peak of the resident set above what the process
held when the distances were loaded.

`--size large`: the same queries among 515,913 entries, from 768-dimensional float32 features;
memory is above the loaded features.

Q is the number of queries, G of gallery entries. Nothing here reads real data. Linux only (/proc).
"""

import argparse
import importlib.util
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vills.evaluation.distance import Distance, FeatureDistance
from vills.evaluation.metrics import compute_scores
from vills.evaluation.ranking import Labels, compute_ranking

NUM_QUERIES, NUM_GALLERY, NUM_DISTRACTORS, NUM_EXTRA = 3368, 15913, 2798, 500_000
NUM_PEOPLE, NUM_CAMERAS, NUM_DIMENSIONS = 750, 6, 768
BLOCK_SIZE = 1024
MAX_RANK = 50
MAP_TOLERANCE = 1e-5
"""torchreid sums in float32, and entries at equal distance have no order there."""


class MatrixDistance:
    """Distances that exist already, [Q, G]."""

    def __init__(self, distmat: np.ndarray) -> None:
        self.distmat = distmat
        self.num_queries, self.num_gallery = distmat.shape

    def compute_block(self, start: int, stop: int) -> np.ndarray:
        """Return rows start..stop-1, no copy."""
        return self.distmat[start:stop]


class Result(NamedTuple):
    """One repetition."""

    seconds: float
    peak_bytes: int
    mean_ap: float


def make_labels(num_extra: int = 0) -> tuple[Labels, Labels]:
    """Query and gallery as in Market-1501, and distractors more."""
    rng = np.random.default_rng(1501)
    num_own = NUM_GALLERY - NUM_DISTRACTORS
    query_pids = np.sort(np.arange(NUM_QUERIES) % NUM_PEOPLE) + 1
    people = np.sort(np.arange(num_own) % NUM_PEOPLE) + 1
    pids = np.concatenate([np.zeros(NUM_DISTRACTORS, dtype=np.int64), people])
    pids = np.concatenate([pids, np.zeros(num_extra, dtype=np.int64)])
    query = Labels(query_pids, rng.integers(NUM_CAMERAS, size=NUM_QUERIES))
    return query, Labels(pids, rng.integers(NUM_CAMERAS, size=len(pids)))


def rank_ours(distance: Distance, query: Labels, gallery: Labels) -> float:
    """Return this repository."""
    ranking = compute_ranking(distance, query=query, gallery=gallery, block_size=BLOCK_SIZE)
    scores = compute_scores(
        ranking.hit_ranks,
        pids=query.pids,
        ranks=range(1, MAX_RANK + 1),
        num_gallery=len(gallery),
    )
    return float(scores.row["mAP"] or 0)


def rank_naive(distmat: np.ndarray, query: Labels, gallery: Labels) -> float:
    """Sort all, then walk through each list: what most code does."""
    order = np.argsort(distmat, axis=1, kind="stable")  # [Q, G]
    matches = gallery.pids[order] == query.pids[:, None]
    cmc, aps = np.zeros(MAX_RANK), []
    for row in range(len(distmat)):
        kept = ~(matches[row] & (gallery.camids[order[row]] == query.camids[row]))
        hits = matches[row][kept]
        if hits.any():
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            aps.append(precision[hits].mean())
            cmc += np.cumsum(hits)[:MAX_RANK] > 0
    return float(np.mean(aps))


def load_torchreid(checkout: str) -> Callable[[np.ndarray, Labels, Labels], float]:
    """Torchreid's Cython ranking, without the rest of torchreid.

    Raises:
        FileNotFoundError: it has not been built there.
    """
    folder = Path(checkout).expanduser() / "torchreid" / "metrics" / "rank_cylib"
    built = sorted(folder.glob("rank_cy.*.so"))
    if not built:
        raise FileNotFoundError(f"{folder} has no built rank_cy; see the head of this file")
    spec = importlib.util.spec_from_file_location("rank_cy", built[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def rank(distmat: np.ndarray, query: Labels, gallery: Labels) -> float:
        _, mean_ap = module.evaluate_cy(
            distmat, query.pids, gallery.pids, query.camids, gallery.camids, MAX_RANK
        )
        return float(mean_ap)

    return rank


def measure(run: Callable[[], float]) -> Result:
    """Call once; the peak is that of this call."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = read_memory("VmRSS")
    start = time.perf_counter()
    mean_ap = run()
    return Result(time.perf_counter() - start, read_memory("VmHWM") - before, mean_ap)


def read_memory(name: str) -> int:
    """Return a line of /proc/self/status, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def serve(method: str, path: str, checkout: str, pipe: Connection) -> None:
    """Load the distances, then run once per message until told None."""
    query, gallery = make_labels()
    distmat = np.load(path)
    if method == "vills":
        run = lambda: rank_ours(MatrixDistance(distmat), query, gallery)  # noqa: E731
    else:
        rank = rank_naive if method == "argsort" else load_torchreid(checkout)
        run = lambda: rank(distmat, query, gallery)  # noqa: E731
    while pipe.recv() is not None:
        pipe.send(measure(run))


def compare(checkout: str, repeats: int) -> None:
    """All methods on the same distances, in turns."""
    methods = ["vills", *(["torchreid"] if checkout else []), "argsort"]
    context = multiprocessing.get_context("spawn")
    results: dict[str, list[Result]] = {method: [] for method in methods}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "distances.npy")
        rng = np.random.default_rng(0)
        np.save(path, rng.random((NUM_QUERIES, NUM_GALLERY), dtype=np.float32))
        pipes = {}
        for method in methods:
            pipes[method], other = context.Pipe()
            process = context.Process(
                target=serve, args=(method, path, checkout, other), daemon=True
            )
            process.start()
            other.close()
        for _ in range(repeats):
            for method, pipe in pipes.items():
                pipe.send("go")
                results[method].append(pipe.recv())
        for pipe in pipes.values():
            pipe.send(None)
    print_table(results)


def print_table(results: dict[str, list[Result]]) -> None:
    """Seconds, peak memory and mAP of each method, and its ratio to ours.

    Raises:
        SystemExit: the methods do not agree.
    """
    print(f"{NUM_QUERIES} x {NUM_GALLERY} distances, {len(next(iter(results.values())))} repeats")
    print(f"{'method':12}{'min s':>9}{'median s':>10}{'x ours':>8}{'peak MB':>10}{'mAP':>12}")
    own = median(result.seconds for result in results["vills"])
    for method, runs in results.items():
        seconds = [result.seconds for result in runs]
        peak = max(result.peak_bytes for result in runs) / 1e6
        print(
            f"{method:12}{min(seconds):9.3f}{median(seconds):10.3f}{median(seconds) / own:8.2f}"
            f"{peak:10.1f}{runs[0].mean_ap:12.8f}"
        )
    scores = [result.mean_ap for runs in results.values() for result in runs]
    if max(scores) - min(scores) > MAP_TOLERANCE:
        raise SystemExit("the methods do not agree on mAP")


def rank_large(num_extra: int) -> None:
    """Features of Market-1501 and many distractors."""
    query, gallery = make_labels(num_extra)
    rng = np.random.default_rng(0)
    shape = (NUM_QUERIES, NUM_DIMENSIONS)
    query_features = rng.standard_normal(shape, dtype=np.float32)
    gallery_features = rng.standard_normal((len(gallery), NUM_DIMENSIONS), dtype=np.float32)

    def run() -> float:
        distance = FeatureDistance(query_features, gallery_features, metric="cosine")
        return rank_ours(distance, query, gallery)

    result = measure(run)
    print(f"{NUM_QUERIES} x {len(gallery)} from {NUM_DIMENSIONS}-dimensional float32 features")
    loaded = (query_features.nbytes + gallery_features.nbytes) / 1e9
    print(
        f"{result.seconds:.1f} s, peak {result.peak_bytes / 1e9:.2f} GB above {loaded:.2f} GB of "
        f"features, mAP {result.mean_ap:.8f}"
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Time and memory of ranking.")
    parser.add_argument("--size", choices=("market", "large"), default="market")
    parser.add_argument("--torchreid", default="", help="checkout with its Cython built")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--extra", type=int, default=NUM_EXTRA, help="distractors of --size large")
    args = parser.parse_args()
    if args.size == "large":
        rank_large(args.extra)
    else:
        compare(args.torchreid, args.repeats)


if __name__ == "__main__":
    main()
