"""Merged rows → clean rows with their UVCI and hash → clean parts.

The same rows give the same bytes. Files are written in place and not synced: they are part of no
campaign before its coordinator commits them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.durable import cannot_write
from vaxpass_sign.hcert.columns import BLOCK
from vaxpass_sign.prepare.engine import open_private
from vaxpass_sign.prepare.persons import Dose, Merged
from vaxpass_sign.prepare.schemas import CLEAN_SCHEMA, hash_rows, pa, parquet
from vaxpass_sign.record.uvci import derive_uvci

__all__ = ["PART_ROWS", "Written", "clean_blocks", "write_clean"]

PART_ROWS: Final = 100_000
"""Rows of a clean part; its row groups have BLOCK."""

_DICTIONARIES: Final = [
    *("birth_date", "sex", "nationality", "tg", "vp", "mp", "ma", "dt", "co", "is"),
    *("facility_id", "province_code", "surname", "fnt"),
]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, and how many rows it has."""

    path: Path
    rows: int


def clean_blocks(blocks: Iterable[Sequence[Merged]], secret: bytes, country: str) -> Iterator[Any]:
    """Merged rows as tables of clean rows, with ``own_id``: the record_id of the latest dose."""
    schema = CLEAN_SCHEMA.append(pa.field("own_id", pa.string()))
    for block in blocks:
        columns = _clean_columns(block, secret, country)
        arrays = [
            columns[field.name]
            if field.name == "record_ids"
            else pa.array(columns[field.name], field.type)
            for field in schema
        ]
        yield pa.Table.from_arrays(arrays, schema=schema)


def _clean_columns(block: Sequence[Merged], secret: bytes, country: str) -> dict[str, Any]:
    """The block's columns by name; record_ids as an Arrow array."""
    doses, births, dn, sd, supersedes, members = zip(*block, strict=True)
    of: dict[str, Any] = dict(zip(Dose._fields, zip(*doses, strict=True), strict=True))
    keys = of["person_key"]
    of["uvci"] = [
        derive_uvci(secret, country, key, mp, dt)
        for key, mp, dt in zip(keys, of["mp"], of["dt"], strict=True)
    ]
    of |= {"revision": [0] * len(block), "supersedes": supersedes, "birth_date": births}
    of |= {"dn": dn, "sd": sd, "is": of["issuer"], "own_id": of["record_id"]}
    shown = of | {
        "person_key": [key.hex() for key in keys],
        "record_ids": [
            [(m.facility_id, m.record_id, m.dose_sha256.hex()) for m in group] for group in members
        ],
    }
    hashed = [shown[name] for name in CLEAN_SCHEMA.names if name != "row_sha256"]
    of["row_sha256"] = hash_rows(zip(*hashed, strict=True))
    of["record_ids"] = _record_ids(members)
    return of


def _record_ids(members: Sequence[Sequence[Dose]]) -> Any:
    """The rows that each clean row was merged from, as an Arrow array of lists."""
    kind = CLEAN_SCHEMA.field("record_ids").type
    ends = list(accumulate(map(len, members), initial=0))
    values = [
        pa.array([getattr(m, of.name) for group in members for m in group], of.type)
        for of in kind.value_type
    ]
    structs = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), structs, type=kind)


def write_clean(
    rows: Iterable[Any],
    name: Callable[[int], Path],
    written: list[Written],
    progress: Callable[[int], None],
) -> None:
    """Write the clean parts.

    Args:
        rows: clean rows in their order, as tables; columns besides are left out.
        name: the path of the k-th part, from 1.
        written: where each part is added as soon as its file is there.
        progress: called with the number of rows done, after each block.

    Raises: InputError when the disk is full.
    """
    done = 0
    path = name(1)
    try:
        with ExitStack() as part:
            for table in _blocks(rows):
                if done % PART_ROWS == 0:
                    part.close()
                    path = name(done // PART_ROWS + 1)
                    writer = _open_part(part, path)
                    written.append(Written(path, 0))
                writer.write_table(table)
                done += len(table)
                written[-1] = Written(path, written[-1].rows + len(table))
                progress(done)
    except OSError as error:
        raise cannot_write(path, error) from None


def _blocks(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows as tables of exactly BLOCK rows, but for the last, in the clean schema."""
    pending: list[Any] = []
    for some in rows:
        table = pa.concat_tables([*pending, some])
        for start in range(0, len(table) - BLOCK + 1, BLOCK):
            yield _as_clean(table.slice(start, BLOCK))
        pending = [table.slice(len(table) - len(table) % BLOCK)]
    if pending and len(pending[0]):
        yield _as_clean(pending[0])


def _as_clean(table: Any) -> Any:
    # One chunk a column, so that a part's bytes don't depend on how the rows came.
    columns = [table.column(field.name).combine_chunks() for field in CLEAN_SCHEMA]
    return pa.Table.from_arrays(columns, schema=CLEAN_SCHEMA)


def _open_part(part: ExitStack, path: Path) -> Any:
    file = part.enter_context(open_private(path))
    return part.enter_context(
        parquet.ParquetWriter(
            file,
            CLEAN_SCHEMA,
            compression="lz4",
            use_dictionary=_DICTIONARIES,
            write_statistics=False,
        )
    )
