"""Held-out people under every protocol, against plain loops: who asks and who is searched."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.evaluation import oracle
from tests.evaluation.curated import make_crop, write_entries
from tests.evaluation.networks import SIZE, make_reid
from tests.evaluation.oracle import Item, Rule
from tests.evaluation.test_oracle import TOP, VECTORS, build_data, describe, measure, read_ranks
from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.protocols import PROTOCOLS as NAMES
from vills.data.images import encode_jpeg
from vills.data.reid import ReidData, load_reid_data
from vills.data.samplers import TrainingPeople
from vills.errors import UserError
from vills.evaluation.accuracy import build_val_data, check_accuracy, compute_accuracy
from vills.evaluation.protocols import PROTOCOLS, ProtocolSettings

Choose = Callable[[Item], bool]
NUM_WORLDS = 40


def same_view(query: Item, other: Item) -> bool:
    """The person again in the query's own camera, or the query itself."""
    return oracle.same_camera(query, other) or query["id"] == other["id"]


def is_first(item: Item) -> bool:
    return bool(item["first"])


@dataclass(frozen=True)
class Case:
    """A protocol on held-out people by its definition."""

    is_query: Choose = lambda item: True
    is_gallery: Choose = lambda item: True
    is_junk: Rule = oracle.same_camera
    kind: str = "image"
    cameras: Sequence[int] = (0, 1, 2)


UNKNOWN = (-1, 0, 1)
TRACKS = {"is_query": is_first, "kind": "tracklet"}
CASES = {
    "image": Case(is_junk=same_view, cameras=UNKNOWN),
    "video": Case(is_junk=same_view, cameras=UNKNOWN, kind="tracklet"),
    "image_to_video": Case(is_junk=same_view, cameras=UNKNOWN, kind="tracklet"),
    "market1501": Case(),
    "prcc_same_clothes": Case(lambda i: i["camid"] == 1, lambda i: i["camid"] == 0),
    "prcc_cloth_changing": Case(lambda i: i["camid"] == 2, lambda i: i["camid"] == 0),
    "ltcc_standard": Case(),
    "ltcc_cloth_changing": Case(is_junk=oracle.same_camera_or_clothes),
    "ltcc_same_clothes": Case(is_junk=oracle.same_camera_or_other_clothes),
    "mars": Case(**TRACKS),  # type: ignore[arg-type]
    "mars_torchreid": Case(is_gallery=lambda i: not i["first"], **TRACKS),  # type: ignore[arg-type]
    "mars_image_to_video": Case(**TRACKS),  # type: ignore[arg-type]
    "prid2011": Case(
        lambda i: i["camid"] == 0, lambda i: i["camid"] == 1, kind="tracklet", cameras=(0, 1)
    ),
}


def build_people(name: str, seed: int) -> list[Item]:
    case, rng = CASES[name], random.Random(f"{name} {seed}")
    seen: set[tuple[int, int]] = set()
    items: list[Item] = []
    for number in range(rng.randint(6, 30)):
        pid, camid = rng.randint(1, 5), rng.choice(case.cameras)
        items.append(
            {
                "id": f"{number:04d}",
                "pid": pid,
                "camid": camid,
                "clothes_id": 100 * pid + rng.randrange(3),
                "kind": case.kind,
                "num_frames": 1 if case.kind == "image" else rng.randint(1, 5),
                "split": "query",
                "vector": rng.choice(VECTORS),
                "first": (pid, camid) not in seen,
            }
        )
        seen.add((pid, camid))
    return items


def hold_out(items: Sequence[Item]) -> ReidData:
    val = build_data(items).query.manifest
    return ReidData("x", val, val, val, None, val=val)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_held_out_people_are_scored_by_the_definition(name: str) -> None:
    case, scored = CASES[name], 0
    for seed in range(NUM_WORLDS):
        items = build_people(name, seed)
        queries = list(filter(case.is_query, items))
        gallery = list(filter(case.is_gallery, items))
        distances = measure(queries, gallery, distance="cosine")
        expected = [
            oracle.find_hit_ranks(query, gallery, distances[query["id"]], is_junk=case.is_junk)
            for query in queries
        ]
        protocol, config = PROTOCOLS[name], FinetuneConfig(protocol=name, num_val_ids=5)
        data = hold_out(items)
        if not any(expected):
            with pytest.raises(ConfigError, match="num_val_ids = 5 of x is not allowed: "):
                check_accuracy(data=data, config=config)
            continue
        check_accuracy(data=data, config=config)
        result = protocol.run(
            describe(items),
            data=build_val_data(data, protocol=protocol),
            settings=ProtocolSettings(ranks=TOP, distance="cosine"),
            top_k=len(items),
        )
        assert read_ranks(result.lists) == expected
        for key, value in oracle.score(expected, kind="step", top=TOP).items():
            assert result.rows[-1][key] == pytest.approx(value, abs=1e-9), (key, seed)
        scored += 1
    assert scored > NUM_WORLDS // 2


def test_every_protocol_is_held_against_its_definition_or_refused() -> None:
    assert {*CASES, "sigset"} == {name for name in NAMES if not name.endswith("single_shot")}
    with pytest.raises(ConfigError, match="protocol sigset: training people have no templates"):
        FinetuneConfig(protocol="sigset", num_val_ids=2)


def test_what_a_protocol_must_know_of_held_out_people_is_said_before_training() -> None:
    items = build_people("image", 0)
    for name, changes, message in (
        ("market1501", {"camid": -1}, r"num_val_ids = 5 of x .* needs the camera of every person"),
        ("ltcc_standard", {"camid": 1}, "none of the .* queries has a true match"),
        ("prcc_cloth_changing", {"camid": 1}, "needs a query of camera 2"),
        ("prcc_cloth_changing_single_shot", {"camid": 2}, "needs a gallery of camera 0"),
        ("ltcc_cloth_changing", {"camid": 1, "clothes_id": -1}, "needs the outfit"),
        ("video", {}, "needs a query of tracklets"),
    ):
        data = hold_out([{**item, **changes} for item in items])
        config = FinetuneConfig(protocol=name, num_val_ids=5)
        with pytest.raises(UserError, match=message) as caught:
            check_accuracy(data=data, config=config)
        assert str(caught.value).count("What to do: ") == 1


def test_accuracy_is_that_of_the_held_out_people(tmp_path: Path) -> None:
    rows = [("train", pid, camid) for pid in range(1, 7) for camid in (0, 1, 1)]
    rows += [("query", 9, 0), ("query", 8, 0), ("gallery", 8, 1), ("gallery", 9, 1)]
    crops = [
        # the gallery's labels are wrong, which only test accuracy sees
        (split, 17 - pid if split == "gallery" else pid, camid, [encode_jpeg(picture, 95)])
        for number, (split, pid, camid) in enumerate(rows)
        for picture in [make_crop(pid, camid, number)]
    ]
    write_entries(tmp_path / "set", crops, modality="image")
    data = load_reid_data(tmp_path / "set", modality="image", people=TrainingPeople(3))
    assert data.val is not None
    model, config = make_reid("image"), FinetuneConfig(num_val_ids=3, input_size=list(SIZE))
    like_test = replace(data, val=None, query=data.val, gallery=data.val)
    own, same, other = (
        compute_accuracy(model, data=shown, config=config)
        for shown in (data, like_test, replace(data, val=None))
    )
    assert own == same != other
