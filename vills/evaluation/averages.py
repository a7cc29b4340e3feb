"""Mean and deviation of score rows: over single-shot draws, splits and galleries."""

from collections.abc import Mapping, Sequence

import numpy as np

Cell = str | float | int | None


def average_rows(
    rows: Sequence[Mapping[str, Cell]], *, deviations: Sequence[str] = ()
) -> dict[str, Cell]:
    """One row for several of the same columns.

    A share becomes the mean of the rows' (NaN if one is); what is no share stays where all rows
    agree and is left out where they do not; so are intervals over the queries of each row. After a
    column of `deviations` follows <column>_std, the standard deviation over the rows (of a
    population: they are all there are).
    """
    mean: dict[str, Cell] = {}
    for column in rows[0]:
        if column.endswith(("_low", "_high", "_std")):
            continue
        values = [row.get(column) for row in rows]
        if any(isinstance(value, float) or value is None for value in values):
            numbers = np.array([np.nan if value is None else value for value in values], float)
            mean[column] = float(numbers.mean())
            if column in deviations:
                mean[f"{column}_std"] = float(numbers.std())
        elif len(set(values)) == 1:
            mean[column] = values[0]
    return mean
