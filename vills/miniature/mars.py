"""MARS: tracklets, `bbox_{train,test}/<pid>/<pid>C<camera>T<tracklet>F<frame>.jpg` and `info/`.

Pid 00-1 marks tracks of bad boxes, 0000 people that no query asks for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature.camera import build_camera
from vills.miniature.crop import Actor, plan_shot, render_crop
from vills.miniature.identity import Group
from vills.miniature.mars_info import write_info
from vills.miniature.people import Subject, build_distractor, build_passers, build_subjects
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.scene import FRAMES_PER_SECOND
from vills.miniature.sink import Sink

NAME = "mars"
_UNIT = 6  # people
_JITTER, _BAD = 0.022, 0.20  # how far boxes are off
_SECOND_TRACK = 0.35  # share of the test people's cameras that see them twice
_SHORTEST = 2  # frames; the first person of each split has one track more, of this length


@dataclass(frozen=True, slots=True)
class _Track:
    actor: Actor
    group: Group
    index: int
    pid: str
    camera: int
    number: int
    """Tracklet of this pid, from 1."""
    jitter: float
    short: bool = False


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return sum(_count_parts(config))


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render some people of the training split, then of the test split, then the others."""
    train, test, _ = _count_parts(config)
    if unit < train:
        tracks = _plan_subjects(config, Group.TRAIN, unit)
    elif unit < train + test:
        tracks = _plan_subjects(config, Group.TEST, unit - train)
    else:
        tracks = _plan_others(config)
    for track in tracks:
        _render_track(config, track, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write `info/`: names and tables of tracklets, and which of them ask."""
    for folder in ("bbox_train", "bbox_test"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_info(root)


def _count_parts(config: MiniatureConfig) -> tuple[int, int, int]:
    others = int(config.num_distractors > 0)
    return -(-config.num_train_ids // _UNIT), -(-config.num_test_ids // _UNIT), others


def _plan_subjects(config: MiniatureConfig, group: Group, part: int) -> Iterator[_Track]:
    for subject in build_subjects(config, group)[part * _UNIT : (part + 1) * _UNIT]:
        yield from _plan_subject(config, group, subject)


def _plan_subject(config: MiniatureConfig, group: Group, subject: Subject) -> Iterator[_Track]:
    index = subject.actor.look.identity.index
    rng = sample_rng(config.seed, Stream.VIEW, 2, group, index)
    number, pid = 0, f"{subject.pid:04d}"
    for camera in subject.cameras:
        for _ in range(1 + int(group is Group.TEST and rng.random() < _SECOND_TRACK)):
            number += 1
            yield _Track(subject.actor, group, index, pid, camera, number, _JITTER)
    if index == 0:
        first = subject.cameras[0]
        yield _Track(subject.actor, group, 0, pid, first, number + 1, _JITTER, short=True)


def _plan_others(config: MiniatureConfig) -> Iterator[_Track]:
    for index in range(config.num_distractors):
        rng = sample_rng(config.seed, Stream.VIEW, 2, Group.DISTRACTOR, index)
        actor = build_distractor(config, index)
        for pid, jitter in (("0000", _JITTER), ("00-1", _BAD)):
            camera = int(rng.integers(config.num_cameras))
            yield _Track(actor, Group.DISTRACTOR, index, pid, camera, index + 1, jitter)


def _render_track(config: MiniatureConfig, track: _Track, sink: Sink) -> None:
    junk = int(track.pid == "00-1")
    key = (config.seed, Stream.VIEW, 2, track.group, track.index, track.camera, track.number, junk)
    rng = sample_rng(*key)
    camera = build_camera(config.seed, track.camera)
    size = (config.image_height, config.image_height // 2)
    shot = plan_shot(camera, size, rng, build_passers(config.seed))
    usual = max(_SHORTEST, -(-2 * config.tracklet_frames // 3))
    length = int(rng.integers(usual, config.tracklet_frames + 1))
    folder = "bbox_train" if track.group is Group.TRAIN else "bbox_test"
    for frame in range(_SHORTEST if track.short else length):
        image, instances = render_crop(
            shot,
            track.actor,
            rng,
            seed=config.seed,
            time=frame / FRAMES_PER_SECOND,
            jitter=track.jitter,
        )
        name = f"{track.pid}C{track.camera + 1}T{track.number:04d}F{frame + 1:03d}.jpg"
        path = f"{folder}/{track.pid}/{name}"
        sink.add_image(path, image, instances, rng, quality=camera.quality)
