"""MARS: tracklets, `bbox_{train,test}/<pid>/<pid>C<camera>T<tracklet>F<frame>.jpg` and `info/`.

Pid 00-1 marks tracks of bad boxes, 0000 people that no query asks for. `info/` has image names,
tables of tracklets and the list of queries, as published.
"""

import io
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.io
from numpy.typing import NDArray

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import add_crop, get_size, plan_shot
from vills.miniature.people import Actor, Subject, build_distractor, build_subjects
from vills.miniature.person import Group
from vills.miniature.scene import FRAMES_PER_SECOND
from vills.miniature.sink import Sink

UNIT = 20  # tracklets
_JITTER, _BAD = 0.022, 0.20  # how far boxes are off
_SECOND_TRACK = 0.35  # share of the test people's cameras that see them twice
_SHORTEST = 2  # frames; the first person of each split has one track more, of this length
_HEADER = b"MATLAB 5.0 MAT-file"
_HEADER_BYTES = 116  # free text at the start of a level 5 MAT-file


@dataclass(frozen=True, slots=True)
class _Track:
    actor: Actor
    pid: str
    camera: int
    number: int
    """Tracklet of this pid, from 1."""
    jitter: float = _JITTER
    short: bool = False


def list_items(config: MiniatureConfig) -> list[_Track]:
    """Return the tracklets of the training split, then of the test split, then of the others."""
    subjects = build_subjects(config)
    tracks = [track for subject in subjects for track in _plan_subject(config, subject)]
    for index in range(config.num_distractors):
        rng = sample_rng(config.seed, Stream.VIEW, 2, Group.DISTRACTOR, index)
        actor = build_distractor(config.seed, index)
        for pid, jitter in (("0000", _JITTER), ("00-1", _BAD)):
            camera = int(rng.integers(config.num_cameras))
            tracks.append(_Track(actor, pid, camera, index + 1, jitter))
    return tracks


def render_item(config: MiniatureConfig, track: _Track, sink: Sink) -> None:
    """Render one tracklet."""
    junk = int(track.pid == "00-1")
    person = track.actor.look.identity
    key = (Stream.VIEW, 2, person.group, person.index, track.camera, track.number, junk)
    rng = sample_rng(config.seed, *key)
    shot = plan_shot(build_camera(config.seed, track.camera), get_size(config), rng)
    usual = max(_SHORTEST, -(-2 * config.tracklet_frames // 3))
    length = int(rng.integers(usual, config.tracklet_frames + 1))
    folder = "bbox_train" if person.group is Group.TRAIN else "bbox_test"
    for frame in range(_SHORTEST if track.short else length):
        name = f"{track.pid}C{track.camera + 1}T{track.number:04d}F{frame + 1:03d}.jpg"
        path, time = f"{folder}/{track.pid}/{name}", frame / FRAMES_PER_SECOND
        add_crop(sink, path, track.actor, shot=shot, rng=rng, time=time, jitter=track.jitter)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return `info/` for the images below `root`, from their names alone."""
    train, test = _list_names(root / "bbox_train"), _list_names(root / "bbox_test")
    tracks = build_track_table(test)
    return {
        "info/train_name.txt": _join(train),
        "info/test_name.txt": _join(test),
        "info/tracks_train_info.mat": encode_mat("track_train_info", build_track_table(train)),
        "info/tracks_test_info.mat": encode_mat("track_test_info", tracks),
        "info/query_IDX.mat": encode_mat("query_IDX", choose_queries(tracks)),
    }


def build_track_table(names: list[str]) -> NDArray[np.int32]:
    """Return [tracklets, 4] int32: first and last name (from 1, both included), pid, camera."""
    rows = []
    start = 1
    for track, members in itertools.groupby(names, key=lambda name: name[: name.index("F")]):
        stop = start + len(list(members)) - 1
        pid = int(track[2:4] if track.startswith("00-") else track[:4])
        rows.append((start, stop, pid, int(track[5])))
        start = stop + 1
    return np.array(rows, dtype=np.int32).reshape(-1, 4)


def choose_queries(tracks: NDArray[np.int32]) -> NDArray[np.uint16]:
    """Return [1, queries] uint16: the first tracklet (from 1) of each real person and camera."""
    chosen: dict[tuple[int, int], int] = {}
    for row, (_, _, pid, camera) in enumerate(tracks.tolist(), start=1):
        if pid > 0:
            chosen.setdefault((pid, camera), row)
    return np.array([sorted(chosen.values())], dtype=np.uint16)


def encode_mat(key: str, table: NDArray[np.integer]) -> bytes:
    """Return a level 5 MAT-file whose header text carries no date."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {key: table})
    return _HEADER.ljust(_HEADER_BYTES) + buffer.getvalue()[_HEADER_BYTES:]


def _plan_subject(config: MiniatureConfig, subject: Subject) -> Iterator[_Track]:
    person = subject.actor.look.identity
    rng = sample_rng(config.seed, Stream.VIEW, 2, person.group, person.index)
    number, pid = 0, f"{subject.pid:04d}"
    for camera in subject.cameras:
        for _ in range(1 + int(person.group is Group.TEST and rng.random() < _SECOND_TRACK)):
            number += 1
            yield _Track(subject.actor, pid, camera, number)
    if person.index == 0:
        yield _Track(subject.actor, pid, subject.cameras[0], number + 1, short=True)


def _list_names(folder: Path) -> list[str]:
    people = sorted(folder.glob("[0-9]*"))
    return [file.name for person in people for file in sorted(person.glob("[0-9]*.jpg"))]


def _join(names: list[str]) -> bytes:
    return "".join(f"{name}\r\n" for name in names).encode()  # as the official generator does
