"""The Parquet files of a campaign, read and written: clean parts by the block, signed parts whole.

A clean part is read into memory and its hash compared before a row of it is believed, so that what
was hashed is what is used. Files are small (100,000 rows, some 30 MB).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.commit import HashedFile
from vaxpass_sign.campaign.ranges import Ranges
from vaxpass_sign.durable import cannot_write
from vaxpass_sign.errors import LedgerError, MissingExtraError

__all__ = ["CommittedTable", "open_parquet", "signed_schema", "write_signed"]

_SIGNED_TYPES: Final = (
    ("uvci", "string"),
    ("generation", "int32"),
    ("person_key", "binary32"),
    ("hc1", "string"),
    ("kid", "binary8"),
    ("issued_at", "int64"),
    ("expires_at", "int64"),
    ("profile", "string"),
    ("row_sha256", "binary32"),
    ("facility_id", "string"),
    ("province_code", "string"),
)
_REPEATED: Final = ["generation", "kid", "issued_at", "expires_at", "profile"]
"""Columns whose values are the same in all rows of a part, or nearly."""


@cache
def signed_schema() -> Any:
    """The Arrow schema of a signed part (DESIGN's "Signed part").

    Raises: MissingExtraError without pyarrow.
    """
    pa = _arrow()
    types = {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "binary8": pa.binary(8),
        "binary32": pa.binary(32),
    }
    return pa.schema([pa.field(name, types[kind], nullable=False) for name, kind in _SIGNED_TYPES])


@contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A Parquet file to be read in blocks, as a pyarrow ParquetFile.

    Opened here, because pyarrow takes no path that is not UTF-8.

    Raises: OSError; pyarrow's exceptions and ValueError when it is no Parquet.
    """
    _arrow()
    from pyarrow import parquet

    with path.open("rb") as file, parquet.ParquetFile(file) as table:
        yield table


def write_signed(path: Path, table: Any) -> tuple[str, int]:
    """Write a signed part; its SHA-256 (hexadecimal) and length in bytes.

    Raises: InputError when the disk is full or can't be written.
    """
    from pyarrow import parquet

    try:
        file = HashedFile(path)
        try:
            # Texts are as random as their signatures: compressing and counting them saves nothing.
            with parquet.ParquetWriter(
                file,
                signed_schema(),
                compression="none",
                use_dictionary=[*_REPEATED, "facility_id", "province_code"],
                write_statistics=False,
            ) as writer:
                writer.write_table(table)
        finally:
            file.close()
    except OSError as error:
        raise cannot_write(path, error) from error
    return file.sha256, file.bytes


class CommittedTable:
    """A Parquet file that the ledger commits, held in memory; any rows of it can be read.

    The row group that was read last is kept, since rows are read in order.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        """Read the file.

        Raises: LedgerError when it is missing, has another hash or is no Parquet.
        """
        pa = _arrow()
        from pyarrow import parquet

        try:
            data = path.read_bytes()
        except OSError as error:
            raise LedgerError(
                f"{path} can't be read: {error.strerror}; expected the file that the ledger "
                "commits: restore it from its backup"
            ) from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise LedgerError(
                f"{path}: found {len(data)} bytes with another hash than the ledger's: it was "
                "changed or cut after it was committed; restore it from its backup"
            )
        try:
            self._file = parquet.ParquetFile(pa.BufferReader(data))
        except (pa.ArrowException, ValueError, OSError) as error:
            raise LedgerError(f"{path} can't be read as Parquet: restore it") from error
        metadata = self._file.metadata
        sizes = (metadata.row_group(n).num_rows for n in range(metadata.num_row_groups))
        self._starts: list[int] = list(accumulate(sizes, initial=0))
        self._kept: tuple[int, tuple[str, ...], Any] | None = None

    @property
    def schema(self) -> Any:
        """The file's Arrow schema."""
        return self._file.schema_arrow

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self._starts[-1]

    def read(self, ranges: Ranges, columns: Sequence[str], most: int) -> Iterator[Any]:
        """The rows of the ranges as Arrow tables of at most ``most`` rows, in order."""
        wanted = tuple(columns)
        for begin, end in ranges:
            start = begin
            while start < end:
                group = bisect_right(self._starts, start) - 1
                stop = min(end, start + most, self._starts[group + 1])
                offset = self._starts[group]
                yield self._group(group, wanted).slice(start - offset, stop - start)
                start = stop

    def read_one(self, start: int, stop: int, columns: Sequence[str]) -> Any:
        """The rows from ``start`` to before ``stop`` as one Arrow table."""
        return _arrow().concat_tables(self.read(((start, stop),), columns, stop - start))

    def read_all(self, columns: Sequence[str]) -> Any:
        """Columns of all rows as an Arrow table."""
        return self._file.read(columns=list(columns), use_threads=False)

    def _group(self, group: int, columns: tuple[str, ...]) -> Any:
        if self._kept is None or self._kept[:2] != (group, columns):
            table = self._file.read_row_group(group, columns=list(columns), use_threads=False)
            self._kept = group, columns, table
        return self._kept[2]


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("campaigns", "batch") from error
    return pyarrow
