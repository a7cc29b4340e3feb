"""Score all models of a data set under all its protocols and write what the report shows."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import TypedDict

from vills.config.evaluate import AS_PROTOCOL, EvaluateConfig
from vills.distributed import broadcast_object, is_main
from vills.evaluation.baselines import Model, ModelRow, check_names
from vills.evaluation.entries import TestData
from vills.evaluation.feature_cache import FeatureCache, build_pools
from vills.evaluation.features import (
    Advance,
    FeatureModel,
    NetworkFeatures,
    PixelFeatures,
    Sampling,
)
from vills.evaluation.onnx_reid import read_pairs
from vills.evaluation.per_query import compute_differences
from vills.evaluation.protocols import PROTOCOLS, ProtocolSettings
from vills.evaluation.protocols.base import NO_CHOICE
from vills.evaluation.result_files import (
    build_slug,
    list_files,
    load_queries,
    load_rows,
    save_part,
    save_parts,
)
from vills.evaluation.rows import Row, build_rows
from vills.models.backbone import Backbone
from vills.models.reid import ReidModel
from vills.progress import Progress

TOP_K = 10
"""Entries kept per query for the strips, junk not counted."""


class Results(TypedDict):
    """Content of results.json."""

    rows: list[Row]
    left_out: list[str]
    """Entries that are in no query and no gallery: how many, and why."""
    notes: list[str]
    """What was found before scoring: how a foreign model takes its pixels, and whether it fits."""


def run_evaluation(
    config: EvaluateConfig,
    *,
    splits: Mapping[int, TestData],
    models: Sequence[ModelRow],
    input_size: Sequence[int],
    out: Path,
    work: Path | None = None,
    progress: Progress | None = None,
    block_size: int = 1024,
) -> Results:
    """Write results.json, per_query.parquet, ranking/ and features/; same input, same bytes.

    Args:
        config: protocols, metrics, sizes.
        splits: split id -> query and gallery, in the order of the tables.
        models: rows of the tables, in their order.
        input_size: height and width that networks see, px.
        out: folder; ranking/<row>_<protocol>.parquet holds each query's top entries (of the first
            split); of fine-tuned models features/<row>_<what>_<choices>.parquet has the features,
            per_query.parquet what each query found.
        work: folder of this run alone: rows and features that a killed attempt finished there are
            not computed again. Without one, every call starts anew.
        progress: told ("<row>, <protocol>", entries described, entries).
        block_size: queries ranked at once; memory, never a score.

    Returns:
        The content of results.json; docs/protocols.md says what a row has.

    Raises:
        ConfigError: two models of one name, or a foreign model whose input is not known.
        ProtocolError: the data set lacks what a protocol needs, features are not finite, or no
            query has a true match.
        DamagedRecordError: a record cannot be read.
    """
    check_names(models)
    settings = build_settings(config, block_size=block_size)
    for protocol, test in product(config.protocols, splits.values()):
        PROTOCOLS[protocol].select(test, settings)
    notes = _check_models(models, splits, progress)
    building = out.with_name(out.name + ".building") if work is None else work / "rows"
    if work is None and is_main():
        shutil.rmtree(building, ignore_errors=True)
    scorer = _Scorer(config, settings, splits, building, input_size, progress)
    rows = [row for model in models for row in scorer.score(model)]
    results = Results(
        rows=build_rows(rows, names=[model.name for model in models]),
        left_out=_list_left_out(splits),
        notes=notes,
    )
    if is_main():
        _publish(out, results, list_files(scorer.parts), config)
        if work is None:
            shutil.rmtree(building)
    found: Results = broadcast_object(results)
    return found


def _publish(out: Path, results: Results, files: Sequence[Path], config: EvaluateConfig) -> None:
    queries = load_queries(files)
    results["rows"] = compute_differences(
        results["rows"], queries, num_resamples=config.bootstrap, seed=config.seed
    )
    save_parts(out, results, queries, files=files)


def _list_left_out(splits: Mapping[int, TestData]) -> list[str]:
    return [
        note if test.split is None else f"split {test.split}: {note}"
        for test in splits.values()
        for note in test.notes
    ]


def _check_models(
    models: Sequence[ModelRow], splits: Mapping[int, TestData], progress: Progress | None
) -> list[str]:
    """Show foreign models a few known people: a wrong input is met before hours of work."""
    checks = {row.name: row.check for row in models if row.check is not None}
    pairs = read_pairs(splits) if checks else []
    notes = [f"{name}: {note}" for name, check in checks.items() for note in check(pairs)]
    for number, note in enumerate(notes, start=1):
        if progress is not None:
            progress(note, number, len(notes))
    return notes


def build_settings(config: EvaluateConfig, *, block_size: int) -> ProtocolSettings:
    """Take what protocols need of the parameters."""

    def own(value: str) -> str | None:
        return None if value == AS_PROTOCOL else value

    return ProtocolSettings(
        ranks=tuple(config.ranks),
        distance=own(config.distance),
        average_precision=own(config.average_precision),
        flip=None if config.flip == AS_PROTOCOL else config.flip == "on",
        neck=own(config.neck),
        pooling=own(config.pooling),
        roles=tuple(config.roles),
        fars=tuple(config.fars),
        query_frame=config.query_frame,
        rerank=config.rerank,
        bootstrap=config.bootstrap,
        block_size=block_size,
        seed=config.seed,
    )


@dataclass(frozen=True)
class _Scorer:
    """What all models of a data set have in common."""

    config: EvaluateConfig
    settings: ProtocolSettings
    splits: Mapping[int, TestData]
    building: Path
    input_size: Sequence[int]
    progress: Progress | None
    parts: list[Path] = field(default_factory=list)
    """Folders of what was scored, or was found scored and whole."""

    def score(self, row: ModelRow) -> list[Row]:
        """Score per protocol and split, which share the model's features; read finished rows."""
        split_ids = [split for split in self.splits if not row.splits or split in row.splits]
        label = row.name

        def advance(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress(label, done, total)

        @cache
        def load() -> tuple[Model, FeatureCache]:
            model = row.load()
            return model, self._build_cache(row, model, split_ids, advance)

        rows: list[Row] = []
        for protocol, split in product(self.config.protocols, split_ids):
            label = f"{row.name}, {protocol}"
            part = self.building / f"{build_slug(row.name)}_{protocol}_split{split}"
            self.parts.append(part)
            rows += load_rows(part) or self._score_part(part, row, protocol, split, *load())
        return rows

    def _score_part(
        self,
        part: Path,
        row: ModelRow,
        protocol: str,
        split: int,
        model: Model,
        features: FeatureCache,
    ) -> list[Row]:
        first = split == next(iter(self.splits))
        features.used.clear()
        result = PROTOCOLS[protocol].run(
            features,
            data=self.splits[split],
            settings=self.settings,
            top_k=TOP_K if first else 0,
        )
        has_neck = isinstance(model, ReidModel) and model.neck is not None
        rows = [
            scored if has_neck else {**scored, "neck": NO_CHOICE}
            for scored in result.build_rows(row.name)
        ]
        if is_main():
            save_part(
                part,
                rows,
                result,
                name=row.name,
                with_ranking=first,
                with_queries=row.keep_features,
                features=features.used,
            )
        return rows

    def _build_cache(
        self, row: ModelRow, model: Model, split_ids: Sequence[int], advance: Advance
    ) -> FeatureCache:
        """Build the cache; baselines leave no files: they are cheap, and nobody needs them."""
        sampling = Sampling(self.config.sampling, self.config.num_frames)
        features: FeatureModel = (
            NetworkFeatures(
                model,
                input_size=self.input_size,
                batch_size=self.config.batch_size,
                sampling=sampling,
                advance=advance,
            )
            if isinstance(model, ReidModel | Backbone)
            else PixelFeatures(model, sampling=sampling, advance=advance)
        )
        tests = [self.splits[split] for split in split_ids]
        return FeatureCache(
            features,
            pools=build_pools(tests, query_frame=self.config.query_frame, seed=self.config.seed),
            folder=self.building / "all" / "features" if row.keep_features else None,
            prefix=build_slug(row.name) + "".join(f"-split{split}" for split in row.splits),
        )
