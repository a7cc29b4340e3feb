"""A BRIAR-style sigset: stills and videos under `BTS1/`, and XML files that say who they show.

`sigsets_main/` has the training signatures and the probes, `sigsets_gallery/` two galleries. A
probe is one medium, in the outfit of the galleries (set1) or in another (set2); a gallery's entry
is a subject with several stills and a video.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vills.config.miniature import MiniatureConfig
from vills.miniature.camera import build_camera
from vills.miniature.files import decode_image, encode_jpeg, write_bytes
from vills.miniature.identity import Group
from vills.miniature.people import SIGSET_OFFSET, build_actor
from vills.miniature.predictions import plan_clutter
from vills.miniature.rng import Stream, sample_rng
from vills.miniature.scene import FRAMES_PER_SECOND, HEIGHT, WIDTH, Walker
from vills.miniature.sigset_cast import Medium, Role, Subject, list_media, list_subjects
from vills.miniature.sigset_xml import Member, Signature, encode_sigset
from vills.miniature.sink import Sink
from vills.miniature.still import add_still, draw_size
from vills.miniature.video import add_video

NAME = "sigset"
_UNIT = 4  # subjects
_FIRST_CAMERA = 12_180
_WAYS = 3  # of people, at the place of the stills and at the place of the videos
_JITTER = 0.03
_LEAD = 4  # frames of a video beyond a tracklet's: a tracker needs some to begin
_CUT = 4  # first frames that a probe's segment leaves out
_UNKNOWN, _HALF_KNOWN = 1, 2  # last test subjects: in no gallery, in the first alone


def count_units(config: MiniatureConfig) -> int:
    """Return how many units the data set is rendered in."""
    return -(-len(list_subjects(config)) // _UNIT)


def render_unit(config: MiniatureConfig, unit: int, sink: Sink) -> None:
    """Render what there is of some subjects."""
    for subject in list_subjects(config)[unit * _UNIT : (unit + 1) * _UNIT]:
        for medium in list_media(subject):
            _render_medium(config, medium, sink)
            if _has_face(medium):
                image = decode_image(sink.files[medium.path])
                sink.add_file(_name_face(medium), encode_jpeg(image[: len(image) // 4], quality=90))


def finish(config: MiniatureConfig, root: Path) -> None:
    """Write the XML files."""
    subjects = list_subjects(config)
    train = [subject for subject in subjects if subject.role is Role.TRAIN]
    test = [subject for subject in subjects if subject.role is Role.TEST]
    files = {
        "sigsets_main/Train_miniature.xml": _sign_train(train),
        "sigsets_main/Probe_miniature_ALL.xml": _sign_probes(config, test),
        "sigsets_gallery/Gallery_1.xml": _sign_gallery(subjects, gallery=0, size=len(test)),
        "sigsets_gallery/Gallery_2.xml": _sign_gallery(subjects, gallery=1, size=len(test)),
    }
    for path, signatures in files.items():
        write_bytes(root / path, encode_sigset(signatures))


def _sign_train(subjects: list[Subject]) -> Iterator[Signature]:
    for subject in subjects:
        members = [Member(medium.path) for medium in list_media(subject)]
        yield Signature(f"train-{subject.name}", subject.name, members)


def _sign_probes(config: MiniatureConfig, subjects: list[Subject]) -> Iterator[Signature]:
    """Ask by a still and a video in the other outfit, and by a video in the galleries' outfit."""
    number = 0
    for subject in subjects:
        still, video = Medium(subject, 1, False, 0), Medium(subject, 1, True, 0)
        same = Member(Medium(subject, 0, True, 1).path, span=_cut(config, subject))
        for member in (Member(still.path), Member(video.path), same):
            yield Signature(f"probe-{number:05d}", subject.name, [member])
            number += 1


def _cut(config: MiniatureConfig, subject: Subject) -> tuple[str, str, str] | None:
    """Give some probes as a piece of their file, by frames or by seconds."""
    stop = config.tracklet_frames + _LEAD
    if subject.index % 4 == 1:
        return str(_CUT), str(stop), "frame"
    if subject.index % 4 == 3:
        return f"{_CUT / FRAMES_PER_SECOND:.3f}", f"{stop / FRAMES_PER_SECOND:.3f}", "second"
    return None


def _sign_gallery(subjects: list[Subject], *, gallery: int, size: int) -> Iterator[Signature]:
    """Enrol the test subjects by stills of their own and a shared video, and some distractors."""
    for subject in subjects:
        left_out = _HALF_KNOWN if gallery else _UNKNOWN
        if subject.role is Role.TRAIN:
            continue
        if subject.role is Role.TEST and subject.index >= max(1, size - left_out):
            continue
        if subject.role is Role.DISTRACTOR and subject.index % 2 != gallery:
            continue
        numbers = (0, 1) if subject.role is Role.DISTRACTOR else (2 * gallery, 2 * gallery + 1)
        media = [Medium(subject, 0, False, number) for number in numbers]
        media.append(Medium(subject, 0, True, 0))
        members = [Member(medium.path) for medium in media]
        faces = [Member(_name_face(m), modality="face") for m in media if _has_face(m)]
        yield Signature(f"gallery-{subject.name}", subject.name, members + faces)


def _has_face(medium: Medium) -> bool:
    """Say whether there is a picture of the face too, which a body model has to pass over."""
    first = medium.subject.index == 0 and medium.subject.role is not Role.TRAIN
    return first and medium.outfit == 0 and not medium.is_video


def _name_face(medium: Medium) -> str:
    return medium.path.replace("/wb/", "/face/").replace("_wb_", "_face_")


def _render_medium(config: MiniatureConfig, medium: Medium, sink: Sink) -> None:
    subject, video = medium.subject, medium.is_video
    key = (config.seed, Stream.VIEW, 6, subject.role, subject.index, medium.outfit, medium.number)
    rng = sample_rng(*key, video)
    # Indices of a group go on from role to role, with room for each.
    index = 1_000 * subject.role + subject.index
    person = SIGSET_OFFSET + subject.pid
    actor = build_actor(config.seed, Group.SIGSET, index, medium.outfit, person=person)
    number = _FIRST_CAMERA + 6 * video + int(rng.integers(_WAYS))
    if not video:
        size = draw_size(config, rng)
        add_still(
            config, sink, medium.path, actor, camera=number, rng=rng, jitter=_JITTER, size=size
        )
        return
    camera = build_camera(config.seed, number)
    walker = Walker(
        actor=actor,
        x=float(rng.uniform(-0.3, 0.3)),
        z=float(rng.uniform(5.6, 6.6)),
        heading=camera.yaw + float(np.deg2rad(rng.normal(0.0, 9.0))),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )
    add_video(
        sink,
        medium.path,
        camera=camera,
        walkers=[walker],
        clutter=plan_clutter(rng, height=HEIGHT, width=WIDTH, count=1),
        num_frames=config.tracklet_frames + _LEAD,
        key=(*key, 2),
    )
