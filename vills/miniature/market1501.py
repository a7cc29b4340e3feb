"""Market-1501: labelled crops, `<pid>_c<camera>s<sequence>_<frame>_<box>.jpg` in three folders.

Box 00 is drawn by hand, others come from a detector and are off by more. Pid -1 marks a bad box,
pid 0000 a person that no query asks for.
"""

from collections.abc import Mapping
from pathlib import Path

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import add_still, get_size
from vills.miniature.people import Subject, build_distractor, build_subjects
from vills.miniature.person import Group
from vills.miniature.sink import Sink

UNIT = 10  # people
_TRAIN, _QUERY, _GALLERY = "bounding_box_train", "query", "bounding_box_test"
_BY_HAND, _BY_DETECTOR, _BAD = 0.018, 0.035, 0.22  # how far boxes are off


def list_items(config: MiniatureConfig) -> list[Subject | int]:
    """Return the people of the training and the test split, and the numbers of the others."""
    return [*build_subjects(config), *range(config.num_distractors)]


def render_item(config: MiniatureConfig, item: Subject | int, sink: Sink) -> None:
    """Render all pictures of a person."""
    if isinstance(item, Subject):
        _render_subject(config, item, sink)
    else:
        _render_other(config, item, sink)


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return no files: Market-1501 says everything in its names."""
    return {}


def _render_subject(config: MiniatureConfig, subject: Subject, sink: Sink) -> None:
    group, index = subject.actor.look.identity.group, subject.actor.look.identity.index
    test = group is Group.TEST
    for number in subject.cameras:
        camera = build_camera(config.seed, number)
        # A test person's first image in a camera asks, the others answer.
        for picture in range(config.images_per_camera + int(test)):
            asks = test and picture == 0
            folder = _QUERY if asks else _GALLERY if test else _TRAIN
            rng = sample_rng(config.seed, Stream.VIEW, 1, group, index, number, picture)
            frame = index * 500 + picture * 25 + int(rng.integers(25))
            name = f"{subject.pid:04d}_c{number + 1}s1_{frame:06d}_{int(not asks):02d}.jpg"
            add_still(
                sink,
                f"{folder}/{name}",
                subject.actor,
                camera=camera,
                size=get_size(config),
                rng=rng,
                jitter=_BY_HAND if asks else _BY_DETECTOR,
            )


def _render_other(config: MiniatureConfig, index: int, sink: Sink) -> None:
    actor, size = build_distractor(config.seed, index), get_size(config)
    for pid, jitter in (("0000", _BY_DETECTOR), ("-1", _BAD)):
        rng = sample_rng(config.seed, Stream.VIEW, 1, Group.DISTRACTOR, index, int(pid) + 1)
        number = int(rng.integers(config.num_cameras))
        frame = index * 500 + 250 * int(pid == "-1") + int(rng.integers(250))
        path = f"{_GALLERY}/{pid}_c{number + 1}s1_{frame:06d}_02.jpg"
        camera = build_camera(config.seed, number)
        add_still(sink, path, actor, camera=camera, size=size, rng=rng, jitter=jitter)
