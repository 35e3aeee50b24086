"""A verdict a row: a table of many, written in the form that its name says.

Its columns: ``input`` and ``row`` (the file, and the line or row in it, from 1), ``valid``,
``reason``, ``step``, ``detail``, ``warnings`` and ``kid`` (hexadecimal, the header's). None holds
personal data.

Rows are made in worker processes and written by one, in order. The table is there when it is whole,
or not at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.check.asked import Asked
from vaxpass_sign.check.many import BatchVerifier, Outcome
from vaxpass_sign.check.parallel import verify_blocks
from vaxpass_sign.check.payload_files import PayloadBlock
from vaxpass_sign.check.verdict import STEP_OF, Reason
from vaxpass_sign.durable import cannot_write, replace_file
from vaxpass_sign.errors import InputError, MissingExtraError

__all__ = ["COLUMNS", "Counts", "write_verdicts"]

COLUMNS: Final = ("input", "row", "valid", "reason", "step", "detail", "warnings", "kid")

_GROUP_ROWS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Counts:
    """How many payloads are valid, and how many are not."""

    valid: int = 0
    invalid: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.valid + other.valid, self.invalid + other.invalid)

    @property
    def total(self) -> int:
        """All of them."""
        return self.valid + self.invalid


def write_verdicts(
    out: Path,
    asked: Asked,
    blocks: Iterable[PayloadBlock],
    *,
    workers: int | None = None,
    progress: Callable[[Counts], None] = lambda counts: None,
) -> Counts:
    """Verify every payload of the blocks on all cores, and write a verdict a row, in order.

    Args:
        out: ends in .csv, .jsonl or .parquet (which needs the extra ``batch``).
        workers: processes; one for each core when left out.
        progress: called with the counts so far, now and then.
    Raises: InputError when ``out`` has another end or can't be written, or a worker died;
        MissingExtraError; what ``blocks`` raises. What was at ``out`` before is there then.
    """
    form = _form(out)
    counts = Counts()
    with replace_file(out) as temporary:
        try:
            with form.open(temporary) as writer:
                work = partial(_work, form.make)
                for rows, some in verify_blocks(asked, blocks, work, workers=workers):
                    writer.write(rows)
                    counts += some
                    progress(counts)
        except OSError as error:
            raise cannot_write(out, error) from error
    return counts


@dataclass(frozen=True, slots=True)
class _Form:
    """How a table is written: ``make`` makes of a block what ``open`` gives a writer for."""

    make: Callable[[_Judged], Any]
    open: Callable[[Path], Any]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A block's rows: few outcomes differ, so each is written out once."""

    source: str
    numbers: list[int]
    kinds: list[Outcome]
    """Those that differ."""
    places: list[int]
    """The place in ``kinds`` of each row's."""


def _form(out: Path) -> _Form:
    try:
        form = _FORMS[out.suffix.lower()]
    except KeyError:
        raise InputError(
            f"{out}: found a name that ends in {out.suffix!r}, expected one of {', '.join(_FORMS)}"
        ) from None
    if form.make is _parquet_rows:
        _pyarrow()
    return form


def _work(
    make: Callable[[_Judged], Any], verifier: BatchVerifier, block: PayloadBlock
) -> tuple[Any, Counts]:
    numbers, texts = block.rows()
    places: list[int] = []
    known: dict[Outcome, int] = {}
    for outcome in verifier.outcomes(texts):
        places.append(known.setdefault(outcome, len(known)))
    kinds = list(known)
    is_valid = [kind.reason is Reason.VALID for kind in kinds]
    valid = sum(is_valid[place] for place in places)
    # A file's name need not be text; its other bytes are surrogates, which no form can hold.
    source = block.source.encode("utf-8", "backslashreplace").decode()
    rows = make(_Judged(source, numbers, kinds, places))
    return rows, Counts(valid, len(places) - valid)


def _facts(kind: Outcome) -> tuple[bool, str, int, str, str, str | None]:
    """The columns from ``valid`` on."""
    return (
        kind.reason is Reason.VALID,
        kind.reason.value,
        STEP_OF[kind.reason].value,
        kind.detail,
        "; ".join(kind.warnings),
        None if kind.kid is None else kind.kid.hex(),
    )


# --- CSV and JSON Lines ------------------------------------------------------------------------


def _csv_line(*values: object) -> str:
    line = io.StringIO()
    # Before Python 3.13 only the characters of the line's end are quoted, beside commas and quotes.
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n")


def _csv_rows(judged: _Judged) -> bytes:
    source = _csv_line(judged.source)
    ends = []
    for kind in judged.kinds:
        is_valid, *rest = _facts(kind)
        ends.append(_csv_line("true" if is_valid else "false", *rest))
    rows = zip(judged.numbers, judged.places, strict=True)
    return "".join(f"{source},{number},{ends[place]}\n" for number, place in rows).encode()


def _csv_file(path: Path) -> Any:
    file = path.open("wb")
    file.write((",".join(COLUMNS) + "\n").encode())
    return file


def _json_rows(judged: _Judged) -> bytes:
    source = json.dumps(judged.source)
    ends = []
    for kind in judged.kinds:
        facts = dict(zip(COLUMNS[2:], _facts(kind), strict=True))
        ends.append(json.dumps(facts, ensure_ascii=False)[1:])
    rows = zip(judged.numbers, judged.places, strict=True)
    return "".join(
        f'{{"input": {source}, "row": {number}, {ends[place]}\n' for number, place in rows
    ).encode()


# --- Parquet -----------------------------------------------------------------------------------


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("tables", "batch") from error
    return pyarrow


def _schema() -> Any:
    pa = _pyarrow()
    types = (pa.string(), pa.int64(), pa.bool_(), pa.string(), pa.int8(), *[pa.string()] * 3)
    return pa.schema(list(zip(COLUMNS, types, strict=True)))


def _parquet_rows(judged: _Judged) -> Any:
    pa, schema = _pyarrow(), _schema()
    rows, places = len(judged.numbers), pa.array(judged.places, pa.int32())
    columns = [pa.array([judged.source] * rows, pa.string()), pa.array(judged.numbers, pa.int64())]
    facts = zip(*map(_facts, judged.kinds), strict=True) if judged.kinds else [[]] * 6
    for field, values in zip(list(schema)[2:], facts, strict=True):
        columns.append(pa.array(values, field.type).take(places))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


class _ParquetFile:
    """Rows gathered into row groups of a useful size."""

    def __init__(self, path: Path) -> None:
        self._arrow = _pyarrow()
        self._writer = self._arrow.parquet.ParquetWriter(path, _schema(), compression="zstd")
        self._batches: list[Any] = []
        self._rows = 0

    def write(self, batch: Any) -> None:
        self._batches.append(batch)
        self._rows += batch.num_rows
        if self._rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._batches:
            self._writer.write_table(self._arrow.Table.from_batches(self._batches))
        self._batches, self._rows = [], 0

    def __enter__(self) -> _ParquetFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()


_FORMS: Final = {
    ".csv": _Form(_csv_rows, _csv_file),
    ".jsonl": _Form(_json_rows, lambda path: path.open("wb")),
    ".parquet": _Form(_parquet_rows, _ParquetFile),
}
