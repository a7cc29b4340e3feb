"""Who is in the sigset, and which media show them."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vills.config.miniature import MiniatureConfig
from vills.miniature.identity import Group
from vills.miniature.people import draw_pids

_PIDS = range(1, 1_000)


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


def list_subjects(config: MiniatureConfig) -> list[Subject]:
    """Return everybody, role by role."""
    counts = (config.num_sigset_ids, config.num_sigset_ids, config.num_distractors)
    drawn = draw_pids(config.seed, Group.SIGSET, _PIDS, *counts)
    return [
        Subject(role, index, pid)
        for role, pids in zip(Role, drawn, strict=True)
        for index, pid in enumerate(pids)
    ]


def list_media(subject: Subject) -> Iterator[Medium]:
    """Yield what there is of a subject."""
    for outfit, (stills, videos) in enumerate(_MEDIA[subject.role]):
        for number in range(stills):
            yield Medium(subject, outfit, False, number)
        for number in range(videos):
            yield Medium(subject, outfit, True, number)
