"""Mean and deviation of score rows: over single-shot draws, splits and galleries."""

from collections.abc import Mapping, Sequence

import numpy as np

Cell = str | float | int | None


def average_rows(
    rows: Sequence[Mapping[str, Cell]], *, deviations: Sequence[str] = ()
) -> dict[str, Cell]:
    """One row for several of the same columns.

    A share becomes the mean of the rows' (NaN if one is, None if one has none); what is no share
    stays where all rows agree and is left out where they do not; so are intervals, which are of
    one row: the same people may stand in several splits, and what varies here is not they. After a
    column of `deviations` follows <column>_std, the standard deviation over the rows (of a
    population: they are all there are).
    """
    mean: dict[str, Cell] = {}
    for column in rows[0]:
        if column.endswith(("_low", "_high", "_std")):
            continue
        values = [row.get(column) for row in rows]
        if None not in values and any(isinstance(value, float) for value in values):
            numbers = np.array(values, float)
            mean[column] = float(numbers.mean())
            if column in deviations:
                mean[f"{column}_std"] = float(numbers.std())
        elif any(isinstance(value, float) for value in values):
            mean[column] = None
        elif len(set(values)) == 1:
            mean[column] = values[0]
    return mean


def name_families(groups: Sequence[str]) -> dict[str, list[str]]:
    """Galleries that are averaged, by the name of their mean.

    gallery_1 and gallery_2 are one family, blended_gallery_1 and ... another; one alone has none.
    """
    families: dict[str, list[str]] = {}
    for group in groups:
        families.setdefault(group.rstrip("0123456789").rstrip("_"), []).append(group)
    return {
        f"mean of {', '.join(members)}": members
        for members in families.values()
        if len(members) > 1
    }
