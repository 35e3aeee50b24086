"""What is to be signed: rows of clean files, by what the ledger says of them.

Two lists of work, in this order:

* **new**: rows that were never signed, but for those that a newer clean row supersedes. A row
  that was refused is tried again once the profile has changed.
* **renewals**, when asked for: rows whose newest credential expires before a given moment, and
  that no newer row supersedes; the next generation.

Work is cut into slices just before it is handed out, so that the last ones can be small and all
workers end together. What a worker gives back unsigned goes back to the head of the queue.

>>> work = Work([Selection("clean/a", 0, ((0, 5), (7, 9)))])
>>> work.take(6)
Selection(clean='clean/a', generation=0, ranges=((0, 5), (7, 8)))
>>> work.rows, work.take(6), work.take(6)
(1, Selection(clean='clean/a', generation=0, ranges=((8, 9),)), None)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaxpass_sign.campaign.ranges import Ranges, count_rows, ranges_of, split_ranges
from vaxpass_sign.campaign.state import SignedPart, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "UNSIGNED",
    "RowStates",
    "Selection",
    "Work",
    "plan_new",
    "plan_renewals",
    "row_states",
    "superseded_rows",
]

UNSIGNED = -1
"""The generation of a row that has no credential."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one clean file that are to be signed as one generation."""

    clean: str
    generation: int
    ranges: Ranges

    @property
    def rows(self) -> int:
        """How many rows."""
        return count_rows(self.ranges)


class Work:
    """A queue of selections that is cut into slices as it is handed out."""

    def __init__(self, selections: Iterable[Selection]) -> None:
        self._queue = deque(s for s in selections if s.ranges)
        self.rows = sum(selection.rows for selection in self._queue)
        """How many rows are left in the queue."""

    def __iter__(self) -> Iterator[Selection]:
        """What is in the queue, in order."""
        return iter(self._queue)

    def take(self, most: int) -> Selection | None:
        """The next slice, of one clean file and at most ``most`` rows; None when all is out."""
        if not self._queue:
            return None
        selection = self._queue.popleft()
        head, tail = split_ranges(selection.ranges, most)
        if tail:
            self._queue.appendleft(Selection(selection.clean, selection.generation, tail))
        self.rows -= count_rows(head)
        return Selection(selection.clean, selection.generation, head)

    def put_back(self, selection: Selection) -> None:
        """Hand back what was taken and not signed; it comes out next."""
        if selection.ranges:
            self._queue.appendleft(selection)
            self.rows += selection.rows


def plan_new(
    state: State, superseded: dict[str, NDArray[np.intp]], profile: str
) -> list[Selection]:
    """What was never signed, by clean file; see the module's docstring for refused rows.

    ``superseded``: clean file → rows that a newer clean row supersedes.
    """
    selections = []
    for name, part in state.clean.items():
        rows = row_states(part.rows, state.parts_of.get(name, ()))
        wanted = rows.generation == UNSIGNED
        wanted[rows.refused.get(profile, [])] = False
        wanted[superseded.get(name, [])] = False
        selections.append(Selection(name, 0, ranges_of(wanted)))
    return [selection for selection in selections if selection.ranges]


def plan_renewals(
    state: State, superseded: dict[str, NDArray[np.intp]], profile: str, before_s: int
) -> list[Selection]:
    """What has a credential that expires before ``before_s``, by clean file and next generation."""
    import numpy as np

    selections = []
    for name, part in state.clean.items():
        rows = row_states(part.rows, state.parts_of.get(name, ()))
        due = (rows.generation != UNSIGNED) & (rows.expires_at < before_s)
        due[superseded.get(name, [])] = False
        due[rows.refused.get(profile, [])] = False
        for current in np.unique(rows.generation[due]):
            ranges = ranges_of(due & (rows.generation == current))
            selections.append(Selection(name, int(current) + 1, ranges))
    return selections


@dataclass(frozen=True, slots=True)
class RowStates:
    """Each row of a clean file: its newest generation (or UNSIGNED), and when that one expires (UTC
    seconds, 0 for none); and the rows that were refused, by profile.
    """

    generation: NDArray[np.int16]
    expires_at: NDArray[np.int64]
    refused: dict[str, list[int]]


def row_states(rows: int, parts: Iterable[SignedPart]) -> RowStates:
    """What became of a clean file's rows.

    ``parts`` are the signed parts of a clean file of ``rows`` rows, in the order of their commits;
    a later one has later generations of the same rows.
    """
    import numpy as np

    generation = np.full(rows, UNSIGNED, np.int16)
    expires_at = np.zeros(rows, np.int64)
    refused: dict[str, list[int]] = {}
    for part in parts:
        refused_rows = part.refused_rows
        before = generation[refused_rows], expires_at[refused_rows]
        for start, stop in part.ranges:
            generation[start:stop] = part.generation
            expires_at[start:stop] = part.expires_at
        generation[refused_rows], expires_at[refused_rows] = before
        if refused_rows:
            refused.setdefault(part.profile, []).extend(refused_rows)
    return RowStates(generation, expires_at, refused)


def superseded_rows(state: State, read_columns: Any) -> dict[str, NDArray[np.intp]]:
    """Clean file → the rows that a newer clean row supersedes.

    ``read_columns(name, columns)`` gives an Arrow table of a clean file. Costs nothing as long as
    nothing was superseded.
    """
    if not state.superseding:
        return {}
    import pyarrow as pa
    import pyarrow.compute as pc

    older = []
    for name in state.clean:
        column = read_columns(name, ["supersedes"])["supersedes"]
        older.append(pc.drop_null(column.combine_chunks()))
    gone = pa.chunked_array(older)
    rows = {}
    for name in state.clean:
        uvci = read_columns(name, ["uvci"])["uvci"]
        rows[name] = pc.is_in(uvci, value_set=gone).to_numpy().nonzero()[0]
    return rows
