"""Sign a dose table in one go: one row, one credential.

Every row ends in exactly one of two files: ``signed.parquet``, or ``rejected.csv`` with all its
columns as they came and the reasons. Both are complete before either appears; ``signed.parquet``
appears last, and that is the commit point: without it nothing was issued, and the same call starts
again. What was issued is never replaced: a folder with a ``signed.parquet`` is refused. A row's
UVCI is derived from its person, product and date with the secret
(:func:`vaxpass_sign.record.uvci.derive_uvci`), so that signing a table again gives each credential
the same UVCI and never a second identity.

Rows are not merged by person: a table that has one row for a person's every dose gives one
credential for each. A dose that stands in the table twice (the same person, product and date) would
get one UVCI twice, so its second row is rejected. Needs the extra ``batch``.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

from vaxpass_sign.durable import cannot_write, make_directory, replace_file
from vaxpass_sign.errors import InputError, MissingExtraError, RecordError, Violation
from vaxpass_sign.hcert.columns import BLOCK, Columns
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.prepare.doses import check_columns, record_from_row
from vaxpass_sign.prepare.table import DoseTable, Row
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.record.uvci import derive_uvci, person_key, row_key
from vaxpass_sign.record.valuesets import ValueSets

__all__ = ["TableReport", "sign_table"]


@dataclass(frozen=True, slots=True)
class TableReport:
    """What became of a table: ``rows`` = ``signed`` + ``rejected``; ``seconds`` of work."""

    rows: int
    signed: int
    rejected: int
    seconds: float
    signed_path: Path
    rejected_path: Path


@dataclass(frozen=True, slots=True)
class _Accepted:
    row: Row
    record: VaccinationRecord
    person_key: bytes
    uvci: str


class _Refused(Exception):  # noqa: N818 (a way out of one row, never seen outside)
    def __init__(self, *violations: Violation) -> None:
        self.violations = violations


def sign_table(  # noqa: PLR0913 (each is a part of one job)
    table: str | PathLike[str],
    issuer: Issuer,
    directory: str | PathLike[str],
    *,
    secret: bytes,
    value_sets: ValueSets | None = None,
    progress: Callable[[int], None] | None = None,
) -> TableReport:
    """Sign every row of a dose table that is a record; write signed.parquet and rejected.csv.

    Args:
        table: a .csv, .jsonl or .parquet file with DESIGN's columns.
        issuer: signs.
        directory: where the two files go; made when it is missing.
        secret: 32 bytes that stay the same for all tables and years.
        value_sets: the operator's, where the library's own were extended.
        progress: called with the number of rows done, after each block.

    Raises: InputError when the table has not its required columns or can't be read, or the
        directory can't be written; CertificateError and TokenError as :meth:`Issuer.issue`.
    """
    row_key(secret, "", "a secret of another length is an error, not a table of rejects")
    doses = DoseTable(table)
    check_columns(doses.columns, also_required=("record_id",))
    folder = Path(directory)
    make_directory(folder)
    signed_path, rejected_path = folder / "signed.parquet", folder / "rejected.csv"
    done = signed = 0
    # The files leave their contexts in the reverse order: both writers are closed, then
    # rejected.csv appears, then signed.parquet.
    with (
        replace_file(signed_path) as signed_file,
        replace_file(rejected_path) as rejected_file,
        ExitStack() as writers,
    ):
        # Asked with the target's lock held: another program may have finished just before.
        if signed_path.exists():
            raise InputError(
                f"{signed_path} is there: what was issued is never replaced; give another folder"
            )
        write_signed = _open_signed(writers, signed_path, signed_file)
        started = time.perf_counter()  # after the first import of pyarrow, which is no work
        write_rejected = _open_rejected(writers, rejected_path, rejected_file, doses.columns)
        value_sets = value_sets or ValueSets.default()
        seen: set[tuple[str, str] | str] = set()
        rows = iter(doses)
        while block := list(islice(rows, BLOCK)):
            accepted = []
            for row in block:
                try:
                    accepted.append(_accept(row, issuer.country, secret, value_sets, seen))
                except _Refused as refused:
                    write_rejected(row, refused.violations)
            signed += _sign_block(accepted, issuer, write_signed, write_rejected)
            done += len(block)
            if progress:
                progress(done)
    return TableReport(
        done, signed, done - signed, time.perf_counter() - started, signed_path, rejected_path
    )


def _accept(
    row: Row,
    country: str,
    secret: bytes,
    value_sets: ValueSets,
    seen: set[tuple[str, str] | str],
) -> _Accepted:
    """The row as a record with its identity; raises _Refused.

    ``seen`` holds the identities and the UVCIs of the rows accepted before.
    """
    if row.fault:
        raise _Refused(row.fault)
    values = row.values
    identity = (str(values.get("facility_id") or ""), str(values.get("record_id") or ""))
    violations = []
    if not identity[1]:
        violations.append(Violation("record_id", "nothing", "the row's number in its facility"))
    elif identity in seen:
        violations.append(
            Violation("record_id", "one that an earlier row has", "each once in a facility")
        )
    try:
        record = record_from_row(values, value_sets)
        key = _person_key(values, identity, secret)
    except RecordError as error:
        raise _Refused(*violations, *error.violations) from None
    except InputError as error:
        raise _Refused(*violations, Violation("personal_id", "another form", str(error))) from None
    if violations:
        raise _Refused(*violations)
    uvci = derive_uvci(secret, country, key, record.product, record.vaccination_date)
    if uvci in seen:
        raise _Refused(
            Violation("row", "a dose that an earlier row has", "each dose of a person once")
        )
    seen |= {identity, uvci}
    return _Accepted(row, record, key, uvci)


def _person_key(values: dict[str, Any], identity: tuple[str, str], secret: bytes) -> bytes:
    number = "".join(str(values.get("personal_id") or "").split()).upper()
    if not number:
        return row_key(secret, *identity)
    kind = str(values.get("id_kind") or "").strip().lower()
    if not kind:
        by_length = {12: "cccd", 9: "cmnd"} if number.isdigit() else {}
        kind = by_length.get(len(number), "passport")
    return person_key(secret, kind, number)


def _sign_block(
    accepted: list[_Accepted],
    issuer: Issuer,
    write_signed: Callable[[dict[str, list[Any]]], None],
    write_rejected: Callable[[Row, tuple[Violation, ...]], None],
) -> int:
    """Sign one block and write it; returns how many were signed."""
    if not accepted:
        return 0
    issued = issuer.issue_columns(
        Columns.from_records([a.record for a in accepted], [a.uvci for a in accepted])
    )
    for number, violation in issued.refused.items():
        write_rejected(accepted[number].row, (violation,))
    good = [(a, text) for a, text in zip(accepted, issued.texts, strict=True) if text is not None]
    n = len(good)
    columns: dict[str, list[Any]] = {
        name: [a.row.values.get(name) for a, _ in good]
        for name in ("facility_id", "record_id", "province_code")
    }
    write_signed(
        {name: [None if v is None else str(v) for v in column] for name, column in columns.items()}
        | {
            "uvci": [a.uvci for a, _ in good],
            "person_key": [a.person_key for a, _ in good],
            "hc1": [text for _, text in good],
            "kid": [issuer.dsc.kid] * n,
            "issued_at": [issued.issued_at_s] * n,
            "expires_at": [issued.expires_at_s] * n,
        }
    )
    return n


def _open_signed(
    writers: ExitStack, path: Path, temporary: Path
) -> Callable[[dict[str, list[Any]]], None]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("signing tables", "batch") from error
    types = {
        "facility_id": pa.string(),
        "record_id": pa.string(),
        "province_code": pa.string(),
        "uvci": pa.string(),
        "person_key": pa.binary(32),
        "hc1": pa.string(),
        "kid": pa.binary(8),
        "issued_at": pa.int64(),
        "expires_at": pa.int64(),
    }
    schema = pa.schema(list(types.items()))
    writers.enter_context(_blaming(path))
    # Signed texts are as random as their signatures; compressing them costs time and saves little.
    writer = writers.enter_context(parquet.ParquetWriter(temporary, schema, compression="none"))

    def write(columns: dict[str, list[Any]]) -> None:
        with _blaming(path):
            writer.write_table(pa.table(columns, schema=schema))

    return write


def _open_rejected(
    writers: ExitStack, path: Path, temporary: Path, columns: list[str]
) -> Callable[[Row, tuple[Violation, ...]], None]:
    writers.enter_context(_blaming(path))
    # A byte that was no UTF-8 goes out as it came in.
    file = writers.enter_context(
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    )
    writer = csv.writer(file)
    # Rejects that were mended come back as a table: their row numbers and reasons are replaced.
    columns = [name for name in columns if name not in ("row", "reasons", "rest")]
    writer.writerow(["row", "reasons", *map(_writable, columns), "rest"])

    def write(row: Row, violations: tuple[Violation, ...]) -> None:
        values = [row.values.get(name) for name in columns]
        line = ["; ".join(map(str, violations)), *values, row.rest]
        with _blaming(path):
            writer.writerow([row.number, *map(_writable, line)])

    return write


def _writable(value: object) -> str:
    """A value as text that can be written: a lone surrogate of JSON's becomes its escape."""
    text = "" if value is None else str(value)
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Names the file that could not be written."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def read_signed(path: str | PathLike[str]) -> Iterator[list[str]]:
    """The "HC1:" texts of a signed.parquet, a block at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(Path(path)) as file:
        for batch in file.iter_batches(batch_size=BLOCK, columns=["hc1"]):
            yield [str(text) for text in batch.column(0).to_pylist()]
