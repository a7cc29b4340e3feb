"""Market-1501, and MARS, its extension to tracklets by the same people in the same outfit.

Market-1501: `<pid>_c<camera>s<sequence>_<frame>_<box>.jpg` in three folders. Box 00 is drawn by
hand, others come from a detector and are off by more. Pid -1 marks a bad box, pid 0000 a person
that no query asks for.

MARS: `bbox_{train,test}/<pid>/<pid>C<camera>T<tracklet>F<frame>.jpg`. Pid 00-1 marks tracks of bad
boxes, 0000 people that no query asks for. `info/` has image names, tables of tracklets and the
list of queries, as published.
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
from vills.miniature.crop import get_size, sample_shot, save_crop, save_still
from vills.miniature.people import Actor, build_actor, build_distractor, sample_pids
from vills.miniature.person import Group
from vills.miniature.scene import FRAMES_PER_SECOND
from vills.miniature.sink import Sink

_PIDS = range(2, 1502)  # of Market-1501, whose pids MARS goes on using
_BY_HAND, _BY_DETECTOR, _BAD = 0.018, 0.035, 0.22  # how far boxes of Market-1501 are off
_TRACKED, _TRACKED_BADLY = 0.022, 0.20  # how far boxes of MARS are off
_SECOND_TRACK = 0.35  # share of the test people's cameras that see them twice
_SHORTEST = 2  # frames; the first person of each split has one track more, of this length
_HEADER = b"MATLAB 5.0 MAT-file"
_HEADER_BYTES = 116  # free text at the start of a level 5 MAT-file


@dataclass(frozen=True, slots=True)
class Subject:
    """A person in the one outfit they wear here."""

    actor: Actor
    pid: int
    cameras: tuple[int, ...]
    """0-based cameras that see the person, at least two."""


def list_subjects(config: MiniatureConfig) -> list[Subject]:
    """Return the people of the training split, then of the test split, each by rising pid.

    Pids are drawn from 2 to 1501 without gaps being filled: as in the real data sets they neither
    start at 0 nor follow each other.
    """
    counts = (config.num_train_ids, config.num_test_ids)
    drawn = sample_pids(sample_rng(config.seed, Stream.CAST), _PIDS, *counts)
    subjects = []
    for group, pids in zip((Group.TRAIN, Group.TEST), drawn, strict=True):
        for index, pid in enumerate(pids):
            rng = sample_rng(config.seed, Stream.CAST, group, index)
            seen = config.num_cameras - int(config.num_cameras > 2 and rng.random() < 0.5)
            cameras = sorted(rng.permutation(config.num_cameras)[:seen].tolist())
            actor = build_actor(config.seed, group, index, 0, person=pid)
            subjects.append(Subject(actor, pid, tuple(cameras)))
    return subjects


def list_people(config: MiniatureConfig) -> list[Subject | int]:
    """Return the people of the training and the test split, and the numbers of the others."""
    return [*list_subjects(config), *range(config.num_distractors)]


def render_person(config: MiniatureConfig, item: Subject | int, sink: Sink) -> None:
    """Render all pictures of a person of Market-1501."""
    if isinstance(item, Subject):
        _render_subject(config, item, sink)
        return
    actor, size = build_distractor(config.seed, item), get_size(config)
    for pid, jitter in (("0000", _BY_DETECTOR), ("-1", _BAD)):
        rng = sample_rng(config.seed, Stream.VIEW, 1, Group.DISTRACTOR, item, int(pid) + 1)
        number = int(rng.integers(config.num_cameras))
        frame = item * 500 + 250 * int(pid == "-1") + int(rng.integers(250))
        path = f"bounding_box_test/{pid}_c{number + 1}s1_{frame:06d}_02.jpg"
        camera = build_camera(config.seed, number)
        save_still(sink, path, actor, camera=camera, size=size, rng=rng, jitter=jitter)


def _render_subject(config: MiniatureConfig, subject: Subject, sink: Sink) -> None:
    group, index = subject.actor.identity.group, subject.actor.identity.index
    test, size = group is Group.TEST, get_size(config)
    for number in subject.cameras:
        camera = build_camera(config.seed, number)
        # A test person's first image in a camera asks, the others answer.
        for picture in range(config.images_per_camera + int(test)):
            asks = test and picture == 0
            folder = "query" if asks else "bounding_box_test" if test else "bounding_box_train"
            rng = sample_rng(config.seed, Stream.VIEW, 1, group, index, number, picture)
            frame = index * 500 + picture * 25 + int(rng.integers(25))
            name = f"{subject.pid:04d}_c{number + 1}s1_{frame:06d}_{int(not asks):02d}.jpg"
            path, jitter = f"{folder}/{name}", _BY_HAND if asks else _BY_DETECTOR
            save_still(sink, path, subject.actor, camera=camera, size=size, rng=rng, jitter=jitter)


@dataclass(frozen=True, slots=True)
class Track:
    """A tracklet of MARS."""

    actor: Actor
    pid: str
    camera: int
    number: int
    """Tracklet of this pid, from 1."""
    jitter: float = _TRACKED
    short: bool = False


def list_tracks(config: MiniatureConfig) -> list[Track]:
    """Return the tracklets of the training split, then of the test split, then of the others."""
    tracks = [track for subject in list_subjects(config) for track in _plan_tracks(config, subject)]
    for index in range(config.num_distractors):
        rng = sample_rng(config.seed, Stream.VIEW, 2, Group.DISTRACTOR, index)
        actor = build_distractor(config.seed, index)
        for pid, jitter in (("0000", _TRACKED), ("00-1", _TRACKED_BADLY)):
            camera = int(rng.integers(config.num_cameras))
            tracks.append(Track(actor, pid, camera, index + 1, jitter))
    return tracks


def _plan_tracks(config: MiniatureConfig, subject: Subject) -> Iterator[Track]:
    person = subject.actor.identity
    rng = sample_rng(config.seed, Stream.VIEW, 2, person.group, person.index)
    number, pid = 0, f"{subject.pid:04d}"
    for camera in subject.cameras:
        for _ in range(1 + int(person.group is Group.TEST and rng.random() < _SECOND_TRACK)):
            number += 1
            yield Track(subject.actor, pid, camera, number)
    if person.index == 0:
        yield Track(subject.actor, pid, subject.cameras[0], number + 1, short=True)


def render_track(config: MiniatureConfig, track: Track, sink: Sink) -> None:
    """Render one tracklet of MARS."""
    junk = int(track.pid == "00-1")
    person = track.actor.identity
    key = (Stream.VIEW, 2, person.group, person.index, track.camera, track.number, junk)
    rng = sample_rng(config.seed, *key)
    shot = sample_shot(build_camera(config.seed, track.camera), get_size(config), rng)
    usual = max(_SHORTEST, -(-2 * config.tracklet_frames // 3))
    length = int(rng.integers(usual, config.tracklet_frames + 1))
    folder = "bbox_train" if person.group is Group.TRAIN else "bbox_test"
    for frame in range(_SHORTEST if track.short else length):
        name = f"{track.pid}C{track.camera + 1}T{track.number:04d}F{frame + 1:03d}.jpg"
        path, time = f"{folder}/{track.pid}/{name}", frame / FRAMES_PER_SECOND
        save_crop(sink, path, track.actor, shot=shot, rng=rng, time=time, jitter=track.jitter)


def describe_mars(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return `info/` for the images below `root`, from their names alone."""
    files = {}
    for part in ("train", "test"):
        people = sorted((root / f"bbox_{part}").glob("[0-9]*"))
        names = [file.name for person in people for file in sorted(person.glob("[0-9]*.jpg"))]
        # line ends as the official generator writes them
        files[f"info/{part}_name.txt"] = "".join(f"{name}\r\n" for name in names).encode()
        tracks = build_track_table(names)
        files[f"info/tracks_{part}_info.mat"] = encode_mat(f"track_{part}_info", tracks)
    # of the test split, which comes last
    files["info/query_IDX.mat"] = encode_mat("query_IDX", select_queries(tracks))
    return files


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


def select_queries(tracks: NDArray[np.int32]) -> NDArray[np.uint16]:
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
