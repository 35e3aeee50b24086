"""The tables that cleaning writes: clean, rejected, and the two that pass between its stages.

* A **clean** row is a person's latest dose, for one disease. ``row_sha256`` covers all its other
  columns, so that whoever holds a clean part can tell whether a row was changed (:func:`hash_rows`
  says how it is made).
* A **rejected** row is an input row as it came, with the reasons: ``source`` (the input's file
  name), ``line`` (counted from 1; null unless the line could not be read as a row), ``reasons``,
  the input's own columns as text, ``rest`` (what has no column).

Importing this module needs the extra ``batch`` and raises MissingExtraError without it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.errors import InputError, MissingExtraError
from vaxpass_sign.files import open_regular

try:
    import pyarrow as pa
    from pyarrow import parquet
except ImportError as error:
    raise MissingExtraError("cleaning dose tables", "batch") from error

__all__ = [
    "CHECKED_SCHEMA",
    "CLEAN_SCHEMA",
    "FAULTS_SCHEMA",
    "REJECTED_COLUMNS",
    "UNREADABLE_SCHEMA",
    "check_clean_columns",
    "hash_columns",
    "hash_rows",
    "open_clean",
    "pa",
    "parquet",
    "rejected_schema",
]

_HASH: Final = pa.binary(32)


def _schema(**types: Any) -> Any:
    """A schema whose columns are never null, but for those whose type is a list of one."""
    return pa.schema(
        [
            pa.field(name.rstrip("_"), kind[0] if type(kind) is list else kind, type(kind) is list)
            for name, kind in types.items()
        ]
    )


_TEXT: Final = pa.string()
_MAYBE: Final = [pa.string()]  # nullable

_RECORD_ID: Final = pa.struct(
    [
        pa.field("facility_id", _TEXT, nullable=False),
        pa.field("record_id", _TEXT, nullable=False),
        pa.field("dose_sha256", _HASH, nullable=False),
    ]
)

CLEAN_SCHEMA: Final = _schema(
    uvci=_TEXT,
    revision=pa.int32(),
    supersedes=_MAYBE,
    person_key=_HASH,
    surname=_TEXT,
    given_name=_TEXT,
    fnt=_TEXT,
    gnt=_TEXT,
    birth_date=_TEXT,
    sex=_MAYBE,
    nationality=_MAYBE,
    tg=_TEXT,
    vp=_TEXT,
    mp=_TEXT,
    ma=_TEXT,
    dn=pa.int8(),
    sd=pa.int8(),
    dt=_TEXT,
    co=_TEXT,
    is_=_TEXT,
    lot=_MAYBE,
    facility_id=_TEXT,
    province_code=_TEXT,
    record_ids=pa.list_(pa.field("element", _RECORD_ID, nullable=False)),
    row_sha256=_HASH,
)
"""A clean part's columns, in their order."""

CHECKED_SCHEMA: Final = _schema(
    file=pa.int32(),
    place=pa.int64(),
    person_key=_HASH,
    facility_id=_TEXT,
    record_id=_TEXT,
    dose_sha256=_HASH,
    surname=_TEXT,
    given_name=_TEXT,
    fnt=_TEXT,
    gnt=_TEXT,
    birth_date=_TEXT,
    sex=_MAYBE,
    nationality=_MAYBE,
    tg=_TEXT,
    vp=_TEXT,
    mp=_TEXT,
    ma=_TEXT,
    dn=pa.int8(),
    sd=pa.int8(),
    sd_given=pa.bool_(),
    dt=_TEXT,
    co=_TEXT,
    is_=_TEXT,
    lot=_MAYBE,
    province_code=_TEXT,
)
"""Input rows that keep every rule of a single row. ``file`` and ``place`` say which: the input's
number and the row's place in its raw table, both counted from 0."""

FAULTS_SCHEMA: Final = _schema(
    file=pa.int32(), place=pa.int64(), line=[pa.int64()], reasons=pa.list_(_TEXT)
)
"""Input rows that break a rule; ``line`` where the row could not be read as one."""

UNREADABLE_SCHEMA: Final = _schema(
    line=pa.int64(), reason=_TEXT, values=pa.list_(_TEXT), rest=_TEXT
)
"""Lines of a CSV file that are no row, with the values that could be told apart."""

REJECTED_COLUMNS: Final = ("source", "line", "reasons", "rest")
"""The columns of a rejected table that are not the input's own."""


def rejected_schema(columns: Sequence[str]) -> Any:
    """The schema of the rejected table of an input with these columns."""
    return pa.schema(
        [
            pa.field("source", _TEXT, nullable=False),
            pa.field("line", pa.int64()),
            pa.field("reasons", pa.list_(_TEXT), nullable=False),
            *(pa.field(name, _TEXT) for name in columns),
            pa.field("rest", _TEXT),
        ]
    )


def open_clean(path: Path) -> Any:
    """A clean part, as a pyarrow ParquetFile that is the caller's to close.

    Raises: InputError when it can't be read, is no Parquet file, or has other columns than a clean
    part: the message names the first that differs.
    """
    try:
        open_regular(path).close()
        file = parquet.ParquetFile(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror or 'an input error'}") from None
    except (pa.ArrowException, ValueError):
        raise InputError(f"{path}: found no Parquet file, expected a clean part") from None
    try:
        check_clean_columns(file.schema_arrow, path)
    except InputError:
        file.close()
        raise
    return file


def check_clean_columns(found: Any, path: Path) -> None:
    """Refuse the Arrow schema of a table that is no clean part.

    Raises: InputError that names the first column that differs.
    """
    for number in range(max(len(found), len(CLEAN_SCHEMA))):
        expected, actual = _describe(CLEAN_SCHEMA, number), _describe(found, number)
        if actual != expected:
            raise InputError(
                f"{path} is no clean part: as column {number + 1} found {actual}, expected "
                f"{expected}"
            )


def _describe(schema: Any, number: int) -> str:
    """A column's name and type; a name from outside may hold anything."""
    if number >= len(schema):
        return "no more columns"
    field = schema.field(number)
    null = "" if field.nullable else " not null"
    return f"{field.name[:40]!a} ({str(field.type)[:200]}{null})"


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def hash_rows(rows: Iterable[Sequence[Any]]) -> list[bytes]:
    """SHA-256 of each row: of its values as a JSON array in UTF-8.

    Without spaces, only what must be escaped is escaped, null where there is nothing, bytes in
    lower-case hexadecimal (they come as such), structs as arrays. Nothing else gives these bytes,
    so two rows with one hash are one row. A clean row's ``row_sha256`` is that of its columns in
    the schema's order, but for itself.
    """
    sha256, encode = hashlib.sha256, _encode
    return [sha256(encode(row).encode()).digest() for row in rows]


def hash_columns(table: Any) -> list[bytes]:
    """The ``row_sha256`` that each row of a clean table or record batch should have.

    >>> hash_columns(CLEAN_SCHEMA.empty_table())
    []
    """
    columns = []
    for field in CLEAN_SCHEMA:
        if field.name == "row_sha256":
            continue
        values = table.column(field.name).to_pylist()
        if field.type == _HASH:
            values = [value.hex() for value in values]
        elif field.name == "record_ids":
            values = [
                [[i["facility_id"], i["record_id"], i["dose_sha256"].hex()] for i in ids]
                for ids in values
            ]
        columns.append(values)
    return hash_rows(zip(*columns, strict=True))
