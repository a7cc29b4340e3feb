"""Record -> masks of ALL areas (eq. 5), cached once per source; `areas` picks at training time."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vills.areas import AREAS
from vills.config.checks import ConfigError
from vills.config.lse import LseConfig
from vills.data.files import save_table
from vills.data.mask_store import build_mask_table, get_mask_path, save_mask_table
from vills.data.predictions import FOLDER
from vills.data.records import load_manifest
from vills.data.shards import ShardReader
from vills.interrupt import open_pool
from vills.io import compute_sha256, open_atomic
from vills.lse.chunk import (
    KEYPOINTS,
    KEYPOINTS_SCHEMA,
    SUMMARY,
    Chunks,
    ChunkWorker,
    Summary,
    build_summary,
    find_damaged,
    list_chunks,
    load_summary,
)
from vills.lse.parts import (
    build_keypoint_detector,
    build_segmenter,
    compute_cache_key,
)
from vills.parts import is_sealed
from vills.progress import Progress

CHUNK_RECORDS = 64
POLL_SECONDS = 0.5
_Arguments = tuple[LseConfig, Path, Path | None, Path | None]
"""Parameters, curated folder, raw folder, folder of weights: what a worker is built from."""


def extract_source(
    name: str,
    config: LseConfig,
    *,
    curated: Path,
    root: Path | None,
    out: Path,
    work: Path,
    weights: Path | None,
    progress: Progress | None = None,
    workers: int = 1,
    chunk_records: int = CHUNK_RECORDS,
    rank: int = 0,
    world_size: int = 1,
    guard: Callable[[], None] = lambda: None,
    max_corrupt_share: float = 0.05,
) -> Summary:
    """Compute the LSE cache of one source; may be killed at any moment and called again.

    Finished chunks stay in `work`; `out` gets
    keypoints.parquet, masks_<area>.parquet and report.json, the same bytes whatever the number of
    workers and ranks and the interruptions.

    Ranks share the chunks by number (ranks that look at what is unfinished at different times would
    not agree), and `work` is all that they know of each other. Rank 0 publishes when all is there.

    Args:
        name: the source, for progress.
        config: parameters of the stage.
        curated: its curated folder: manifest and shards.
        root: its raw folder, for supplied predictions and parsing maps.
        out: folder to publish into.
        work: folder of unfinished work.
        weights: VILLS_WEIGHTS.
        progress: told (label, records done, in all).
        workers: processes, unless K or M is a torch network, which fills the device by itself.
        chunk_records: records of a chunk.
        rank: of this process.
        world_size: processes that are called like this one, on any machines.
        guard: raises if another attempt owns the run; asked before anything is published.
        max_corrupt_share: share of the records that may be undecodable.

    Returns:
        Counts over the source; on another rank than 0, over its own chunks.

    Raises:
        ConfigError: missing predictions or weights, or more corrupt records than allowed.
    """
    num_records = len(load_manifest(curated / "manifest.parquet"))
    key = _compute_work_key(config, curated=curated, root=root, weights=weights)[:32]
    folder = _open_work(work, f"{key}-{chunk_records}", is_first=rank == 0)
    chunks = list_chunks(folder, num_records=num_records, size=chunk_records)
    count = ChunkCount(folder, chunks, name=name, progress=progress or (lambda *_: None))
    run_jobs = partial(_run_jobs, (config, curated, root, weights), workers, count.report)
    run_jobs(own := chunks[rank::world_size])
    if rank:
        return build_summary(own)
    count.wait()
    run_jobs(find_damaged(chunks))
    return _publish(out, chunks, guard=guard, max_share=max_corrupt_share)


def _compute_work_key(
    config: LseConfig, *, curated: Path, root: Path | None, weights: Path | None
) -> str:
    """Hash everything that decides the masks of a source: cache key, manifest, supplied files."""
    parts = {
        "cache_key": compute_cache_key(config, folder=weights),
        "manifest": compute_sha256(curated / "manifest.parquet"),
    }
    supplied = [root / FOLDER / name for name in config.list_supplied()] if root else []
    parts |= {path.stem: compute_sha256(path) for path in supplied if path.is_file()}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _open_work(work: Path, key: str, *, is_first: bool) -> Path:
    """Open a folder per key, so that no rank waits for another; other work is dropped."""
    folder = work / key
    folder.mkdir(parents=True, exist_ok=True)
    for other in work.iterdir() if is_first else ():
        if other != folder:
            shutil.rmtree(other)
    return folder


def _build_worker(
    config: LseConfig, curated: Path, root: Path | None, weights: Path | None
) -> ChunkWorker:
    return ChunkWorker(
        manifest=load_manifest(curated / "manifest.parquet"),
        reader=ShardReader(curated),
        detector=build_keypoint_detector(config, root=root, weights=weights),
        segmenter=build_segmenter(config, root=root, weights=weights),
        config=config,
    )


def _run_jobs(
    arguments: _Arguments, workers: int, report: Callable[[], object], chunks: Chunks
) -> None:
    """Compute what is unfinished, here or in processes; report first, and after each chunk."""
    report()
    todo = [(folder, rows) for folder, rows in chunks if load_summary(folder) is None]
    if not todo:
        return
    config = arguments[0]
    if config.keypoint_detector == "torchvision" or config.segmenter == "sam":
        workers = 1
    if workers <= 1:
        worker = _build_worker(*arguments)
        for folder, rows in todo:
            worker.compute(folder, rows=rows)
            report()
        return
    with open_pool(min(workers, len(todo)), start=_start_process, arguments=arguments) as pool:
        futures = [pool.submit(_compute_in_process, folder, rows) for folder, rows in todo]
        for future in as_completed(futures):
            future.result()
            report()


_process_worker: list[ChunkWorker] = []


def _start_process(*arguments: *_Arguments) -> None:
    _process_worker.append(_build_worker(*arguments))


def _compute_in_process(folder: Path, rows: range) -> None:
    _process_worker[0].compute(folder, rows=rows)


def check_corrupt(report: Mapping[str, Any], *, max_share: float) -> None:
    """Refuse a source, by its report.json, of which more than `max_share` cannot be decoded.

    Raises:
        ConfigError: naming the first records.
    """
    num_corrupt, num_records = report["corrupt_records"], report["records"]
    share = num_corrupt / max(num_records, 1)
    if share > max_share:
        raise ConfigError(
            f"{num_corrupt} of {num_records} records ({share:.1%}) cannot be decoded (first: "
            f"{', '.join(report['corrupt'][:5])}). Allowed: operation.max_corrupt_share = "
            f"{max_share:.1%}. What to do: repair the raw files and curate again, or raise "
            "operation.max_corrupt_share."
        )


def _publish(out: Path, chunks: Chunks, *, guard: Callable[[], None], max_share: float) -> Summary:
    """Join the finished chunks; the report comes last."""
    summary = build_summary(chunks)
    report = summary.to_report()
    check_corrupt(report, max_share=max_share)
    guard()
    folders = [folder for folder, _ in chunks]
    keypoints = pa.concat_tables(
        [KEYPOINTS_SCHEMA.empty_table(), *(pq.read_table(folder / KEYPOINTS) for folder in folders)]
    )
    order = [("record_id", "ascending"), ("frame", "ascending")]
    save_table(out / KEYPOINTS, keypoints.sort_by(order).combine_chunks())
    for area in AREAS:
        tables = [pq.read_table(get_mask_path(folder, area)) for folder in folders]
        save_mask_table(get_mask_path(out, area), pa.concat_tables([build_mask_table([]), *tables]))
    with open_atomic(out / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    return summary


class ChunkCount:
    """Counts the records that all ranks together have finished, in the folder that they share."""

    def __init__(self, folder: Path, chunks: Chunks, *, name: str, progress: Progress) -> None:
        """Take the folder, all chunks in it, the source's name, and whom to tell."""
        self._folder, self._name, self._progress = folder, name, progress
        self._sizes = {path.name: len(rows) for path, rows in chunks}
        self._open = set(self._sizes)

    def report(self) -> bool:
        """Look, tell how far it is, and return whether every chunk is finished.

        One listing, then a look into those that have begun: not one into each of all.
        """
        begun = self._open & {path.name for path in self._folder.iterdir()}
        self._open -= {name for name in begun if is_sealed(self._folder / name / SUMMARY)}
        total = sum(self._sizes.values())
        self._progress(self._name, total - sum(self._sizes[name] for name in self._open), total)
        return not self._open

    def wait(self) -> None:
        """Return once every chunk is finished; a rank that died is its launcher's concern."""
        while not self.report():
            time.sleep(POLL_SECONDS)
