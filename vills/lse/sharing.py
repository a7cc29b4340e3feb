"""The chunks of a source as all its ranks see them: in a folder that they share."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from vills.lse.chunk import SUMMARY, iterate_chunks, load_summary
from vills.lse.summary import Summary

POLL_SECONDS = 0.5

Progress = Callable[[str, int, int], None]
Chunks = Sequence[tuple[Path, range]]


class ChunkCount:
    """How many records all ranks together have finished."""

    def __init__(self, chunks: Chunks, *, name: str, progress: Progress | None) -> None:
        """Take folders and rows of all chunks, the source's name, and whom to tell."""
        self._sizes = {folder.name: len(rows) for folder, rows in chunks}
        self._folder = chunks[0][0].parent if chunks else None
        self._name, self._progress = name, progress
        self._open = set(self._sizes)

    def report(self) -> None:
        """Look, and tell how far it is."""
        if self._progress is None:
            return
        self._look()
        total = sum(self._sizes.values())
        left = sum(self._sizes[name] for name in self._open)
        self._progress(self._name, total - left, total)

    def follow(self, finished: Generator[Path, None, None]) -> None:
        """Report at the start and after each of this rank's chunks; closes `finished`."""
        with closing(finished) as chunks:
            self.report()
            for _ in chunks:
                self.report()

    def wait(self) -> None:
        """Return once every chunk is finished.

        A rank that has died is no concern of this one: its launcher ends all of them.
        """
        self._look()
        while self._open:
            time.sleep(POLL_SECONDS)
            self._look()
            self.report()

    def _look(self) -> None:
        """One listing, then a look into those that have begun: not one into each of all."""
        if self._folder is None or not self._open:
            return
        begun = self._open & {path.name for path in self._folder.iterdir()}
        self._open -= {name for name in begun if (self._folder / name / SUMMARY).is_file()}


def list_chunks(folder: Path, *, num_records: int, size: int) -> Chunks:
    """Folder and rows of every chunk of a source."""
    ranges = enumerate(iterate_chunks(num_records, size=size))
    return [(folder / f"chunk-{number:06d}", rows) for number, rows in ranges]


def join_summaries(chunks: Chunks) -> Summary:
    """Counts over finished chunks."""
    total = Summary()
    for folder, _ in chunks:
        part = load_summary(folder)
        assert part is not None, f"{folder} was computed and has no summary"
        total.add(part)
    return total
