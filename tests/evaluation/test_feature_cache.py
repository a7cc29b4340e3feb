"""Each pool is described once, whatever part is asked for, and kept from attempt to attempt."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.evaluation.curated import write_curated
from vills.data.reid import ReidData
from vills.evaluation.entries import Entries, build_test_data
from vills.evaluation.feature_cache import FeatureCache, build_pools, get_choice_name
from vills.evaluation.features import PixelFeatures
from vills.evaluation.protocols import FeatureChoice, TestData

PLAIN = FeatureChoice()


class Counting(PixelFeatures):
    """Mean colour; counts the records that it describes."""

    def __init__(self) -> None:
        super().__init__(lambda crop: crop.mean(axis=(0, 1)).astype(np.float32))
        self.num_described = 0

    def compute(self, entries: Entries, choice: FeatureChoice) -> np.ndarray:
        self.num_described += len(entries)
        return super().compute(entries, choice)


def load(folder: Path) -> tuple[ReidData, TestData]:
    data = write_curated(folder / "set", modality="video")
    return data, build_test_data(data)


def test_parts_are_taken_from_pools_described_once(tmp_path: Path) -> None:
    _, test = load(tmp_path)
    model = Counting()
    pools = build_pools([test], query_frame="first", seed=0)
    assert [len(pool) for pool in pools] == [17, 5]  # without the junk entry; frames of queries
    cache = FeatureCache(model, pools=pools)
    rows = np.array([4, 1, 3])
    part = cache(test.gallery.take(rows), PLAIN)
    assert model.num_described == 17
    whole = PixelFeatures(model.describe).compute(test.gallery, PLAIN)
    assert np.array_equal(part, whole[rows])
    cache(test.query, FeatureChoice(modalities=("image", "video")))
    assert model.num_described == 17
    cache(test.query.take_frames(mode="first", seed=0), PLAIN)
    assert model.num_described == 22
    cache(test.query, FeatureChoice(flip=True))
    assert model.num_described == 39
    cache(test.query.take_frames(mode="middle", seed=0), PLAIN)  # in no pool
    assert model.num_described == 44


def test_entries_of_both_kinds_come_back_in_their_order(tmp_path: Path) -> None:
    _, test = load(tmp_path)
    frames = test.query.take_frames(mode="first", seed=0)
    model = Counting()
    tracklets = model.compute(test.gallery, PLAIN)
    images = model.compute(frames, PLAIN)
    mixed = Entries(frames.manifest, frames.reader).join(test.gallery)
    assert mixed.modalities == ("image", "video")
    features = FeatureCache(model)(mixed, PLAIN)
    by_id = dict(zip([*frames.ids, *test.gallery.ids], [*images, *tracklets], strict=True))
    assert np.array_equal(features, np.stack([by_id[name] for name in mixed.ids]))


def test_features_are_kept_and_read_again(tmp_path: Path) -> None:
    _, test = load(tmp_path)
    folder = tmp_path / "features"
    folder.mkdir()
    pools = build_pools([test], query_frame="first", seed=0)
    choice = FeatureChoice(flip=True, roles=("coarse", "areas"))
    results, counts = [], []
    for _ in range(2):
        model = Counting()
        cache = FeatureCache(model, pools=pools, folder=folder, prefix="ours")
        results.append(cache(test.query, choice))
        counts.append(model.num_described)
    assert counts == [17, 0]
    assert np.array_equal(results[0], results[1])
    (path,) = folder.glob("*.parquet")
    assert path.name == "ours_tracklets_after-neck_flip_mean_coarse-areas.parquet"
    table = pq.read_table(path)
    assert table.column("record_id").to_pylist() == pools[0].ids
    assert set(table.column("frame").to_pylist()) == {-1}


def test_a_file_of_other_entries_is_not_used(tmp_path: Path) -> None:
    _, test = load(tmp_path)
    folder = tmp_path / "features"
    folder.mkdir()
    for rows in (np.arange(3), np.arange(4)):
        model = Counting()
        part = test.gallery.take(rows)
        FeatureCache(model, pools=[part], folder=folder, prefix="x")(part, PLAIN)
        assert model.num_described == len(rows)


def test_names_tell_choices_apart() -> None:
    names = [
        get_choice_name(choice)
        for choice in (
            PLAIN,
            FeatureChoice(neck="before"),
            FeatureChoice(flip=True),
            FeatureChoice(pooling="max"),
            FeatureChoice(roles=("coarse",)),
        )
    ]
    assert len(set(names)) == 5
