"""Files of many payloads, in blocks: text with one a line, or a column of a Parquet table.

A block is bounded, whatever the file is. Its lines are told apart by whoever works on it, so that
reading a file takes nearly nothing of the time of the process that does.

>>> block = TextBlock("a.txt", 7, b"HC1:A\\r\\n\\n HC1:B")
>>> block.rows()
([7, 9], ['HC1:A', 'HC1:B'])
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, BinaryIO, Final, Protocol

from vaxpass_sign.errors import InputError, MissingExtraError

__all__ = [
    "COLUMN",
    "MAX_LINE",
    "ColumnBlock",
    "PayloadBlock",
    "TextBlock",
    "count_lines",
    "count_rows",
    "is_parquet",
    "parquet_blocks",
    "text_blocks",
]

COLUMN: Final = "hc1"
"""The column of a signed part that holds the payloads."""

MAX_LINE: Final = 10_000
"""Bytes of the longest line that is kept; no payload has as many, and none is read further."""

_CHUNK: Final = 1 << 19
_ROWS: Final = 2000
"""Payloads of a block: of what is said of each, a file of tiny lines must not make gigabytes."""
_TEXTS: Final = (
    *("string", "large_string", "string_view"),
    *(
        f"dictionary<values={kind}, indices=int32, ordered=0>"
        for kind in ("string", "large_string")
    ),
)
_PARQUET: Final = b"PAR1"
_MARK: Final = b"\xef\xbb\xbf"


class PayloadBlock(Protocol):
    """Some payloads that follow each other in a file."""

    @property
    def source(self) -> str:
        """The file's name."""
        ...

    @property
    def is_empty(self) -> bool:
        """Whether it holds no payload."""
        ...

    def rows(self) -> tuple[list[int], list[str]]:
        """The number of each payload's line or row, from 1, and the payload."""
        ...


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole lines; ``first`` is the number of the first one. Blank lines hold no payload."""

    source: str
    first: int
    data: bytes

    @property
    def is_empty(self) -> bool:
        """Whether it has blank lines alone."""
        return not self.data or self.data.isspace()

    def rows(self) -> tuple[list[int], list[str]]:
        """See :class:`PayloadBlock`."""
        numbers, texts = [], []
        for number, line in zip(count(self.first), self.data.split(b"\n"), strict=False):
            # Base45 has the space in its alphabet, so only the line's end is cut off.
            text = line[:MAX_LINE].decode("utf-8", "replace").rstrip("\r").lstrip()
            if text:
                numbers.append(number)
                texts.append(text)
        return numbers, texts


@dataclass(frozen=True, slots=True)
class ColumnBlock:
    """Values of a column; ``first`` is the number of the first row. A null holds no payload."""

    source: str
    first: int
    values: list[str | None]

    @property
    def is_empty(self) -> bool:
        """Whether it has no row."""
        return not self.values

    def rows(self) -> tuple[list[int], list[str]]:
        """See :class:`PayloadBlock`; every row is one."""
        numbers = list(range(self.first, self.first + len(self.values)))
        return numbers, [value or "" for value in self.values]


def is_parquet(head: bytes) -> bool:
    """Whether a file begins as a Parquet table does."""
    return head.startswith(_PARQUET)


def text_blocks(file: BinaryIO, source: str) -> Iterator[TextBlock]:
    """The lines of an open file of UTF-8 text; a mark at its beginning is passed over.

    Raises: InputError when it can't be read to its end.
    """
    number, rest = 1, b""
    is_first = True
    while chunk := _chunk(file, source):
        if is_first:
            chunk, is_first = chunk.removeprefix(_MARK), False
        lines, newline, tail = chunk.rpartition(b"\n")
        if not newline:
            rest = (rest + tail)[:MAX_LINE]  # longer than any payload: the Verdict says so
            continue
        for some in _bounded(rest + lines):
            yield TextBlock(source, number, some)
            number += some.count(b"\n") + 1
        rest = tail
    if rest:
        yield TextBlock(source, number, rest)


def _chunk(file: BinaryIO, source: str) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise InputError(
            f"{source} can't be read to its end: {error.strerror}; expected one payload a line"
        ) from error


def _bounded(lines: bytes) -> Iterator[bytes]:
    """The lines in shares of _ROWS at most."""
    if lines.count(b"\n") < _ROWS:
        yield lines
        return
    each = lines.split(b"\n")
    for start in range(0, len(each), _ROWS):
        yield b"\n".join(each[start : start + _ROWS])


def parquet_blocks(file: BinaryIO, source: str, column: str = COLUMN) -> Iterator[ColumnBlock]:
    """The values of a column of strings of an open Parquet table.

    A hostile table of a few bytes can repeat a value of megabytes for ever. Its rows are cut, but
    only after they were read: who reads tables of strangers sets a limit to the memory of the
    process (RLIMIT_AS), as the command line does, and gets an InputError then.

    Raises: InputError when it can't be read, needs too much memory, or has no such column;
        MissingExtraError without the packages for it.
    """
    with _open(file, source) as table:
        types = {field.name: str(field.type) for field in table.schema_arrow}
        if types.get(column) not in _TEXTS:
            found = f"the columns {', '.join(types)}"[:300]
            if column in types:
                found = f"the column {column!r} of type {types[column][:40]}"
            raise InputError(
                f"{source}: found {found}, expected payloads as text in {column!r}; name their "
                "column (--column)"
            )
        first = 1
        for batch in table.iter_batches(_ROWS, columns=[column], use_threads=False):
            values = [value and value[:MAX_LINE] for value in batch.column(0).to_pylist()]
            yield ColumnBlock(source, first, values)
            first += len(values)


def count_rows(file: BinaryIO, source: str) -> int:
    """How many rows an open Parquet table says it has. Raises: as :func:`parquet_blocks`."""
    with _open(file, source) as table:
        return int(table.metadata.num_rows)


def count_lines(file: BinaryIO) -> int:
    """How many lines an open text has from here on, blank ones too; it is read to its end."""
    lines, last = 0, b"\n"
    while chunk := file.read(_CHUNK):
        lines, last = lines + chunk.count(b"\n"), chunk
    return lines + (not last.endswith(b"\n"))


@contextmanager
def _open(file: BinaryIO, source: str) -> Iterator[Any]:
    """The table; errors of the package, which may quote rows, become ours."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("tables", "batch") from error
    try:
        # By its number: the file that was opened, and read without a detour through Python.
        with pyarrow.parquet.ParquetFile(f"/proc/self/fd/{file.fileno()}") as table:
            yield table
    except MemoryError:  # pyarrow's own is one
        raise InputError(
            f"{source}: found pages or values that need more memory than there is, expected "
            "payloads; do not read it"
        ) from None
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError):
        raise InputError(
            f"{source} can't be read as a Parquet table, expected a whole one; get it again"
        ) from None
