"""PRID2011: tracklets, `prid_2011/multi_shot/cam_{a,b}/person_<number>/<frame>.png`, ten splits.

As in the release, a number means the same person in both cameras only as far as the shared people
go; beyond, each camera has people of its own. `splits_prid2011.json` halves the shared people
whose tracklets are long enough, in ten ways.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import get_size, sample_shot, save_crop
from vills.miniature.people import PRID_OFFSET, Actor, build_actor, sample_passer
from vills.miniature.person import Group
from vills.miniature.scene import FRAMES_PER_SECOND
from vills.miniature.sink import Sink

_NUM_SPLITS = 10
_FIRST_CAMERA = 12_120
_STRANGERS = (3, 5)  # people of camera a alone, of camera b alone
_SHORT = ((2, None), (None, 2), (3, 3))  # frames in each camera of those left out of the splits
_PASSED = 0.8  # share of tracklets during which somebody walks past
_JITTER, _SLIP, _SLIPS = 0.022, 0.09, 0.25  # how far boxes are off; at times more; how often


@dataclass(frozen=True, slots=True)
class Track:
    """A tracklet."""

    actor: Actor
    number: int
    camera: int
    """0: a, 1: b."""
    length: int | None = None
    """Frames; None: as many as others have."""


def list_tracks(config: MiniatureConfig) -> list[Track]:
    """Return the tracklets of the people that both cameras see, then of those that one sees."""
    shared, left_out = _count_shared(config), _draw_short(config)
    planned = [
        (number, number, camera, length)
        for number in range(1, shared + 1)
        for camera, length in enumerate(left_out.get(number, (None, None)))
    ]
    for camera, count in enumerate(_STRANGERS):
        # The same number in the other camera is somebody else.
        planned += [(1_000 * (1 + camera) + k, shared + 1 + k, camera, None) for k in range(count)]
    tracks = []
    for index, number, camera, length in planned:
        actor = build_actor(config.seed, Group.PRID2011, index, 0, person=PRID_OFFSET + index)
        tracks.append(Track(actor, number, camera, length))
    return tracks


def render_track(config: MiniatureConfig, track: Track, sink: Sink) -> None:
    """Render one tracklet."""
    rng = sample_rng(config.seed, Stream.VIEW, 5, track.actor.identity.index, track.camera)
    camera = build_camera(config.seed, _FIRST_CAMERA + track.camera)
    shot = sample_shot(camera, get_size(config), rng)
    # Somebody walks past in front: a frame may show the wrong person, a tracklet hardly.
    passer = sample_passer(config.seed, rng)
    pace, moment = float(rng.uniform(0.20, 0.35)), float(rng.uniform(0.02, 0.9))
    # An offset below 0 is in front; after `moment` seconds they cover each other.
    passing = {"passer": passer, "passer_offset": -8 * pace * moment, "passer_drift": pace}
    shot = dataclasses.replace(shot, **(passing if rng.random() <= _PASSED else {"passer": None}))
    shortest = max(4, -(-2 * config.tracklet_frames // 3))
    drawn = int(rng.integers(shortest, max(shortest, config.tracklet_frames) + 1))
    folder = f"prid_2011/multi_shot/cam_{'ab'[track.camera]}/person_{track.number:04d}"
    for frame in range(drawn if track.length is None else track.length):
        path, time = f"{folder}/{frame + 1:04d}.png", frame / FRAMES_PER_SECOND
        jitter = _SLIP if rng.random() < _SLIPS else _JITTER
        save_crop(sink, path, track.actor, shot=shot, rng=rng, time=time, jitter=jitter)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return the ten splits."""
    left_out = _draw_short(config)
    people = [n for n in range(1, _count_shared(config) + 1) if n not in left_out]
    splits = []
    for split in range(_NUM_SPLITS):
        rng = sample_rng(config.seed, Stream.CAST, Group.PRID2011, 1 + split)
        order = rng.permutation(people).tolist()
        halves = {"train": order[: config.num_prid_ids], "test": order[config.num_prid_ids :]}
        splits.append({k: [f"person_{n:04d}" for n in sorted(half)] for k, half in halves.items()})
    return {"splits_prid2011.json": json.dumps(splits).encode()}


def _count_shared(config: MiniatureConfig) -> int:
    return 2 * config.num_prid_ids + len(_SHORT)


def _draw_short(config: MiniatureConfig) -> dict[int, tuple[int | None, int | None]]:
    """Return the people that are too short for the splits, and how short."""
    rng = sample_rng(config.seed, Stream.CAST, Group.PRID2011, 0)
    numbers = 1 + rng.permutation(_count_shared(config))[: len(_SHORT)]
    return dict(zip(numbers.tolist(), _SHORT, strict=True))
