"""One input file → a raw table of text in the work folder.

The raw table is a Parquet file of row groups that are checked one by one, so memory is bounded
whatever the file is. Its columns are c0, c1, …: no name that comes from outside reaches any SQL.
A JSON Lines file has one column of lines, since each line names its own columns.

A file is an input by its bytes: their SHA-256 is its identity, and a file that changes while it is
read is refused. Nothing but a regular file is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from vaxpass_sign.durable import cannot_write
from vaxpass_sign.errors import InputError
from vaxpass_sign.files import open_regular
from vaxpass_sign.prepare import lines
from vaxpass_sign.prepare.engine import WorkFolder, blaming, connect
from vaxpass_sign.prepare.headers import Columns, name_columns
from vaxpass_sign.prepare.schemas import UNREADABLE_SCHEMA, pa, parquet

__all__ = ["KINDS", "Loaded", "load_table", "open_input", "parse_object", "shown_name"]

KINDS: Final = (".csv", ".jsonl", ".parquet")
_LINES_FOR_COLUMNS: Final = 1000
_WRITING: Final = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A raw table. ``groups``: rows of each row group. ``rows``: unreadable lines included."""

    number: int
    name: str
    sha256: str
    kind: str
    columns: Columns
    raw: Path
    groups: tuple[int, ...]
    unreadable: Path
    unreadable_rows: int

    @property
    def rows(self) -> int:
        return sum(self.groups) + self.unreadable_rows


@contextmanager
def open_input(path: Path) -> Iterator[tuple[BinaryIO, str]]:
    """An input file and the SHA-256 of its bytes, in hexadecimal.

    Raises: InputError when it is missing, empty, of another kind, no regular file, or when it was
    changed between the beginning and the end of the block.
    """
    if path.suffix.lower() not in KINDS:
        raise InputError(
            f"{path}: found a file of kind {path.suffix[:20] or 'unknown'!a}, expected .csv, "
            ".jsonl or .parquet"
        )
    try:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            if not before.st_size:
                raise InputError(f"{path}: found an empty file, expected a dose table")
            yield file, _sha256(file)
            after = os.fstat(file.fileno())
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{path} can't be read: {why}; expected a dose table") from None
    except ValueError as error:
        raise InputError(f"{path}: found {error}, expected a dose table in a file") from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise InputError(f"{path} was changed while it was read; wait until it is whole")


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def load_table(  # noqa: PLR0913, PLR0917 (each is a part of one job)
    path: Path,
    file: BinaryIO,
    sha256: str,
    number: int,
    columns: Mapping[str, str],
    work: WorkFolder,
) -> Loaded:
    """Write the raw table of an open input file; ``columns`` is the operator's map.

    Raises: InputError when its columns are not a dose table's, or it can't be read as a table.
    """
    kind = path.suffix.lower()
    read = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}[kind]
    raw, unreadable = work / f"raw-{number:04}.parquet", work / f"unreadable-{number:04}.parquet"
    named, count = read(path, file, columns, _Sink(raw, unreadable, work))
    with parquet.ParquetFile(raw) as table:
        groups = range(table.metadata.num_row_groups)
        sizes = tuple(table.metadata.row_group(group).num_rows for group in groups)
    return Loaded(number, shown_name(path), sha256, kind, named, raw, sizes, unreadable, count)


@dataclass(frozen=True, slots=True)
class _Sink:
    """Where a raw table goes."""

    raw: Path
    unreadable: Path
    work: WorkFolder

    def write(self, blocks: Iterable[lines.Block], schema: Any, places: tuple[int, ...]) -> int:
        """Write blocks: the columns at these places, the line numbers first where there is a
        column for them. Returns the number of unreadable lines.
        """
        count = 0
        numbered = "line" in schema.names
        try:
            with ExitStack() as stack:
                raw, unreadable = (
                    stack.enter_context(parquet.ParquetWriter(path, of, **_WRITING))
                    for path, of in ((self.raw, schema), (self.unreadable, UNREADABLE_SCHEMA))
                )
                for block in blocks:
                    if block.rows:
                        values = list(zip(*block.rows, strict=True))
                        arrays = [pa.array(values[place], pa.string()) for place in places]
                        if numbered:
                            arrays.insert(0, pa.array(block.lines, pa.int64()))
                        raw.write_table(pa.Table.from_arrays(arrays, schema=schema))
                    if block.unreadable:
                        count += len(block.unreadable)
                        unreadable.write_table(_unreadable(block.unreadable, places))
        except OSError as error:
            raise cannot_write(self.raw.parent, error) from None
        return count


