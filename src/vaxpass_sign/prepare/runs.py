"""Sorting more rows than memory holds: sorted runs in files, read back in one order.

Rows are sorted by KEYS, as bytes of UTF-8. Memory holds some RUN_ROWS rows, and GROUP rows of each
run, whatever there are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.durable import cannot_write
from vaxpass_sign.prepare.schemas import pa, parquet

__all__ = ["SortedRuns"]

KEYS: Final = ("province_code", "facility_id", "own_id")
RUN_ROWS: Final = 50_000
GROUP: Final = 1000

_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class _Group:
    """A row group of a run, by its first row's key."""

    first: _Key
    run: Path
    number: int
    rows: int


class SortedRuns:
    """Tables in, the same rows sorted out. ``rows`` counts them. The files are the caller's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[Any] = []
        self._groups: list[_Group] = []
        self._runs = 0
        self.rows = 0

    def add(self, table: Any) -> None:
        """Take some rows. Raises: InputError when the disk is full."""
        self._pending.append(table)
        self.rows += len(table)
        if sum(map(len, self._pending)) >= RUN_ROWS:
            self._write_run()

    def in_order(self) -> Iterator[Any]:
        """All rows in their order, as tables of any size. No two may have the same keys."""
        if self._pending:
            self._write_run()
        groups = sorted(self._groups)
        tables: list[Any] = []
        count = 0
        for group, following in zip(groups, [*groups[1:], None], strict=False):
            with parquet.ParquetFile(group.run) as file:
                tables.append(file.read_row_group(group.number, use_threads=False))
            count += group.rows
            if following is None:
                yield _sorted(tables)
            elif count >= RUN_ROWS:
                # What comes before the first row of all that was not read yet is complete.
                table = _sorted(tables)
                cut = bisect_left(range(len(table)), following.first, key=_KeyOf(table))
                yield table.slice(0, cut)
                tables, count = [table.slice(cut)], 0

    def _write_run(self) -> None:
        table = _sorted(self._pending)
        self._pending = []
        self._runs += 1
        path = self._folder / f"run-{self._runs:06}.parquet"
        try:
            parquet.write_table(
                table,
                path,
                row_group_size=GROUP,
                compression="lz4",
                use_dictionary=False,
                write_statistics=False,
            )
        except OSError as error:
            raise cannot_write(path, error) from None
        key_of = _KeyOf(table)
        for number, start in enumerate(range(0, len(table), GROUP)):
            rows = min(GROUP, len(table) - start)
            self._groups.append(_Group(key_of(start), path, number, rows))


def _sorted(tables: list[Any]) -> Any:
    table = pa.concat_tables(tables).combine_chunks()
    return table.sort_by([(name, "ascending") for name in KEYS]).combine_chunks()


class _KeyOf:
    """A row's key, by its number in a table."""

    def __init__(self, table: Any) -> None:
        self._columns = [table.column(name) for name in KEYS]

    def __call__(self, row: int) -> _Key:
        return tuple(column[row].as_py() for column in self._columns)
