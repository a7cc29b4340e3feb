"""A BRIAR-style sigset: stills and videos under `BTS1/`, and XML files that say who they show.

`sigsets_main/` has the training signatures and the probes, `sigsets_gallery/` two galleries. A
probe is one medium, in the outfit of the galleries (set1) or in another (set2); a gallery's entry
is a subject with several stills and a video. Elements and namespaces of the XML are those that
ORNL's briar-api reads (lib/python/briar/sigset/parse.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import count
from pathlib import Path

import numpy as np
from jinja2 import Environment

from vills.config.miniature import MiniatureConfig
from vills.miniature import Stream, sample_rng
from vills.miniature.camera import build_camera
from vills.miniature.crop import sample_size, save_still
from vills.miniature.people import SIGSET_OFFSET, build_actor, sample_pids
from vills.miniature.person import Group
from vills.miniature.predictions import sample_clutter
from vills.miniature.scene import FRAMES_PER_SECOND, HEIGHT, WIDTH, Walker, save_video
from vills.miniature.sink import Sink, decode_image, encode_image

_PIDS = range(1, 1_000)
_FIRST_CAMERA = 12_180
_WAYS = 3  # of people, at the place of the stills and at the place of the videos
_JITTER = 0.03
_LEAD = 4  # frames of a video beyond a tracklet's: a tracker needs some to begin
_CUT = 4  # first frames that a probe's segment leaves out
_UNKNOWN, _HALF_KNOWN = 1, 2  # last test subjects: in no gallery, in the first alone
_XML = Environment(
    autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
).from_string(
    """\
<?xml version="1.0" encoding="UTF-8"?>
<sigset xmlns="http://www.nist.gov/briar/xml/sigset"\
 xmlns:eval="http://www.nist.gov/briar/xml/sigset-eval">
{% for signature in signatures %}
  <signature>
    <name>{{ signature.name }}</name>
    <subjectId>{{ signature.subject }}</subjectId>
    {% for member in signature.members %}
    {% set is_still = member.path.endswith(".jpg") %}
    <sigmember>
      <filePath>./{{ member.path }}</filePath>
      <modality>{{ member.modality }}</modality>
      <media>{{ "digitalStill" if is_still else "digitalVideo" }}</media>
      <mediaFormat>{{ "jpeg" if is_still else member.path.rpartition(".")[2] }}</mediaFormat>
      <id>m-{{ "%05d" % next(numbers) }}</id>
      {% if member.span %}
      <eval:start>{{ member.span[0] }}</eval:start>
      <eval:stop>{{ member.span[1] }}</eval:stop>
      <eval:unit>{{ member.span[2] }}</eval:unit>
      {% endif %}
    </sigmember>
    {% endfor %}
  </signature>
{% endfor %}
</sigset>
"""
)


class Role(IntEnum):
    """What a subject is there for; no subject is in two."""

    TRAIN = 0
    TEST = 1
    """Asked for by probes."""
    DISTRACTOR = 2
    """In a gallery alone."""


_FOLDERS = {Role.TRAIN: "train", Role.TEST: "full", Role.DISTRACTOR: "distractors"}
# Media of a subject in each outfit: stills, videos.
_MEDIA = {
    Role.TRAIN: ((3, 1), (3, 1)),
    Role.TEST: ((4, 2), (1, 1)),
    Role.DISTRACTOR: ((2, 1),),
}


@dataclass(frozen=True, slots=True)
class Subject:
    """A person of the sigset."""

    role: Role
    index: int
    """From 0, among those of the same role."""
    pid: int

    @property
    def name(self) -> str:
        """As the XML gives it."""
        return f"G{self.pid:05d}"

    @property
    def media(self) -> list["Medium"]:
        """All stills and videos, outfit by outfit."""
        return [
            Medium(self, outfit, is_video, number)
            for outfit, counts in enumerate(_MEDIA[self.role])
            for is_video, count in zip((False, True), counts, strict=True)
            for number in range(count)
        ]


@dataclass(frozen=True, slots=True)
class Medium:
    """A still (jpg) or a video (mp4) of one subject in one outfit."""

    subject: Subject
    outfit: int
    is_video: bool
    number: int

    @property
    def path(self) -> str:
        """Below the data set's folder; set1 and set2 are the outfits."""
        kind = "field/videos" if self.is_video else "controlled/images_jpg/wb"
        ending = "mp4" if self.is_video else "jpg"
        name = self.subject.name
        file = f"{name}_set{self.outfit + 1}_wb_{self.number:02d}.{ending}"
        return f"BTS1/{_FOLDERS[self.subject.role]}/{name}/{kind}/{file}"

    @property
    def face(self) -> str | None:
        """Path of a picture of the face alone, where there is one: body models pass over it."""
        subject = self.subject
        first = subject.index == 0 and subject.role is not Role.TRAIN
        if not first or self.outfit or self.is_video:
            return None
        return self.path.replace("/wb/", "/face/").replace("_wb_", "_face_")


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a signature, or a piece of it."""

    path: str
    modality: str = "wholeBody"
    span: tuple[str, str, str] | None = None
    """Start, stop (excluded) and their unit: frame or second."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Media of one subject under one name."""

    name: str
    subject: str
    members: Sequence[Member]


