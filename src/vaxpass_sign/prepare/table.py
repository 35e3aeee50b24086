"""A dose table as rows of text, from CSV, JSON Lines or Parquet.

The table comes from outside. A row that can't be read as a row comes out as a :class:`Row` with
its fault, so that it can be rejected and the others go on; only a file that can't be read at all is
an error. Values arrive as text; leading zeros stay. A row's number is its line's (CSV, JSON
Lines) or its place (Parquet), counted from 1.

CSV: UTF-8, with or without a byte order mark, a header, and the comma, semicolon or tab that the
header uses (RFC 4180 otherwise). Parquet needs the extra ``batch``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from vaxpass_sign.errors import InputError, MissingExtraError, Violation

__all__ = ["DoseTable", "Row"]

_KINDS = (".csv", ".jsonl", ".parquet")
_MAX_LINE = 1_000_000
_MAX_COLUMNS = 1000
_LINES_FOR_COLUMNS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number, its values by column name, and the fault when it is no row."""

    number: int
    values: dict[str, Any] = field(repr=False)
    fault: Violation | None = None
    rest: str = field(default="", repr=False)
    """What has no column: surplus values, or a line that is no object."""


class DoseTable:
    """A dose table. ``columns`` are its column names; iterating gives its rows, each time anew."""

    def __init__(self, path: str | PathLike[str]) -> None:
        """Look at the table's columns.

        Raises: InputError when the file is missing, empty, of another kind or can't be read;
        MissingExtraError for Parquet without pyarrow.
        """
        self.path = Path(path)
        self._kind = self.path.suffix.lower()
        if self._kind not in _KINDS:
            raise InputError(
                f"{self.path}: found a file of kind {self._kind or 'unknown'}, expected .csv, "
                ".jsonl or .parquet"
            )
        try:
            if not self.path.stat().st_size:
                raise InputError(f"{self.path}: found an empty file, expected a dose table")
            self.columns = self._read_columns()
        except OSError as error:
            raise self._unreadable(error) from error

    def __iter__(self) -> Iterator[Row]:
        readers = {".csv": self._csv, ".jsonl": self._jsonl, ".parquet": self._parquet}
        try:
            yield from readers[self._kind]()
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> InputError:
        why = error.strerror or type(error).__name__
        return InputError(f"{self.path} can't be read: {why}; expected a dose table")

    def _read_columns(self) -> list[str]:
        if self._kind == ".parquet":
            return [str(name) for name in self._open_parquet().schema_arrow.names]
        if self._kind == ".jsonl":
            # Each JSON line names its own columns; what the first ones name stands for all.
            first = [row.values for row in islice(self, _LINES_FOR_COLUMNS)]
            return list(dict.fromkeys(name for values in first for name in values))
        with self._open_text() as lines:
            try:
                header = next(csv.reader(lines, delimiter=self._delimiter(), strict=True), [])
            except csv.Error as error:
                raise InputError(
                    f"{self.path}: found a header that breaks off ({error}), expected CSV with a "
                    "header (RFC 4180)"
                ) from None
        columns = [name.strip() for name in header]
        if len(set(columns)) < len(columns) or not 0 < len(columns) <= _MAX_COLUMNS:
            raise InputError(
                f"{self.path}: found {len(columns)} columns, {len(set(columns))} of them "
                f"different; expected a header of 1 to {_MAX_COLUMNS} different names"
            )
        return columns

    # --- CSV -------------------------------------------------------------------------------

    def _open_text(self) -> Any:
        # A byte that is no UTF-8 becomes a lone surrogate here and a fault of its row below.
        return self.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")

    def _delimiter(self) -> str:
        with self._open_text() as file:
            header = file.readline(_MAX_LINE)
        return max(",;\t", key=header.count)

    def _csv(self) -> Iterator[Row]:
        with self._open_text() as lines:
            kept = _Kept(lines)
            reader = csv.reader(kept, delimiter=self._delimiter(), strict=True)
            next(reader, None)
            while True:
                before = reader.line_num
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    # A quote in the wrong place spoils its own line and the next one begins anew;
                    # a quote that is never closed has swallowed lines, and rows would be lost.
                    if reader.line_num - before != 1:
                        raise InputError(
                            f"{self.path}, line {before + 1}: found a row that breaks off "
                            f"({error}), expected CSV (RFC 4180): mend its quotes"
                        ) from None
                    fault = Violation("row", "a quote in the wrong place", "CSV (RFC 4180)")
                    yield Row(reader.line_num, {}, fault, kept.line)
                    continue
                if values:
                    yield self._csv_row(reader.line_num, values)

    def _csv_row(self, number: int, values: list[str]) -> Row:
        row = dict(zip(self.columns, values, strict=False))
        if len(values) != len(self.columns):
            fault = Violation(
                "row", f"{len(values)} values", f"{len(self.columns)}, as in the header"
            )
            return Row(number, row, fault, ", ".join(values[len(self.columns) :]))
        return _checked(number, row)

    # --- JSON Lines ------------------------------------------------------------------------

    def _jsonl(self) -> Iterator[Row]:
        with self._open_text() as lines:
            number = 0
            while line := lines.readline(_MAX_LINE):
                number += 1
                if len(line) >= _MAX_LINE:
                    raise InputError(
                        f"{self.path}, line {number}: found more than {_MAX_LINE} characters, "
                        "expected one JSON object a line"
                    )
                if line.strip():
                    yield self._json_row(number, line)

    def _json_row(self, number: int, line: str) -> Row:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            fault = Violation("row", "no JSON object", "one JSON object a line")
            return Row(number, {}, fault, line.rstrip("\r\n"))
        return _checked(number, values)

    # --- Parquet ---------------------------------------------------------------------------

    def _open_parquet(self) -> Any:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("Parquet dose tables", "batch") from error
        try:
            return parquet.ParquetFile(self.path)
        except (pyarrow.ArrowException, ValueError) as error:
            raise InputError(
                f"{self.path} can't be read as Parquet ({type(error).__name__}): save it again"
            ) from error

    def _parquet(self) -> Iterator[Row]:
        import pyarrow

        number = 0
        try:
            for batch in self._open_parquet().iter_batches(batch_size=2000):
                for values in batch.to_pylist():
                    number += 1
                    texts = {
                        name: value if value is None else str(value)
                        for name, value in values.items()
                    }
                    yield _checked(number, texts)
        except (pyarrow.ArrowException, ValueError) as error:
            raise InputError(
                f"{self.path} breaks off after row {number} ({type(error).__name__}): save it again"
            ) from error


class _Kept:
    """Lines, of which the last one that was taken is kept."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.line = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line = line.rstrip("\r\n")
        return line


def _checked(number: int, values: dict[str, Any]) -> Row:
    for name, value in values.items():
        if not _is_text(name):
            fault = Violation("row", "a column's name that is not Unicode text", "UTF-8 text")
            return Row(number, values, fault)
        if isinstance(value, str) and not _is_text(value):
            fault = Violation(name, "what is not Unicode text", "UTF-8 text")
            return Row(number, values, fault)
    return Row(number, values)


def _is_text(value: str) -> bool:
    """Whether there is no lone surrogate in it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
