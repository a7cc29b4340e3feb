"""Features of a whole data set, described once and read by every protocol.

Legend: n entries, D feature width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vills.data.files import save_table
from vills.distributed import barrier, broadcast_object, is_main
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import MODALITY_OF, Entries, TestData
from vills.evaluation.features import FeatureModel
from vills.evaluation.protocols.base import FeatureChoice
from vills.parts import SUFFIX, load_intact, save_seal


class FeatureCache:
    """`ComputeFeatures` of a model: describes each pool once, whatever part a protocol asks for.

    A pool is all images, all tracklets, or the query frames of one kind. Pools are described
    whole, never entry by entry: batches are then cut alike whichever protocol comes first, so that
    a resumed run has the last bits of an undisturbed one.
    """

    def __init__(
        self,
        model: FeatureModel,
        *,
        pools: Sequence[Entries] = (),
        folder: Path | None = None,
        prefix: str = "",
    ) -> None:
        """Wrap a model.

        Args:
            model: what describes.
            pools: images, tracklets; see `build_pools`. What lies in none is described as asked.
            folder: where features are kept from attempt to attempt, one file per pool and choice.
            prefix: of the files' names.
        """
        self._model = model
        self._pools = list(pools)
        self._num_kept = len(pools)
        self._rows = [{key: row for row, key in enumerate(pool.keys)} for pool in pools]
        self._folder, self._prefix = folder, prefix
        self._features: dict[tuple[int, FeatureChoice], FloatArray] = {}
        self.used: set[Path] = set()
        """Files of the features that were asked for; whoever counts them may clear it."""

    def __call__(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        """Return features [n, D] of any entries, to be compared with `choice.modalities`."""
        kinds = entries.kinds
        parts = {kind: np.flatnonzero(kinds == kind) for kind in sorted(set(kinds.tolist()))}
        features = [
            self._model.narrow(self._find(entries.take(rows), choice), choice)
            for rows in parts.values()
        ]
        if len(features) == 1:
            return features[0]
        joined = np.concatenate(features)
        order = np.concatenate(list(parts.values()))
        joined[order] = joined.copy()
        return joined

    def _find(self, entries: Entries, choice: FeatureChoice) -> FloatArray:
        keys = entries.keys
        for number, rows in enumerate(self._rows):
            if keys and keys[0] in rows and all(key in rows for key in keys):
                return self._describe(number, choice)[[rows[key] for key in keys]]
        self._pools.append(entries)
        self._rows.append({key: row for row, key in enumerate(keys)})
        return self._describe(len(self._pools) - 1, choice)

    def _describe(self, number: int, choice: FeatureChoice) -> FloatArray:
        # what it is compared with does not change what is computed
        key = number, replace(choice, modalities=())
        path = self._get_path(*key)
        if path is not None:
            self.used.add(path)
        if key not in self._features:
            self._features[key] = self._load_or_compute(*key, path)
        return self._features[key]

    def _get_path(self, number: int, choice: FeatureChoice) -> Path | None:
        """Return where the features of a pool are kept, if they are."""
        if self._folder is None or number >= self._num_kept:
            return None
        name = f"{self._prefix}_{_name_pool(self._pools[number])}_{get_choice_name(choice)}"
        return self._folder / f"{name}.parquet"

    def _load_or_compute(self, number: int, choice: FeatureChoice, path: Path | None) -> FloatArray:
        pool = self._pools[number]
        if path is None:
            return self._model.compute(pool, choice)
        seal = path.with_name(path.name + SUFFIX)
        whole = load_intact(seal, locate=path.parent.joinpath) is not None if is_main() else None
        if broadcast_object(whole):
            table = pq.read_table(path)
            same = table.column("record_id").to_pylist() == pool.ids
            if same and table.column("frame").to_pylist() == pool.frames.tolist():
                flat = table.column("feature").combine_chunks().flatten().to_numpy()
                return np.asarray(flat, np.float32).reshape(len(pool), -1)
        features = self._model.compute(pool, choice)
        if is_main():
            _save_features(path, pool, features)
            save_seal(seal, [path.name], locate=path.parent.joinpath)
        barrier()
        return features


def build_pools(tests: Sequence[TestData], *, query_frame: str, seed: int) -> list[Entries]:
    """Build what protocols can ask for: all images, all tracklets, frames of query tracklets.

    Args:
        tests: splits of one data set; a record that several have is there once.
        query_frame: first, middle or random.
        seed: of random frames.
    """
    queries = _join([test.query.keep_people() for test in tests])
    everything = _join([queries, *(test.gallery.drop_junk() for test in tests)])
    parts = [everything.take(np.flatnonzero(everything.kinds == kind)) for kind in MODALITY_OF]
    tracklets = queries.take(np.flatnonzero(queries.kinds == "tracklet"))
    parts.append(tracklets.take_frames(mode=query_frame, seed=seed))
    return [part for part in parts if len(part)]


def _join(parts: Sequence[Entries]) -> Entries:
    """Join parts so that each record is there once."""
    joined = parts[0]
    for part in parts[1:]:
        known = set(joined.ids)
        new = [row for row, name in enumerate(part.ids) if name not in known]
        joined = joined.join(part.take(np.array(new, dtype=np.int64)))
    return joined


def get_choice_name(choice: FeatureChoice) -> str:
    """Name a choice as part of a file name: after-neck_flip_mean."""
    parts = [f"{choice.neck}-neck", *(["flip"] if choice.flip else []), choice.pooling]
    return "_".join([*parts, *(["-".join(choice.roles)] if choice.roles else [])])


def _name_pool(pool: Entries) -> str:
    if (pool.frames >= 0).any():
        return "frames"
    return "_".join(f"{kind}s" for kind in sorted(set(pool.kinds.tolist())))


def _save_features(path: Path, pool: Entries, features: FloatArray) -> None:
    """Write features in record order; the bytes depend on them alone."""
    flat = pa.array(np.ascontiguousarray(features, np.float32).ravel())
    columns = {
        "record_id": pa.array(pool.ids, pa.string()),
        "frame": pa.array(pool.frames, pa.int32()),
        "feature": pa.FixedSizeListArray.from_arrays(flat, features.shape[1]),
    }
    save_table(path, pa.table(columns))
