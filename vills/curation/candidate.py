"""A person's images on their way into a shard."""

from dataclasses import dataclass

from vills.data.records import Record


@dataclass(frozen=True, slots=True)
class Candidate:
    """A record that has no place in a shard yet, with the bytes of its frames.

    Attributes:
        record: Its shard is empty, its offsets and lengths are zeros. None if none of its files
            could be read, or if a video gave no tracklet.
        images: Encoded bytes of each frame.
        suffix: Of the image files, without the dot.
        damaged: (raw relative path, reason) of the files that could not be read.
    """

    record: Record | None
    images: tuple[bytes, ...] = ()
    suffix: str = "jpg"
    damaged: tuple[tuple[str, str], ...] = ()
