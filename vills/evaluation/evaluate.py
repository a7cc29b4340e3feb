"""Score all models of a data set under all its protocols and write what the report shows."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from vills.config.evaluate import EvaluateConfig
from vills.data.files import atomic_path, save_table
from vills.data.reid import ReidData
from vills.distributed import broadcast_object, is_main
from vills.evaluation.baselines import Model
from vills.evaluation.entries import Entries
from vills.evaluation.feature_file import save_feature_table
from vills.evaluation.features import (
    Advance,
    FeatureCache,
    FeatureModel,
    NetworkFeatures,
    PixelFeatures,
)
from vills.evaluation.protocols import (
    PROTOCOLS,
    ProtocolResult,
    RetrievalSettings,
    select_entries,
)
from vills.evaluation.ranking import VERDICTS
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel

TOP_K = 10
"""Entries kept per query for the strips, junk not counted."""

Progress = Callable[[str, int, int], None]
Row = dict[str, str | float | int]


def evaluate_dataset(
    config: EvaluateConfig,
    *,
    data: ReidData,
    models: Mapping[str, Model],
    input_size: Sequence[int],
    out: Path,
    work: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, list[Row]]:
    """Write results.json, ranking/ and features/ below `out`; the same input, the same bytes.

    Args:
        config: protocols, metrics, sizes.
        data: query and gallery.
        models: row name -> fine-tuned model, backbone, or function of an RGB crop.
        input_size: height and width that networks see, px.
        out: folder; ranking/<row>_<protocol>.parquet holds each query's top entries,
            features/<row>_<part>_<modality>.parquet the features of fine-tuned models.
        work: folder of this run alone: rows that a killed attempt finished there are not computed
            again. Without one, every call starts anew.
        workers: processes that decode.
        progress: told ("<row>, <protocol>", entries described, entries).

    Returns:
        The content of results.json: {"rows": [{row, protocol, mAP, R-k.., mINP, counts}]}.

    Raises:
        ValueError: the data set has no such modality, or no query has a true match.
    """
    query, gallery = select_entries(
        Entries(data.query, data.reader),
        Entries(data.gallery, data.reader),
        gallery_with_queries=config.gallery_with_queries,
    )
    building = out.with_name(out.name + ".building") if work is None else work / "rows"
    if work is None and is_main():
        shutil.rmtree(building, ignore_errors=True)
    scorer = _Scorer(config, query, gallery, building, input_size, workers, progress)
    rows = [row for name, model in models.items() for row in scorer.score(name, model)]
    results = {"rows": rows}
    if is_main():
        _assemble(out, results, building, remove=work is None)
    return results


@dataclass(frozen=True)
class _Scorer:
    """What all models of a data set have in common."""

    config: EvaluateConfig
    query: Entries
    gallery: Entries
    building: Path
    input_size: Sequence[int]
    workers: int
    progress: Progress | None

    def score(self, name: str, model: Model) -> list[Row]:
        """One row per protocol, which share the model's features; finished ones are only read."""
        settings = _build_settings(self.config)
        rows, label = [], ""

        def advance(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(label, done, total)

        cache = FeatureCache(
            _build_features(self.config, model, self.input_size, self.workers, advance)
        )
        for protocol in self.config.protocols:
            label = f"{name}, {protocol}"
            part = self.building / f"{_slug(name)}_{protocol}"
            row = _load_row(part)
            if row is None:
                result = PROTOCOLS[protocol].run(
                    cache, query=self.query, gallery=self.gallery, settings=settings, top_k=TOP_K
                )
                row = result.build_row(name)
                if is_main():
                    _save_part(part, row, result, cache if isinstance(model, ReidModel) else None)
            rows.append(row)
        return rows


def _build_settings(config: EvaluateConfig) -> RetrievalSettings:
    return RetrievalSettings(
        ranks=config.ranks,
        distance=config.distance,
        average_precision=config.average_precision,
        block_size=config.block_size,
        query_frame=config.query_frame,
        seed=config.seed,
    )


def _build_features(
    config: EvaluateConfig,
    model: Model,
    input_size: Sequence[int],
    workers: int,
    advance: Advance,
) -> FeatureModel:
    if not isinstance(model, ReidModel | Backbone):
        return PixelFeatures(model, flip=config.flip_test, advance=advance)
    return NetworkFeatures(
        model,
        input_size=input_size,
        num_frames=config.num_frames,
        batch_size=config.batch_size,
        flip=config.flip_test,
        workers=workers,
        advance=advance,
    )


def _load_row(part: Path) -> Row | None:
    """The row that an earlier attempt finished; one answer for all ranks."""
    path = part / "row.json"
    own = json.loads(path.read_text()) if is_main() and path.is_file() else None
    row: Row | None = broadcast_object(own)
    return row


def _save_part(part: Path, row: Row, result: ProtocolResult, cache: FeatureCache | None) -> None:
    """Files of one row, its scores last: what has scores is complete."""
    _save_ranking(part / "ranking" / f"{part.name}.parquet", result)
    if cache is not None:
        _save_features(part / "features", _slug(str(row["row"])), result, cache)
    _save_json(part / "row.json", row)


def _save_ranking(path: Path, result: ProtocolResult) -> None:
    """One row per shown entry: query, its frame (-1: whole record), position, entry, verdict."""
    lists = result.lists
    sizes = [len(top.gallery) for top in lists]
    queries = np.repeat(np.arange(len(lists)), sizes)
    positions = np.concatenate([np.arange(size) for size in sizes])
    entries = np.concatenate([top.gallery for top in lists])
    verdicts = np.concatenate([top.verdicts for top in lists])
    keys, gallery_ids = result.query.keys, np.array(result.gallery.ids)
    columns = {
        "query_id": pa.array([keys[row][0] for row in queries], pa.string()),
        "query_frame": pa.array([keys[row][1] for row in queries], pa.int32()),
        "position": pa.array(positions, pa.int32()),
        "gallery_id": pa.array(gallery_ids[entries].tolist(), pa.string()),
        "verdict": pa.array([VERDICTS[verdict] for verdict in verdicts], pa.string()),
        "distance": pa.array(np.concatenate([top.distances for top in lists]), pa.float32()),
    }
    save_table(path, pa.table(columns))


def _save_features(folder: Path, slug: str, result: ProtocolResult, cache: FeatureCache) -> None:
    protocol = PROTOCOLS[result.protocol]
    parts = (
        ("query", result.query, protocol.query_modality),
        ("gallery", result.gallery, protocol.gallery_modality),
    )
    for part, entries, modality in parts:
        path = folder / f"{slug}_{part}_{modality}.parquet"
        save_feature_table(path, ids=entries.ids, features=cache(entries, modality, modality))


def _assemble(out: Path, results: dict[str, list[Row]], building: Path, *, remove: bool) -> None:
    """The finished parts' files under their names in `out`."""
    for source in sorted(building.glob("*/*/*.parquet")):
        with atomic_path(out / source.parent.name / source.name) as temporary:
            shutil.copyfile(source, temporary)
    _save_json(out / "results.json", results)
    if remove:
        shutil.rmtree(building)


def _save_json(path: Path, content: object) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
