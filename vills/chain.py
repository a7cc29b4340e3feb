"""JSON lines of which each carries a digest over itself and the line before it, as its `chain`.

So whatever is changed, cut out or brought from another file is seen. The first line stands on a
word of the file's own: two files with other words have no line in common.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vills.io import check_regular

CHAIN = ',"chain":"'


class ChainedLines(NamedTuple):
    """What a file holds."""

    lines: list[dict[str, Any]]
    """The whole lines that it begins with, without their `chain`."""
    num_rows: int
    """How many there are in all; a last one without its end is torn, and does not count."""
    chain: str
    """That of the last whole line."""
    problem: str
    """What is wrong with the next one; empty if there is none."""


def encode_lines(bodies: Sequence[str], *, after: str) -> tuple[bytes, str]:
    """Return lines of JSON objects with their `chain`, and the last one; `after` is that before."""
    rows = []
    for body in bodies:
        after = hashlib.sha256(f"{after}{body}".encode()).hexdigest()[:32]
        rows.append(f'{body[:-1]}{CHAIN}{after}"}}\n')
    return "".join(rows).encode(), after


def load_lines(path: Path, *, word: str, kinds: Collection[str]) -> ChainedLines:
    """Read such a file, or one of before without any `chain`; nothing there is an empty one.

    Args:
        path: The file.
        word: What the first line stands on.
        kinds: Of these keys every line has one.

    Raises:
        InputError: if it is no regular file.
    """
    check_regular(path)
    rows = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    lines: list[dict[str, Any]] = []
    # no two first lines lose it at once
    chain, is_old = word, CHAIN.encode() not in b"".join(rows[:2])
    for number, row in enumerate(rows, start=1):
        body = row if is_old else row.rpartition(CHAIN.encode())[0] + b"}"
        try:
            data, following = encode_lines([body.decode()], after=chain)
            if not is_old and row + b"\n" != data:
                raise ValueError("its digest is another")
            line = json.loads(body)
            if not isinstance(line, dict) or not line.keys() & set(kinds):
                raise ValueError("it is none of ours")
        except (ValueError, RecursionError) as error:
            problem = f"line {number} is damaged ({error})"
            return ChainedLines(lines, len(rows), chain, problem)
        lines.append(line)
        chain = following
    return ChainedLines(lines, len(rows), chain, "")
