"""Names of models as parts of file names."""

import re


def make_slug(name: str) -> str:
    """Lower case letters and digits with - between them: TransReID_SSL -> transreid-ssl."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()


def name_ranking(row: str, protocol: str) -> str:
    """File of the ranked lists of a model under a protocol."""
    return f"{make_slug(row)}_{protocol}.parquet"
