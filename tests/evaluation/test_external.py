"""Features that someone else extracted, from a file to scores; data sets are empty files."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.io import savemat

from vills.config.checks import ConfigError
from vills.data.files import read_table
from vills.data.layouts import read_layout
from vills.errors import InputError
from vills.evaluation.external import (
    ExternalReport,
    MissingFeatureError,
    compute_external_scores,
    save_report,
)
from vills.evaluation.feature_table import FeatureFileError, load_feature_table
from vills.evaluation.protocols.base import ProtocolSettings
from vills.evaluation.token_file import save_tokens
from vills.miniature.sigset import Member, Signature, encode_sigset

SETTINGS = ProtocolSettings(ranks=(1, 5), bootstrap=20)
REAL = os.environ.get("VILLS_REAL_DATA")


def touch(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def make_market(root: Path) -> dict[str, np.ndarray]:
    """Empty image files, and a feature of each test image."""
    rng = np.random.default_rng(3)
    names = [f"bounding_box_train/{pid:04d}_c1s1_{pid:06d}_00.jpg" for pid in (2, 7)]
    features = {}
    for pid in (1, 3, 4, 5, 6):
        for camera in (1, 2, 6):
            features[f"query/{pid:04d}_c{camera}s1_{pid:06d}_00.jpg"] = (pid, rng)
            for number in range(3):
                name = f"bounding_box_test/{pid:04d}_c{camera}s1_{number:06d}_0{number + 1}.jpg"
                features[name] = (pid, rng)
    for number in range(4):
        features[f"bounding_box_test/0000_c3s1_{number:06d}_01.jpg"] = (0, rng)
    touch(root, [*names, *features, "bounding_box_test/-1_c1s1_000001_00.jpg", "query/Thumbs.db"])
    centres = rng.normal(size=(10, 6))
    return {
        name: (centres[pid] + 0.9 * rng.normal(size=6)).astype(np.float32)
        for name, (pid, rng) in features.items()
    }


def save_npz(path: Path, features: dict[str, np.ndarray], **more: Any) -> Path:
    np.savez(
        path,
        path=np.array(list(features), dtype=str),
        feature=np.stack([*features.values()]),
        **more,
    )
    return path


def save_parquet(path: Path, features: dict[str, np.ndarray], **more: Any) -> Path:
    values = [vector.tolist() for vector in features.values()]
    pq.write_table(pa.table({"path": list(features), "feature": values, **more}), path)
    return path


def score(
    file: Path, root: Path, *protocols: str, layout: str = "market1501", **more: Any
) -> ExternalReport:
    return compute_external_scores(
        load_feature_table(file, column=more.pop("column", "feature")),
        layout=read_layout(layout, root),
        protocols=protocols,
        settings=more.pop("settings", SETTINGS),
        name="theirs",
        **more,
    )


def loop_market(features: dict[str, np.ndarray]) -> tuple[float, float]:
    """mAP and R-1 by plain loops: 1 - cos, same camera of the same person left out."""

    def read(name: str) -> tuple[int, str]:
        pid, camera = Path(name).name.split("_")[:2]
        return int(pid), camera[:2]

    precisions, firsts = [], []
    gallery = sorted(name for name in features if name.startswith("bounding_box_test"))
    for query in sorted(name for name in features if name.startswith("query")):
        pid, camera = read(query)
        a = features[query].astype(float)
        ranked = []
        for name in gallery:
            if read(name) == (pid, camera):
                continue
            b = features[name].astype(float)
            distance = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            ranked.append((distance, read(name)[0] == pid))
        right = [hit for _, hit in sorted(ranked, key=lambda entry: entry[0])]
        found, values = 0, []
        for place, hit in enumerate(right, start=1):
            found += hit
            values += [found / place] if hit else []
        precisions.append(np.mean(values))
        firsts.append(right[0])
    return float(np.mean(precisions)), float(np.mean(firsts))


def test_market_from_npz_and_parquet_equals_plain_loops(tmp_path: Path) -> None:
    root = tmp_path / "market"
    features = make_market(root)
    mean_ap, rank1 = loop_market(features)
    assert 0.3 < mean_ap < 0.95
    train = {"bounding_box_train/0002_c1s1_000002_00.jpg": np.ones(6, np.float32)}
    for save, name in ((save_npz, "a.npz"), (save_parquet, "a.parquet")):
        report = score(save(tmp_path / name, features | train), root, "market1501")
        (row,) = report.rows
        assert row["mAP"] == pytest.approx(mean_ap, abs=1e-6)
        assert row["R-1"] == pytest.approx(rank1, abs=1e-9)
        assert (row["queries"], row["valid_queries"], row["gallery"]) == (15, 15, 49)
        assert (row["row"], row["neck"], row["flip"], row["pooling"]) == ("theirs", "-", "-", "-")
        assert row["mAP_low"] < row["mAP"] < row["mAP_high"]
        assert row["title"].startswith("Market-1501")
        assert report.unknown == list(train)
        assert report.num_unused == 0


def test_eight_queries_of_a_person_say_no_more_of_other_people_than_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for number in (1, 8):
        root = tmp_path / str(number)
        features = {"bounding_box_test/0000_c3s1_000000_01.jpg": np.eye(40)[0]}
        for pid in range(1, 36):
            name = f"bounding_box_test/{pid:04d}_c2s1_000000_01.jpg"
            features[name] = np.eye(40)[pid]
            for query in range(number):  # all find their person, or all the stranger
                name = f"query/{pid:04d}_c1s1_{query:06d}_01.jpg"
                features[name] = np.eye(40)[pid if pid % 4 else 0]
        touch(root, ["bounding_box_train/0040_c1s1_000000_01.jpg", *features])
        settings = ProtocolSettings(ranks=(1,), bootstrap=1000)
        file = save_npz(tmp_path / f"{number}.npz", features)
        rows += score(file, root, "market1501", settings=settings).rows
    one, eight = rows
    assert (one["people"], eight["people"]) == (35, 35)
    assert (one["queries"], eight["queries"]) == (35, 280)
    names = ("R-1", "R-1_low", "R-1_high", "mAP", "mAP_low", "mAP_high")
    assert [eight[name] for name in names] == pytest.approx([one[name] for name in names], abs=1e-9)
    # a plain loop over people
    found = np.arange(1, 36) % 4 > 0
    means = [found[rng.integers(35, size=34)].mean() for _ in range(4000)]
    ends = np.quantile(means, [0.025, 0.975])
    assert [eight["R-1_low"], eight["R-1_high"]] == pytest.approx(ends, abs=0.03)


@pytest.mark.parametrize("value", [65504.0, 1e20, 3e38])
def test_one_wild_distractor_moves_no_other_row(tmp_path: Path, value: float) -> None:
    features = make_market(tmp_path / "market")
    settings = ProtocolSettings(ranks=(1, 5), distance="euclidean", rerank=True)
    far = "bounding_box_test/0000_c3s1_000000_01.jpg"
    features[far] = features[far] + np.float32(100)  # last of every list
    rows = []
    for number, wild in enumerate((features, features | {far: np.full(6, value, np.float32)})):
        file = save_npz(tmp_path / f"{number}.npz", wild)
        rows.append(score(file, tmp_path / "market", "market1501", settings=settings).rows[0])
    assert rows[0] == rows[1]


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_what_is_saved_in_double_precision_stays_so(tmp_path: Path, distance: str) -> None:
    features = make_market(tmp_path / "market")
    shifted = {name: value.astype(np.float64) + 1e9 for name, value in features.items()}
    exact = {name: value - 1e9 for name, value in shifted.items()}
    if distance == "cosine":  # of vectors that are nearly parallel: their distance across
        middle = np.full(6, 6**-0.5)
        exact = {name: value - value @ middle * middle for name, value in exact.items()}
    settings = ProtocolSettings(ranks=(1, 5), distance="euclidean")
    expected = save_npz(tmp_path / "a.npz", exact)
    for save, file in ((save_npz, "b.npz"), (save_parquet, "b.parquet")):
        found = score(
            save(tmp_path / file, shifted),
            tmp_path / "market",
            "market1501",
            settings=ProtocolSettings(ranks=(1, 5), distance=distance),
        )
        (row,) = score(expected, tmp_path / "market", "market1501", settings=settings).rows
        names = ("mAP", "R-1", "R-5")
        assert [found.rows[0][name] for name in names] == [row[name] for name in names]


def test_paths_without_their_upper_folders_are_found(tmp_path: Path) -> None:
    features = make_market(tmp_path / "root" / "Market-1501-v15.09.15")
    expected = score(
        save_npz(tmp_path / "a.npz", features), tmp_path / "root" / "Market-1501-v15.09.15", "image"
    ).rows
    below = {f"Market-1501-v15.09.15/{name}": value for name, value in features.items()}
    # a query and a gallery image may share a name in other sets; here all are unique
    bare = {Path(name).name: value for name, value in features.items()}
    for number, named in enumerate((below, features, bare)):
        file = save_npz(tmp_path / f"{number}.npz", named)
        assert score(file, tmp_path / "root", "image").rows[0]["mAP"] == expected[0]["mAP"]


def test_missing_features_are_named_refused_and_counted_if_allowed(tmp_path: Path) -> None:
    features = make_market(tmp_path)
    queries = [name for name in features if name.startswith("query")]
    galleries = [name for name in features if name.startswith("bounding_box_test/0000")]
    gone = {*queries[:3], galleries[0]}
    file = save_npz(tmp_path / "a.npz", {k: v for k, v in features.items() if k not in gone})
    with pytest.raises(MissingFeatureError) as caught:
        score(file, tmp_path, "market1501")
    text = str(caught.value)
    assert "3 query and 1 gallery entries of 64" in text
    assert queries[0] in text
    assert galleries[0] in text
    assert "--allow-missing" in text
    (row,) = score(file, tmp_path, "market1501", allow_missing=True).rows
    kept = save_npz(tmp_path / "b.npz", {k: v for k, v in features.items() if k != galleries[0]})
    report = score(kept, tmp_path, "market1501", allow_missing=True)
    (full,) = report.rows
    assert (row["missing_queries"], row["missing_gallery"], row["queries"]) == (3, 1, 15)
    assert (row["valid_queries"], row["gallery"]) == (15, 48)
    present = {k: v for k, v in features.items() if k not in gone}
    mean_ap, rank1 = loop_market(present)
    assert row["mAP"] == pytest.approx(mean_ap * 12 / 15, abs=1e-6)
    assert row["R-1"] == pytest.approx(rank1 * 12 / 15, abs=1e-9)
    assert "mAP_low" not in row
    assert (full["missing_queries"], full["missing_gallery"]) == (0, 1)
    assert "mAP_low" in full
    assert "have no feature" in report.format()
    none = save_npz(tmp_path / "c.npz", {k: features[k] for k in galleries})
    with pytest.raises(MissingFeatureError, match="15 query"):
        score(none, tmp_path, "market1501", allow_missing=True)


def make_prid(root: Path, *, frames: int = 3) -> dict[str, list[str]]:
    """Ten people in two splits; tracklet -> its frames."""
    people = [f"person_{pid:04d}" for pid in range(1, 11)]
    splits = [{"train": people[:5], "test": people[5:]}, {"train": people[5:], "test": people[:5]}]
    root.mkdir(parents=True, exist_ok=True)
    (root / "splits_prid2011.json").write_text(json.dumps(splits))
    tracklets = {
        f"multi_shot/{camera}/{person}": [f"{number:04d}.png" for number in range(1, frames + 1)]
        for camera in ("cam_a", "cam_b")
        for person in people
    }
    for folder, names in tracklets.items():
        touch(root / folder, names)
    return {folder: [f"{folder}/{name}" for name in names] for folder, names in tracklets.items()}


def make_frames(tracklets: dict[str, list[str]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        frame: (np.eye(11)[int(folder[-4:])] + 2 * rng.normal(size=11)).astype(np.float32)
        for folder, frames in tracklets.items()
        for frame in frames
    }


def test_tracklets_by_folder_by_first_frame_and_by_frames_agree(tmp_path: Path) -> None:
    tracklets = make_prid(tmp_path / "prid")
    frames = make_frames(tracklets)
    means = {
        folder: np.mean([frames[name].astype(np.float64) for name in names], axis=0)
        for folder, names in tracklets.items()
    }
    as_frames = save_npz(tmp_path / "frames.npz", frames)
    as_folders = save_parquet(tmp_path / "folders.parquet", means)
    firsts = {tracklets[folder][0]: mean for folder, mean in means.items()}
    as_firsts = save_npz(tmp_path / "firsts.npz", firsts)
    folders = [folder for folder, names in tracklets.items() for _ in names]
    numbers = np.tile(np.arange(3), len(tracklets))
    np.savez(tmp_path / "n.npz", path=folders, feature=np.stack([*frames.values()]), frame=numbers)
    rows = []
    for file in (as_frames, as_folders, as_firsts, tmp_path / "n.npz"):
        report = score(file, tmp_path / "prid", "prid2011", layout="prid2011", split_ids=[0, 1])
        rows.append([{k: v for k, v in row.items() if k != "pooling"} for row in report.rows])
        assert [row["split"] for row in report.rows] == [0, 1, "mean of 2"]
        assert report.rows[0]["pooling"] == (
            "mean" if file in (as_frames, tmp_path / "n.npz") else "-"
        )
        assert report.unknown == []
    for other in rows[1:]:
        for row, twin in zip(rows[0], other, strict=True):
            assert row == pytest.approx(twin, abs=1e-9)
    mean = rows[0][2]
    assert mean["mAP"] == pytest.approx((rows[0][0]["mAP"] + rows[0][1]["mAP"]) / 2)
    assert mean["mAP_std"] == pytest.approx(abs(rows[0][0]["mAP"] - rows[0][1]["mAP"]) / 2)


def test_pooling_normalisation_and_query_frame_are_honoured(tmp_path: Path) -> None:
    tracklets = make_prid(tmp_path / "prid", frames=5)
    frames = make_frames(tracklets)
    loud = {name: 20 * value if "0001.png" in name else value for name, value in frames.items()}
    file = save_npz(tmp_path / "frames.npz", loud)

    def run(protocol: str = "prid2011", **more: Any) -> tuple[object, object]:
        settings = ProtocolSettings(**more.pop("settings", {}))
        (row,) = score(
            file, tmp_path / "prid", protocol, layout="prid2011", settings=settings, **more
        ).rows
        return row["mAP"], row["title"]

    scores = {run(), run(settings={"pooling": "max"}), run(normalise_frames=True)}
    assert len({mean_ap for mean_ap, _ in scores}) == 3
    modes = ("first", "middle")
    chosen = {run("image_to_video", settings={"query_frame": mode}) for mode in modes}
    assert len({mean_ap for mean_ap, _ in chosen}) == len({title for _, title in chosen}) == 2
    whole = save_npz(tmp_path / "w.npz", {folder: np.ones(4, np.float32) for folder in tracklets})
    with pytest.raises(MissingFeatureError, match="a row per frame of each query tracklet"):
        score(whole, tmp_path / "prid", "image_to_video", layout="prid2011")


def test_a_tracklet_that_lacks_a_frame_is_missing(tmp_path: Path) -> None:
    tracklets = make_prid(tmp_path / "prid")
    frames = make_frames(tracklets)
    del frames[tracklets["multi_shot/cam_b/person_0007"][1]]
    file = save_npz(tmp_path / "a.npz", frames)
    with pytest.raises(MissingFeatureError, match=r"0 query and 1 gallery.*every one of their fr"):
        score(file, tmp_path / "prid", "prid2011", layout="prid2011")
    (row,) = score(file, tmp_path / "prid", "prid2011", layout="prid2011", allow_missing=True).rows
    assert (row["missing_gallery"], row["gallery"]) == (1, 4)


def make_mars(root: Path) -> list[str]:
    """Index files as published; first frames of the test tracks."""
    info = root / "info"
    info.mkdir(parents=True)
    names = {
        "train": ["0001C1T0001F001.jpg", "0001C2T0001F001.jpg"],
        "test": [
            f"{pid:04d}C{cam}T0001F{f:03d}.jpg" for pid in (2, 4) for cam in (1, 2) for f in (1, 2)
        ],
    }
    for part, listed in names.items():
        (info / f"{part}_name.txt").write_bytes("\r\n".join(listed).encode() + b"\r\n")
        (root / f"bbox_{part}").mkdir()
    savemat(
        info / "tracks_train_info.mat", {"track_train_info": np.array([[1, 1, 1, 1], [2, 2, 1, 2]])}
    )
    rows = np.array([[1, 2, 2, 1], [3, 4, 2, 2], [5, 6, 4, 1], [7, 8, 4, 2]])
    savemat(info / "tracks_test_info.mat", {"track_test_info": rows})
    savemat(info / "query_IDX.mat", {"query_IDX": np.array([[1, 4]], dtype=np.uint16)})
    for part, listed in names.items():
        touch(root / f"bbox_{part}", [f"{name[:4]}/{name}" for name in listed])
    return [f"bbox_test/{name[:4]}/{name}" for name in names["test"]]


def test_mars_takes_its_labels_from_the_index_files(tmp_path: Path) -> None:
    frames = make_mars(tmp_path / "mars")
    firsts = dict(zip(frames[::2], np.eye(4, 3, dtype=np.float32) + 0.1, strict=True))
    report = score(
        save_npz(tmp_path / "a.npz", firsts),
        tmp_path / "mars",
        "mars",
        "mars_torchreid",
        layout="mars",
    )
    assert [(row["queries"], row["gallery"]) for row in report.rows] == [(2, 4), (2, 2)]
    folder = {"bbox_test/0002": np.ones(3, np.float32)}  # holds two tracks: of neither
    report = score(
        save_npz(tmp_path / "b.npz", firsts | folder), tmp_path / "mars", "mars", layout="mars"
    )
    assert report.unknown == ["bbox_test/0002"]


def make_sigset(root: Path) -> list[str]:
    """Five subjects; a gallery of a still and a video each, probes of a still and of a segment."""
    media = []
    for folder, name in (("sigsets_main", "Probe_ALL"), ("sigsets_gallery", "Gallery_1")):
        signatures = []
        for pid in range(1, 6):
            base = f"BTS1/G{pid:05d}/set1_{name}"
            still, video = Member(f"{base}.jpg"), f"{base}.mp4"
            media += [still.path, video]
            if folder == "sigsets_main":
                parts = [("4", "9", "frame"), ("9", "20", "frame")]
                members = [[still], *([Member(video, span=part)] for part in parts)]
            else:
                members = [[still, Member(video)]]
            signatures += [
                Signature(f"{name}-{pid}-{number}", f"G{pid:05d}", chosen)
                for number, chosen in enumerate(members)
            ]
        (root / folder).mkdir(parents=True)
        (root / folder / f"{name}.xml").write_bytes(encode_sigset(signatures))
    touch(root, media)
    names = [name for name in media if not name.endswith("ALL.mp4")]
    segments = [
        f"BTS1/G{pid:05d}/set1_Probe_ALL.mp4#{part}frame"
        for pid in range(1, 6)
        for part in ("4-9", "9-20")
    ]
    return [*names, *segments]


def test_sigset_entries_segments_and_failed_probes(tmp_path: Path) -> None:
    names = make_sigset(tmp_path / "sigset")
    rng = np.random.default_rng(1)
    features = {
        name: (3 * np.eye(6)[int(name.split("/")[1][1:])] + 0.1 * rng.normal(size=6)).astype(
            np.float32
        )
        for name in names
    }
    report = score(
        save_npz(tmp_path / "a.npz", features), tmp_path / "sigset", "sigset", layout="sigset"
    )
    (row,) = report.rows
    assert (row["queries"], row["gallery"], row["impostor_pairs"]) == (15, 5, 60)
    assert (row["R-1"], row["TAR@0.01"], report.num_unused) == (1.0, None, 0)
    gone = [name for name in names if name.endswith("#4-9frame")][:3]
    file = save_npz(tmp_path / "b.npz", {k: v for k, v in features.items() if k not in gone})
    with pytest.raises(MissingFeatureError, match=r"3 query and 0 gallery entries of 25"):
        score(file, tmp_path / "sigset", "sigset", layout="sigset")
    (row,) = score(file, tmp_path / "sigset", "sigset", layout="sigset", allow_missing=True).rows
    assert row["R-1"] == pytest.approx(12 / 15)
    assert (row["queries"], row["failed_probes"], row["missing_queries"]) == (15, 3, 3)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(REAL is None, reason="VILLS_REAL_DATA is not set")
def test_random_features_on_the_official_mars_index_files(tmp_path: Path) -> None:
    from scipy.io import loadmat

    info = tmp_path / "mars" / "info"
    info.mkdir(parents=True)
    for name in ("query_IDX", "tracks_test_info", "tracks_train_info"):
        (info / f"{name}.mat").write_bytes(
            (Path(str(REAL)) / "splits" / f"mars_{name}.mat").read_bytes()
        )
    firsts = []
    for part in ("train", "test"):
        rows = loadmat(info / f"tracks_{part}_info.mat")[f"track_{part}_info"].astype(np.int64)
        listed: list[str] = []
        for number, (start, stop, pid, camera) in enumerate(rows):
            label = "00-1" if pid == -1 else f"{pid:04d}"
            frames = range(1, stop - start + 2)
            listed += [f"{label}C{camera}T{number:05d}F{frame:03d}.jpg" for frame in frames]
            if part == "test":
                name = listed[start - 1]
                firsts.append(f"bbox_test/{name[:4]}/{name}")
        (info / f"{part}_name.txt").write_text("\r\n".join(listed))
        touch(tmp_path / "mars" / f"bbox_{part}", [f"{x}/{x}.jpg" for x in {n[:4] for n in listed}])
    rng = np.random.default_rng(0)
    file = save_npz(
        tmp_path / "a.npz", dict(zip(firsts, rng.normal(size=(len(firsts), 4)), strict=True))
    )
    report = score(
        file,
        tmp_path / "mars",
        "mars",
        "mars_torchreid",
        layout="mars",
        settings=ProtocolSettings(),
    )
    counts = [(row["queries"], row["valid_queries"], row["gallery"]) for row in report.rows]
    assert counts == [(1980, 1980, 11310), (1980, 1840, 9330)]
    assert report.num_unused == 870  # junk


Arrays = dict[str, Any]

SPOILERS: dict[str, Callable[[np.ndarray, np.ndarray], Arrays]] = {
    "nan": lambda names, values: {"feature": np.where(np.arange(64)[:, None] == 3, np.nan, values)},
    "overflow": lambda names, values: {"feature": values.astype(np.longdouble) * 1e4000},
    "too large": lambda names, values: {"feature": values.astype(np.float64) * 1e200},
    "too small": lambda names, values: {"feature": values.astype(np.float64) * 1e-200},
    "integers": lambda names, values: {"feature": values.astype(np.int64)},
    "one dimension": lambda names, values: {"feature": values[:, 0]},
    "lengths": lambda names, values: {"feature": values[:-1]},
    "bytes": lambda names, values: {"path": np.char.encode(np.char.add(names, "é"), "latin-1")},
    "no name": lambda names, values: {"path": np.concatenate([[""], names[1:]])},
    "objects": lambda names, values: {"path": names.astype(object)},
    "no path": lambda names, values: {"path": None},
    "twice": lambda names, values: {"path": np.concatenate([names[:1], names[:1], names[2:]])},
    "twice by other names": lambda names, values: {
        "path": np.concatenate([[Path(str(names[1])).name], names[1:]])
    },
    "other folders": lambda names, values: {"path": np.char.replace(names, "/", "/new/")},
    "another folder": lambda names, values: {"path": np.char.replace(names, "query", "asked")},
    "two roots": lambda names, values: {
        "path": np.concatenate([["a/" + names[1], "b/" + names[1]], names[2:]])
    },
    "another data set": lambda names, values: {"path": np.char.add("x", names)},
    "empty": lambda names, values: {"path": names[:0], "feature": values[:0]},
    "frame of an image": lambda names, values: {"frame": np.full(len(names), 4)},
    "frame -2": lambda names, values: {"frame": np.full(len(names), -2)},
}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nan", r"1 of 64 rows of 'feature' hold NaN or inf: bounding_box_test/0001"),
        ("overflow", "64 of 64 rows of 'feature' hold NaN or inf"),
        ("too large", r"64 of 64 rows.*beyond the range.*0001.*e\+200.*to 3.4e.38"),
        ("too small", r"64 of 64 rows.*beyond the range.*0001.*e-200.*1.4e-45 to"),
        ("integers", "feature is int64"),
        ("one dimension", "feature is float32 .64,.*floating point .n, D."),
        ("lengths", "arrays of .63, 64. rows"),
        ("bytes", r"path is bytes .*utf-8.*Allowed: text in UTF-8"),
        ("no name", "a path is empty"),
        ("objects", "objects are never unpickled"),
        ("no path", "has no path; it has feature"),
        ("twice", "1 rows occur twice: query/0001_c1"),
        ("twice by other names", "is of the same as"),
        ("other folders", "query/new/0001.* has the file name of query/0001.*another folder"),
        ("another folder", "15 query.*no feature: .*asked/0001.* has the file name of query/0001"),
        ("two roots", "1 query and 1 gallery entries of 64 have no feature"),
        ("another data set", "no path in the file is a test file.*What to do: write paths rel"),
        ("empty", "has no row"),
        ("frame of an image", "beyond the last of 1 frames"),
        ("frame -2", "frame -2 of"),
    ],
)
def test_bad_files_are_refused_with_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    features = make_market(tmp_path / "market")
    names, values = np.array(list(features), dtype=str), np.stack([*features.values()])
    arrays: dict[str, Any] = {"path": names, "feature": values} | SPOILERS[name](names, values)
    file = tmp_path / "a.npz"
    np.savez(file, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(FeatureFileError, match=message) as caught:
        score(file, tmp_path / "market", "market1501")
    assert "What to do" in str(caught.value)


SPELT: dict[str, tuple[Callable[[str], Any], str]] = {
    "Windows": (lambda name: name.replace("/", "\\"), "slashes for backslashes"),
    "absolute": (lambda name: f"/data/market/{name}", "the folders in front removed"),
    "a neighbour": (lambda name: f"../market/{name}", "the folders in front removed"),
    "below": (lambda name: f"market/v15.09/{name}", "the folders in front removed"),
    "another drive": (
        lambda name: f"D:\\market\\{name}".replace("/", "\\"),
        "slashes for backslashes and the folders in front removed",
    ),
    "converted": (lambda name: name.replace(".jpg", ".png"), "another suffix"),
    "stems": (lambda name: name.removesuffix(".jpg"), "another suffix"),
    "case": (str.upper, "other upper and lower case"),
    "spaces": (lambda name: f" {name}\n", "spaces around it removed"),
    "URI": (
        lambda name: f"file:///data/{name.replace('_', '%5F')}",
        "%-codes decoded and the fold",
    ),
    "bare": (lambda name: Path(name).name.upper(), "other upper and lower case"),
}


@pytest.mark.parametrize("case", SPELT)
def test_paths_that_are_spelt_otherwise_are_matched_and_counted(tmp_path: Path, case: str) -> None:
    features = make_market(tmp_path / "market")
    (expected,) = score(save_npz(tmp_path / "a.npz", features), tmp_path / "market", "image").rows
    spell, said = SPELT[case]
    spelt = {spell(name): value for name, value in features.items()}
    report = score(save_npz(tmp_path / "b.npz", spelt), tmp_path / "market", "image")
    assert report.rows == [expected]
    (note,) = [note for note in report.notes if "matched" in note]
    assert note.startswith(f"64 paths are matched with {said}")
    # of a part of the file the part is counted, and what is right already is left alone
    half = {spell(n) if n < "query" else n: value for n, value in features.items()}
    half |= {spell(name): 9 * value for name, value in features.items() if name > "query"}
    report = score(save_npz(tmp_path / "c.npz", half), tmp_path / "market", "image")
    assert report.rows == [expected]
    assert len(report.unknown) == 15
    (note,) = [note for note in report.notes if "matched" in note]
    assert note.startswith("49 paths")


def test_unicode_forms_and_text_of_bytes_are_matched(tmp_path: Path) -> None:
    base = make_market(tmp_path / "market")
    (tmp_path / "root").mkdir()
    (tmp_path / "market").rename(tmp_path / "root" / "caf\u00e9")
    named = {f"cafe\u0301/{name}": value for name, value in base.items()}
    np.savez(
        tmp_path / "a.npz",
        path=np.char.encode(np.array(list(named)), "utf-8"),
        feature=np.stack([*named.values()]),
    )
    encoded = [name.encode() for name in named]
    values = [value.tolist() for value in named.values()]
    pq.write_table(pa.table({"path": encoded, "feature": values}), tmp_path / "a.parquet")
    for suffix in ("npz", "parquet"):
        report = score(tmp_path / f"a.{suffix}", tmp_path / "root" / "caf\u00e9", "image")
        assert "64 paths are matched with the folders in front" in report.notes[-1]
    flat = tmp_path / "flat"
    names = {f"000{pid}_c{cam}_\u00e9.jpg": np.ones(2) for pid in (2, 3) for cam in (1, 2)}
    touch(flat, ["0001_c1_x.jpg", *names])
    decomposed = {name.replace("\u00e9", "e\u0301"): value for name, value in names.items()}
    report = score(save_npz(tmp_path / "b.npz", decomposed), flat, "image", layout="folder")
    assert "another Unicode form" in report.notes[-1]


def write_ragged(path: Path) -> None:
    pq.write_table(pa.table({"path": ["a", "b"], "feature": [[1.0, 2.0], [3.0]]}), path)


def write_null(path: Path) -> None:
    pq.write_table(pa.table({"path": ["a", "b"], "feature": [[1.0, 2.0], None]}), path)


def write_strings(path: Path) -> None:
    pq.write_table(pa.table({"path": ["a", "b"], "feature": ["1 2", "3 4"]}), path)


def write_numbers(path: Path) -> None:
    pq.write_table(pa.table({"path": [1, 2], "feature": [[1.0], [3.0]]}), path)


def write_empty(path: Path) -> None:
    kind = pa.schema([("path", pa.string()), ("feature", pa.list_(pa.float32()))])
    pq.write_table(kind.empty_table(), path)


def write_zero_size(path: Path) -> None:
    kind = pa.schema([("path", pa.string()), ("feature", pa.list_(pa.float32()))])
    pq.write_table(pa.table({"path": ["a"], "feature": [[]]}, schema=kind), path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (write_ragged, "features of lengths 1, 2 in 'feature'.*--column coarse"),
        (write_null, "1 of 2 values of 'feature' are null"),
        (write_strings, "feature is string. Allowed: list<float>"),
        (write_numbers, "path is int64. Allowed: string"),
        (write_empty, "has no row"),
        (write_zero_size, "features of length 0"),
        (lambda path: path.write_bytes(b""), "cannot be read as parquet"),
        (lambda path: path.write_bytes(b"PAR1 broken PAR1"), "cannot be read as parquet"),
        (lambda path: None, "no file"),
    ],
)
def test_bad_parquet_is_refused(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "a.parquet")
    with pytest.raises(FeatureFileError, match=message):
        load_feature_table(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "cannot be read as .npz"), (b"PK\x03\x04 cut", "cannot be read as .npz")],
)
def test_broken_npz_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FeatureFileError, match=message):
        load_feature_table(tmp_path / "a.npz")
    (tmp_path / "a.csv").touch()
    with pytest.raises(FeatureFileError, match=r"names that end in .parquet or .npz"):
        load_feature_table(tmp_path / "a.csv")
    with (tmp_path / "b.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(FeatureFileError, match="holds a single array"):
        load_feature_table(tmp_path / "b.npz")


def test_a_damaged_compressed_npz_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez_compressed(file, path=np.array(["a", "b"]), feature=np.zeros((2, 4000), np.float32))
    data = bytearray(file.read_bytes())
    start = data.index(b"feature.npy") + len("feature.npy")
    data[start + 4 : start + 40] = b"\xff" * 36
    file.write_bytes(data)
    with pytest.raises(FeatureFileError, match="cannot be read as .npz.*What to do"):
        load_feature_table(file)


def test_what_is_damaged_in_its_own_description_is_said(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    np.savez(file, path=np.array(["a"]), feature=np.ones((1, 4), np.float32), about="a" * 999)
    data = file.read_bytes()
    file.write_bytes(data.replace("aaa".encode("utf-32-le"), "bbb".encode("utf-32-le"), 1))
    with pytest.raises(InputError, match=r"a\.npz: what it says of its features is damaged"):
        load_feature_table(file)


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_more_than_the_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"a{suffix}"
    names, features = ["a.jpg"] * 100_000, np.zeros((100_000, 2), np.float32)
    if suffix == ".npz":
        np.savez_compressed(file, path=np.array(names), feature=features)
    else:
        pq.write_table(pa.table({"path": names, "feature": [*features]}), file)
    assert file.stat().st_size < 20_000
    monkeypatch.setattr("vills.inputs.os.sysconf", lambda _: 800)  # 640 kB in all
    with pytest.raises(FeatureFileError, match=r"too large: .* bytes once it is unpacked"):
        load_feature_table(file)
    if suffix == ".parquet":
        with pytest.raises(InputError, match=r"too large: .* bytes once it is unpacked"):
            read_table(file, remedy="write it again")


@pytest.mark.parametrize("column", ["path", "frame"])
def test_the_names_of_rows_are_no_features(tmp_path: Path, column: str) -> None:
    features = {"a.jpg": np.ones(2, np.float32)}
    for file in (
        save_npz(tmp_path / "a.npz", features, frame=np.array([-1])),
        save_parquet(tmp_path / "a.parquet", features, frame=[-1]),
    ):
        with pytest.raises(FeatureFileError, match=f"--column {column} is not allowed"):
            load_feature_table(file, column=column)


def test_features_of_zeros_are_noted(tmp_path: Path) -> None:
    features = make_market(tmp_path / "set")
    name = next(iter(features))
    features[name] = np.zeros(6, np.float32)
    report = score(save_npz(tmp_path / "a.npz", features), tmp_path / "set", "market1501")
    assert f"note: 1 features are all zeros: {name}" in report.format()
    assert "hardly differ" not in report.format()


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_features_that_are_all_one_are_noted(tmp_path: Path, scale: float) -> None:
    features = make_market(tmp_path / "set")
    rng = np.random.default_rng(0)
    for name in features:
        features[name] = (scale * (3 + 1e-3 * rng.normal(size=6))).astype(np.float32)
    report = score(save_npz(tmp_path / "a.npz", features), tmp_path / "set", "market1501")
    assert "note: the features hardly differ: the mean cosine of two rows is 1.0000" in (
        report.format()
    )


def test_names_may_start_with_dots(tmp_path: Path) -> None:
    file = save_npz(tmp_path / "a.npz", {"..a/b.jpg": np.ones(2, np.float32)})
    assert load_feature_table(file).paths == ["..a/b.jpg"]


def test_junk_in_the_query_is_noted(tmp_path: Path) -> None:
    features = make_market(tmp_path / "set")
    touch(tmp_path / "set", ["query/-1_c1s1_000001_00.jpg"])
    report = score(save_npz(tmp_path / "a.npz", features), tmp_path / "set", "market1501")
    assert report.rows[0]["queries"] == 15
    assert "note: 1 rows of query without a person left out" in report.format()


def test_what_one_split_alone_lacks_is_no_column_of_the_mean(tmp_path: Path) -> None:
    features = {
        name: np.random.default_rng(number).normal(size=4)
        for number, name in enumerate(make_prid(tmp_path / "prid"))
    }
    gone = next(name for name in features if "cam_a/person_0006" in name)
    del features[gone]
    report = score(
        save_npz(tmp_path / "a.npz", features),
        tmp_path / "prid",
        "prid2011",
        layout="prid2011",
        split_ids=[0, 1],
        allow_missing=True,
    )
    assert [row.get("missing_queries") for row in report.rows] == [1, None, None]
    save_report(tmp_path / "out.json", report)
    saved = json.loads((tmp_path / "out.json").read_text())
    rows = saved["rows"]
    assert any("interval over people" in mark for mark in saved["marks"])
    assert rows[2]["split"] == "mean of 2"
    assert rows[2]["mAP"] == pytest.approx((rows[0]["mAP"] + rows[1]["mAP"]) / 2)


def test_the_protocol_of_another_data_set_is_refused(tmp_path: Path) -> None:
    file = save_npz(tmp_path / "a.npz", make_market(tmp_path / "set"))
    for protocol in ("prcc_cloth_changing", "ltcc_standard", "mars", "sigset"):
        with pytest.raises(ConfigError, match=f"{protocol}.*layout market1501.*image_to_video"):
            score(file, tmp_path / "set", protocol)


def test_another_column_and_float16_and_fixed_lists_are_read(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float16).reshape(3, 2)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 2)
    pq.write_table(pa.table({"path": ["a", "b", "./c"], "coarse": flat}), tmp_path / "a.parquet")
    external = load_feature_table(tmp_path / "a.parquet", column="coarse")
    assert external.paths == ["a", "b", "c"]
    assert external.features.dtype == np.float32
    np.testing.assert_array_equal(external.features, values)
    with pytest.raises(FeatureFileError, match=r"has no feature; it has path, coarse.*--column"):
        load_feature_table(tmp_path / "a.parquet")


def test_what_vills_extract_writes_is_read(tmp_path: Path) -> None:
    tracklets = make_prid(tmp_path / "prid")
    for suffix in ("npz", "parquet"):
        path = tmp_path / f"a.{suffix}"
        rng = np.random.default_rng(0)
        written: list[dict[str, object]] = []
        for folder in tracklets:
            token = rng.normal(size=4).astype(np.float32)
            row = {"path": folder, "kind": "video", "num_frames": 3, "coarse": token}
            written.append({**row, "head": None, "feature": np.tile(token, 2)})
        save_tokens(path, written, roles=("coarse", "head"), about={}, kind=f".{suffix}")
        rows = [
            score(path, tmp_path / "prid", "prid2011", layout="prid2011", column=column).rows[0]
            for column in ("feature", "coarse")
        ]
        assert rows[0]["mAP"] == rows[1]["mAP"]
        assert rows[0]["queries"] == 5


def test_a_split_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    tracklets = make_prid(tmp_path / "prid")
    file = save_npz(tmp_path / "a.npz", {name: np.ones(2, np.float32) for name in tracklets})
    with pytest.raises(ConfigError, match="split_id = 2 is not allowed.*splits 0 to 1"):
        score(file, tmp_path / "prid", "prid2011", layout="prid2011", split_ids=[2])
    market = save_npz(tmp_path / "b.npz", make_market(tmp_path / "market"))
    with pytest.raises(ConfigError, match="market1501 has only split 0"):
        score(market, tmp_path / "market", "image", split_ids=[1])