def _read_csv(
    path: Path, file: BinaryIO, columns: Mapping[str, str], sink: _Sink
) -> tuple[Columns, int]:
    text = lines.open_text(file)
    try:
        header, delimiter = lines.read_header(path, text)
        named = name_columns(str(path), header, columns)
        schema = pa.schema([(f"c{n}", pa.string()) for n in range(len(named.places))])
        blocks = lines.read_csv(path, text, delimiter, len(header))
        return named, sink.write(blocks, schema, named.places)
    finally:
        text.detach()  # the file stays the caller's to close


def _read_jsonl(
    path: Path, file: BinaryIO, columns: Mapping[str, str], sink: _Sink
) -> tuple[Columns, int]:
    text = lines.open_text(file)
    try:
        # What the first lines name stands for all; a later line's other names go into the rest.
        rows = (row[0] for block in lines.read_lines(text) for row in block.rows)
        objects = filter(None, map(parse_object, islice(rows, _LINES_FOR_COLUMNS)))
        names = dict.fromkeys(name.strip() for values in objects for name in values)
        named = name_columns(str(path), [n for n in names if n.isprintable()], columns)
        schema = pa.schema([("line", pa.int64()), ("c0", pa.string())])
        return named, sink.write(lines.read_lines(text), schema, (0,))
    finally:
        text.detach()


def _read_parquet(
    path: Path, file: BinaryIO, columns: Mapping[str, str], sink: _Sink
) -> tuple[Columns, int]:
    try:
        file.seek(0)
        with parquet.ParquetFile(file, pre_buffer=False) as table:
            header, rows = table.schema_arrow.names, table.metadata.num_rows
    except (pa.ArrowException, ValueError):
        raise InputError(f"{path} can't be read as Parquet; save it again") from None
    if rows > os.fstat(file.fileno()).st_size:
        # A few bytes can say "a billion times nothing".
        raise InputError(
            f"{path}: found {rows} rows in a file of fewer bytes, expected a dose table"
        )
    named = name_columns(str(path), header, columns)
    everything = ", ".join(f"c{n}" for n in range(len(header)))
    lengths = " + ".join(f"coalesce(strlen(c{n}), 0)" for n in range(len(header)))
    texts = ", ".join(f"c{n}::VARCHAR AS c{n}" for n in range(len(header)))
    kept = ", ".join(
        f"CASE WHEN is_long THEN left(c{place}, 100) ELSE c{place} END AS c{n}"
        for n, place in enumerate(named.places)
    )
    source = f"/proc/self/fd/{file.fileno()}"
    failed = f"{path} can't be read as Parquet"
    with blaming(failed, "save it again"), connect(sink.work) as engine:
        engine.execute(  # what is put together here are numbers and paths of our own
            f"COPY (SELECT {kept}, is_long FROM (SELECT *, {lengths} > {lines.MAX_LINE} AS is_long "  # noqa: S608
            f"FROM (SELECT {texts} FROM read_parquet('{source}') AS t({everything})))) TO "
            f"'{sink.work.sql(sink.raw.name)}' "
            f"(FORMAT parquet, COMPRESSION lz4, ROW_GROUP_SIZE {lines.BLOCK_ROWS})"
        )
    return named, 0


def _unreadable(found: list[lines.Unreadable], places: tuple[int, ...]) -> Any:
    """Unreadable lines as a table; of their values, those at these places."""
    return pa.table(
        {
            "line": [u.line for u in found],
            "reason": [str(u.reason) for u in found],
            "values": [[u.values[p] for p in places if p < len(u.values)] for u in found],
            "rest": [u.rest for u in found],
        },
        schema=UNREADABLE_SCHEMA,
    )


def shown_name(path: Path) -> str:
    """A file's name as text; bytes of it that are no UTF-8 are shown as such."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def parse_object(line: str) -> dict[str, Any] | None:
    """The JSON object of a line, or None when it is none."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
