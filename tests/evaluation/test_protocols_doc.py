"""docs/protocols.md says of each protocol what its object does."""

import re
from pathlib import Path

from tests.evaluation.searches import Item, search
from tests.evaluation.test_protocol_sigset import FEATURES, GALLERY, PROBES, run
from tests.evaluation.test_rows import LINES, add, make_rows
from vills.evaluation.protocols import PROTOCOLS, Protocol, ProtocolSettings
from vills.evaluation.rows import build_rows

TEXT = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()


def read_tables() -> list[list[dict[str, str]]]:
    tables = []
    for block in re.findall(r"(?:^\|.*\n)+", TEXT, re.MULTILINE):
        lines = [
            [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
            for line in block.splitlines()
        ]
        tables.append([dict(zip(lines[0], line, strict=True)) for line in lines[2:]])
    return tables


def build_row(protocol: Protocol) -> dict[str, str]:
    roles = " + ".join(protocol.feature.roles) or "all roles"
    return {
        "key": protocol.name,
        "title": protocol.title,
        "query": protocol.query,
        "gallery": protocol.gallery,
        "junk": protocol.junk,
        "distance": protocol.distance,
        "AP": protocol.average_precision,
        "feature": f"{roles}, {protocol.feature.neck} neck",
        "flip": "on" if protocol.feature.flip else "off",
        "pooling": protocol.feature.pooling,
        "source": protocol.source,
    }


def test_the_table_is_the_objects() -> None:
    assert read_tables()[0] == [build_row(protocol) for protocol in PROTOCOLS.values()]


def test_every_column_is_explained() -> None:
    told = {name for row in read_tables()[1] for name in row["column"].split(", ")}
    settings = ProtocolSettings(bootstrap=2)
    query: list[Item] = [("q", 1, 2, -1, 0.0), ("s", 0, 2, -1, 0.0)]
    gallery: list[Item] = [("g", 1, 0, -1, 1.0), ("h", 1, 0, -1, 2.0)]
    rows = search("prcc_cloth_changing", query, gallery, settings=settings).build_rows("x")
    rows += search("prcc_cloth_changing_single_shot", query, gallery).build_rows("x")
    rows += build_rows([{**rows[0], "split": 0}, {**rows[0], "split": 1}], names=["x"])
    rows += run({"probe": PROBES, "gallery_1": {**GALLERY, "s0": (4, [])}}, FEATURES).build_rows(
        "x"
    )
    rows += add(make_rows(), LINES)
    found = {name for row in rows for name in row} | {"skipped_gallery", "failed_probes"}
    plain = {re.sub(r"_(low|high)$", "", name) for name in found}
    plain = {re.sub(r"^R-\d+$", "R-k", re.sub(r"^TAR@.*", "TAR@x", name)) for name in plain}
    assert plain == told
