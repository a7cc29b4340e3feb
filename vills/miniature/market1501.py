"""Market-1501: labelled crops, `<pid>_c<camera>s<sequence>_<frame>_<box>.jpg` in three folders.

Box 00 is drawn by hand, others come from a detector and are off by more. Pid -1 marks a bad box,
pid 0000 a person that no query asks for.
"""

from collections.abc import Sequence
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature.identity import Group
from vills.miniature.people import Subject, build_distractor, build_subjects
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.sink import Sink
from vills.miniature.still import add_still

NAME = "market1501"
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
_UNIT = 10  # people
_BY_HAND, _BY_DETECTOR, _BAD = 0.018, 0.035, 0.22  # how far boxes are off


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return sum(_count_parts(config))


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render some people of the training split, then of the test split, then the others."""
    train, test, _ = _count_parts(config)
    if unit < train:
        for subject in _slice(build_subjects(config, Group.TRAIN), unit):
            _render_subject(config, subject, Group.TRAIN, sink)
    elif unit < train + test:
        for subject in _slice(build_subjects(config, Group.TEST), unit - train):
            _render_subject(config, subject, Group.TEST, sink)
    else:
        _render_others(config, sink)


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write what describes the whole data set: Market-1501 says everything in its names."""
    for folder in (TRAIN, QUERY, GALLERY):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _count_parts(config: MiniatureConfig) -> tuple[int, int, int]:
    others = int(config.num_distractors > 0)
    return -(-config.num_train_ids // _UNIT), -(-config.num_test_ids // _UNIT), others


def _slice(subjects: list[Subject], part: int) -> Sequence[Subject]:
    return subjects[part * _UNIT : (part + 1) * _UNIT]


def _render_subject(config: MiniatureConfig, subject: Subject, group: Group, sink: Sink) -> None:
    for camera in subject.cameras:
        # A test person's first image in a camera asks, the others answer.
        for number in range(config.images_per_camera + int(group is Group.TEST)):
            asks = group is Group.TEST and number == 0
            folder = TRAIN if group is Group.TRAIN else QUERY if asks else GALLERY
            index = subject.actor.look.identity.index
            rng = sample_rng(config.seed, Stream.VIEW, 1, group, index, camera, number)
            frame = index * 500 + number * 25 + int(rng.integers(25))
            name = f"{subject.pid:04d}_c{camera + 1}s1_{frame:06d}_{int(not asks):02d}.jpg"
            jitter = _BY_HAND if asks else _BY_DETECTOR
            path = f"{folder}/{name}"
            add_still(config, sink, path, subject.actor, camera=camera, rng=rng, jitter=jitter)


def _render_others(config: MiniatureConfig, sink: Sink) -> None:
    for index in range(config.num_distractors):
        for pid, jitter in (("0000", _BY_DETECTOR), ("-1", _BAD)):
            rng = sample_rng(config.seed, Stream.VIEW, 1, Group.DISTRACTOR, index, int(pid) + 1)
            actor = build_distractor(config, index)
            camera = int(rng.integers(config.num_cameras))
            frame = index * 500 + 250 * int(pid == "-1") + int(rng.integers(250))
            path = f"{GALLERY}/{pid}_c{camera + 1}s1_{frame:06d}_02.jpg"
            add_still(config, sink, path, actor, camera=camera, rng=rng, jitter=jitter)
