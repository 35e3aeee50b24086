"""Rejected rows → the rejected table of their input: all its columns as they came, and reasons.

The table can be mended and cleaned again as it is. Rows come first, in their order, then the lines
that could not be read as rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.durable import cannot_write
from vaxpass_sign.prepare.engine import open_private
from vaxpass_sign.prepare.headers import MAX_COLUMNS, rejected_name, returned_name
from vaxpass_sign.prepare.load import Loaded, parse_object
from vaxpass_sign.prepare.schemas import UNREADABLE_SCHEMA, pa, parquet, rejected_schema
from vaxpass_sign.prepare.write import Written

__all__ = ["write_rejected"]

_BATCH: Final = 2000
_TEXT: Final = pa.string()


Rejects = Callable[[int, int], list[tuple[int, int | None, list[str]]]]
"""(place, line, reasons) of an input's rejected rows from one place to before another."""


def write_rejected(path: Path, table: Loaded, rejects: Rejects, written: list[Written]) -> None:
    """Write an input's rejected table.

    ``written``: where the file is added as soon as it is there.

    Raises: InputError when the disk is full.
    """
    jsonl = table.kind == ".jsonl"
    names = list(table.columns.names)
    if jsonl:
        names += _further_names(table, rejects, names)
    schema = rejected_schema([rejected_name(name) for name in names])
    try:
        with ExitStack() as stack:
            file = stack.enter_context(open_private(path))
            written.append(Written(path, 0))
            writer = stack.enter_context(
                parquet.ParquetWriter(file, schema, compression="zstd", write_statistics=False)
            )
            for lines, reasons, raw in _rejected_rows(table, rejects):
                own = _json_columns(raw, table, names) if jsonl else _columns(raw, names)
                _write(writer, written, table.name, schema, [lines, reasons, *own])
            for columns in _unreadable(table, len(names)):
                _write(writer, written, table.name, schema, columns)
    except OSError as error:
        raise cannot_write(path, error) from None


def _rejected_rows(
    table: Loaded, rejects: Rejects
) -> Iterator[tuple[list[int | None], list[list[str]], Any]]:
    """Lines, reasons and raw rows of what was rejected, row group by row group."""
    first = 0
    with parquet.ParquetFile(table.raw) as file:
        for group, size in enumerate(table.groups):
            found = rejects(first, first + size)
            if found:
                places, lines, reasons = zip(*found, strict=True)
                rows = file.read_row_group(group).take([place - first for place in places])
                for start in range(0, len(rows), _BATCH):
                    part = slice(start, start + _BATCH)
                    yield list(lines[part]), list(reasons[part]), rows.slice(start, _BATCH)
            first += size


def _write(
    writer: Any, written: list[Written], source: str, schema: Any, columns: Sequence[Any]
) -> None:
    """Write line, reasons, the input's columns and the rest, after the source."""
    count = len(columns[0])
    arrays = [
        values if isinstance(values, pa.ChunkedArray) else pa.array(values, of)
        for values, of in zip([[source] * count, *columns], schema.types, strict=True)
    ]
    writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
    written[-1] = Written(written[-1].path, written[-1].rows + count)


def _columns(raw: Any, names: Sequence[str]) -> list[Any]:
    """The input's columns, and an empty rest."""
    return [*(raw.column(f"c{n}") for n in range(len(names))), [""] * len(raw)]


def _unreadable(table: Loaded, width: int) -> Iterator[list[Any]]:
    if not table.unreadable_rows:
        return
    with parquet.ParquetFile(table.unreadable) as file:
        for batch in file.iter_batches(_BATCH):
            line, reason, values, rest = (
                batch.column(name).to_pylist() for name in UNREADABLE_SCHEMA.names
            )
            padded = [row + [None] * (width - len(row)) for row in values]
            columns = [list(column) for column in zip(*padded, strict=True)]
            yield [line, [[text] for text in reason], *columns, rest]


# --- JSON Lines: each row names its own columns --------------------------------------------


def _further_names(table: Loaded, rejects: Rejects, names: Sequence[str]) -> list[str]:
    """The names that the rejected lines have besides, sorted, as far as a table holds them."""
    found: set[str] = set()
    for _, _, raw in _rejected_rows(table, rejects):
        for line in raw.column("c0").to_pylist():
            found.update(_own_values(line, table) or ())
    own = set(names)
    further = sorted(n for n in found if n not in own and n.isprintable() and n)
    return further[: max(0, MAX_COLUMNS - len(names))]


def _json_columns(raw: Any, table: Loaded, names: Sequence[str]) -> list[Any]:
    """The input's columns, and what has none as the rest."""
    rows: list[list[str | None]] = []
    for line in raw.column("c0").to_pylist():
        values = _own_values(line, table)
        if values is None:
            rows.append([*[None] * len(names), line])
            continue
        row = [_as_text(values.pop(name, None)) for name in names]
        rows.append([*row, _as_text(values) if values else ""])
    return [list(column) for column in zip(*rows, strict=True)]


def _own_values(line: str, table: Loaded) -> dict[str, Any] | None:
    """A line's values by the input's own names."""
    found = parse_object(line)
    if found is None:
        return None
    named = ((name.strip(), value) for name, value in found.items())
    if table.columns.mended:
        named = ((returned_name(name), value) for name, value in named)
    return {name: value for name, value in named if name}


def _as_text(value: Any) -> str | None:
    r"""A value as text; a lone surrogate, which no text may hold, becomes its escape \ud800."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace").decode()
