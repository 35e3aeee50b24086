"""Rows of a file as ranges: what workers are handed, and what the ledger keeps.

>>> head, tail = split_ranges(((0, 5), (7, 9)), 6)
>>> head, tail, count_rows(tail)
(((0, 5), (7, 8)), ((8, 9),), 1)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Ranges", "count_rows", "ranges_of", "row_numbers", "split_ranges"]

Ranges = tuple[tuple[int, int], ...]
"""(start, stop) pairs in order, counted from 0, stop not included; none is empty."""


def count_rows(ranges: Ranges) -> int:
    """How many rows the ranges hold."""
    return sum(stop - start for start, stop in ranges)


def split_ranges(ranges: Ranges, most: int) -> tuple[Ranges, Ranges]:
    """The first ``most`` rows, and the others."""
    head: list[tuple[int, int]] = []
    for place, (start, stop) in enumerate(ranges):
        if stop - start > most:
            if most:
                head.append((start, start + most))
            return tuple(head), ((start + most, stop), *ranges[place + 1 :])
        head.append((start, stop))
        most -= stop - start
    return tuple(head), ()


def ranges_of(wanted: NDArray[np.bool_]) -> Ranges:
    """Where a mask is true."""
    import numpy as np

    edges = iter(np.flatnonzero(np.diff(wanted, prepend=False, append=False)).tolist())
    return tuple(zip(edges, edges, strict=True))


def row_numbers(ranges: Ranges) -> Iterator[int]:
    """Every row of the ranges, in order."""
    for start, stop in ranges:
        yield from range(start, stop)