def list_media(config: MiniatureConfig) -> list[Medium]:
    """Return all media, subject by subject."""
    return [medium for subject in _list_subjects(config) for medium in subject.media]


def render_medium(config: MiniatureConfig, medium: Medium, sink: Sink) -> None:
    """Render one medium."""
    subject, video = medium.subject, medium.is_video
    key = (config.seed, Stream.VIEW, 6, subject.role, subject.index, medium.outfit, medium.number)
    rng = sample_rng(*key, video)
    # Indices of a group go on from role to role, with room for each.
    index = 1_000 * subject.role + subject.index
    person = SIGSET_OFFSET + subject.pid
    actor = build_actor(config.seed, Group.SIGSET, index, medium.outfit, person=person)
    number = _FIRST_CAMERA + 6 * video + int(rng.integers(_WAYS))
    camera = build_camera(config.seed, number)
    if not video:
        size = sample_size(config, rng)
        save_still(sink, medium.path, actor, camera=camera, size=size, rng=rng, jitter=_JITTER)
        if medium.face is not None:
            image = decode_image(sink.files[medium.path])
            sink.add_file(medium.face, encode_image(image[: len(image) // 4], quality=90))
        return
    walker = Walker(
        actor=actor,
        x=float(rng.uniform(-0.3, 0.3)),
        z=float(rng.uniform(5.6, 6.6)),
        heading=camera.yaw + float(np.deg2rad(rng.normal(0.0, 9.0))),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )
    save_video(
        sink,
        medium.path,
        camera=camera,
        walkers=[walker],
        clutter=sample_clutter(rng, height=HEIGHT, width=WIDTH, count=1),
        num_frames=config.tracklet_frames + _LEAD,
        key=(*key, 2),
    )


def describe(config: MiniatureConfig, root: Path) -> Mapping[str, bytes]:
    """Return the XML files."""
    subjects = _list_subjects(config)
    train = [
        Signature(f"train-{subject.name}", subject.name, [Member(m.path) for m in subject.media])
        for subject in subjects
        if subject.role is Role.TRAIN
    ]
    probes = [
        Signature(f"probe-{number:05d}", subject, [member])
        for number, (subject, member) in enumerate(_list_probes(config, subjects))
    ]
    files = {
        "sigsets_main/Train_miniature.xml": train,
        "sigsets_main/Probe_miniature_ALL.xml": probes,
        "sigsets_gallery/Gallery_1.xml": _sign_gallery(config, subjects, gallery=0),
        "sigsets_gallery/Gallery_2.xml": _sign_gallery(config, subjects, gallery=1),
    }
    return {path: encode_sigset(signatures) for path, signatures in files.items()}


def encode_sigset(signatures: Iterable[Signature]) -> bytes:
    """Return the XML file of some signatures."""
    return _XML.render(signatures=signatures, numbers=count(), next=next).encode()


def _list_subjects(config: MiniatureConfig) -> list[Subject]:
    counts = (config.num_sigset_ids, config.num_sigset_ids, config.num_distractors)
    drawn = sample_pids(sample_rng(config.seed, Stream.CAST, Group.SIGSET), _PIDS, *counts)
    return [
        Subject(role, index, pid)
        for role, pids in zip(Role, drawn, strict=True)
        for index, pid in enumerate(pids)
    ]


def _list_probes(config: MiniatureConfig, subjects: list[Subject]) -> Iterator[tuple[str, Member]]:
    """Ask by a still and a video in the other outfit, and by a video in the galleries' outfit."""
    for subject in subjects:
        if subject.role is Role.TEST:
            for is_video in (False, True):
                yield subject.name, Member(Medium(subject, 1, is_video, 0).path)
            same = Medium(subject, 0, True, 1).path
            yield subject.name, Member(same, span=_cut(config, subject))


def _cut(config: MiniatureConfig, subject: Subject) -> tuple[str, str, str] | None:
    """Give some probes as a piece of their file, by frames or by seconds."""
    stop = config.tracklet_frames + _LEAD
    if subject.index % 4 == 1:
        return str(_CUT), str(stop), "frame"
    if subject.index % 4 == 3:
        return f"{_CUT / FRAMES_PER_SECOND:.3f}", f"{stop / FRAMES_PER_SECOND:.3f}", "second"
    return None


def _sign_gallery(
    config: MiniatureConfig, subjects: list[Subject], *, gallery: int
) -> Iterator[Signature]:
    """Enrol the test subjects by stills of their own and a shared video, and some distractors."""
    known = max(1, config.num_sigset_ids - (_HALF_KNOWN if gallery else _UNKNOWN))
    for subject in subjects:
        if subject.role is Role.TEST and subject.index < known:
            numbers = (2 * gallery, 2 * gallery + 1)
        elif subject.role is Role.DISTRACTOR and subject.index % 2 == gallery:
            numbers = (0, 1)
        else:
            continue
        media = [Medium(subject, 0, False, number) for number in numbers]
        media.append(Medium(subject, 0, True, 0))
        members = [Member(medium.path) for medium in media]
        faces = [Member(m.face, modality="face") for m in media if m.face is not None]
        yield Signature(f"gallery-{subject.name}", subject.name, members + faces)
