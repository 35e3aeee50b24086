"""What an audit does to one signed part, in a worker process or not.

The part's bytes are compared with the ledger's hash; each text is verified by
:mod:`vaxpass_sign.check` as of the moment at which it was issued, against the DSC that the ledger
has for the part's profile; and what it says is compared with the clean row that it was made from,
field by field. Nothing of the signer's code is used.

A finding names a file and a row, and never what stands there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from vaxpass_sign.campaign.audit.findings import Finding
from vaxpass_sign.campaign.ranges import count_rows, row_numbers
from vaxpass_sign.campaign.state import SignedPart
from vaxpass_sign.campaign.tables import CommittedTable, signed_schema
from vaxpass_sign.check.many import BatchVerifier
from vaxpass_sign.check.plain import CODED, PERSONAL, Plain
from vaxpass_sign.check.trust import TrustStore
from vaxpass_sign.errors import LedgerError
from vaxpass_sign.hcert.claims import (
    CLAIM_EXP,
    CLAIM_HCERT,
    CLAIM_IAT,
    CLAIM_ISS,
    SCHEMA_VERSION,
    SUBCLAIM_EU_DCC,
)
from vaxpass_sign.hcert.columns import BLOCK
from vaxpass_sign.workers import collector_paused
from vaxpass_sign.x509 import Certificate

__all__ = ["AuditTask", "AuditedPart", "audit_part", "start_auditor"]

_CARRIED: Final = ("uvci", "person_key", "row_sha256", "facility_id", "province_code")
_COLUMN_OF: Final = {
    "ci": "uvci", "dob": "birth_date", "fn": "surname", "gn": "given_name", "fnt": "fnt",
    "gnt": "gnt", "tg": "tg", "vp": "vp", "mp": "mp", "ma": "ma", "dn": "dn", "sd": "sd",
    "dt": "dt", "co": "co", "is": "is",
}  # fmt: skip
"""A credential's field → the clean table's column."""
_READ: Final = tuple(dict.fromkeys((*_COLUMN_OF.values(), *_CARRIED)))
_SHOWN_AT_MOST: Final = 20


@dataclass(frozen=True, slots=True)
class AuditTask:
    """One signed part, the clean part that it was made from, and the profile it names."""

    part: SignedPart
    signed: Path
    clean: Path
    clean_sha256: str
    profile: Mapping[str, Any]
    dsc: bytes


@dataclass(frozen=True, slots=True)
class AuditedPart:
    """What was found: ``verified`` credentials are valid and say what their clean row says."""

    name: str
    verified: int
    findings: tuple[Finding, ...]


_tables: dict[tuple[Path, str], CommittedTable] = {}


def start_auditor() -> None:
    """The pool's initializer: an auditor needs nothing."""


def audit_part(task: AuditTask) -> AuditedPart:
    """Audit one signed part."""
    name = task.part.name
    try:
        signed = CommittedTable(task.signed, task.part.sha256)
        clean = _clean(task)
    except LedgerError as error:
        # The two files' findings are told apart by the message, which begins with the path.
        return AuditedPart(name, 0, (Finding("file", name, str(error)),))
    if signed.schema != signed_schema():
        return AuditedPart(name, 0, (Finding("file", name, "its columns are not a signed part's"),))
    expected = count_rows(task.part.ranges) - len(task.part.refused_rows)
    if signed.rows != expected or task.part.rows != expected:
        what = f"found {signed.rows} credentials, expected {expected} by its ledger row"
        return AuditedPart(name, 0, (Finding("count", name, what),))
    if any(not 0 <= start < stop <= clean.rows for start, stop in task.part.ranges):
        what = f"names rows that {task.part.clean} does not have"
        return AuditedPart(name, 0, (Finding("plan", name, what),))
    with collector_paused():
        return _audit_rows(task, signed, clean)


def _clean(task: AuditTask) -> CommittedTable:
    key = task.clean, task.clean_sha256
    if key not in _tables:
        _tables.clear()
        _tables[key] = CommittedTable(task.clean, task.clean_sha256)
    return _tables[key]


def _audit_rows(task: AuditTask, signed: CommittedTable, clean: CommittedTable) -> AuditedPart:
    part = task.part
    trust = TrustStore([Certificate.from_bytes(task.dsc)])
    # A credential is judged for the moment of its issue; whether it has expired since is no fault.
    verifier = BatchVerifier(trust, datetime.fromtimestamp(part.issued_at, UTC))
    constants = {
        "generation": part.generation,
        "kid": bytes.fromhex(task.profile["kid"]),
        "issued_at": part.issued_at,
        "expires_at": part.expires_at,
        "profile": part.profile,
    }
    registered = {
        CLAIM_ISS: task.profile["country"],
        CLAIM_EXP: part.expires_at,
        CLAIM_IAT: part.issued_at,
    }
    refused = set(part.refused_rows)
    numbers = (row for row in row_numbers(part.ranges) if row not in refused)
    verified, findings = 0, []
    rows = _without(clean.read(part.ranges, _READ, BLOCK), part)
    for ours, theirs in _side_by_side(signed, rows):
        places = list(islice(numbers, len(ours)))
        bad = dict(_different_columns(ours, theirs, constants))
        found = verifier.read(ours["hc1"].to_pylist())
        for row, (read, expected) in enumerate(zip(found, _said(theirs, task), strict=True)):
            if isinstance(read, Plain):
                says = read.registered == registered and expected == (
                    read.values, read.codes.values, read.dt
                )  # fmt: skip
            elif read.valid and read.hcert:
                says = read.hcert.claims == _claims(registered, *expected)
            else:
                bad.setdefault(row, f"its credential is not valid ({read.reason})")
                continue
            if not says:
                bad.setdefault(row, "its credential says something else than its clean row")
        verified += len(ours) - len(bad)
        findings += [
            Finding("credential", f"{part.name} (row {places[row]} of {part.clean})", what)
            for row, what in sorted(bad.items())
        ]
    more = len(findings) - _SHOWN_AT_MOST
    if more > 0:
        findings = findings[:_SHOWN_AT_MOST]
        findings.append(Finding("credential", part.name, f"and {more} more of its credentials"))
    return AuditedPart(part.name, verified, tuple(findings))


def _without(tables: Iterator[Any], part: SignedPart) -> Iterator[Any]:
    """The clean rows of a part without the refused ones."""
    refused = set(part.refused_rows)
    if not refused:
        yield from tables
        return
    import pyarrow as pa

    numbers = row_numbers(part.ranges)
    for table in tables:
        kept = [n for n, row in enumerate(islice(numbers, len(table))) if row not in refused]
        yield table.take(pa.array(kept, pa.int64()))


def _side_by_side(signed: CommittedTable, clean: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """Blocks of the signed part and of its clean rows, of the same lengths."""
    start = 0
    for theirs in clean:
        stop = start + len(theirs)
        if stop > start:
            yield signed.read_one(start, stop, signed_schema().names), theirs
        start = stop


def _different_columns(
    ours: Any, theirs: Any, constants: Mapping[str, Any]
) -> Iterator[tuple[int, str]]:
    """Rows whose columns beside the credential are not the clean row's or the ledger's."""
    import pyarrow as pa

    expected = {name: theirs[name] for name in _CARRIED}
    types = signed_schema()
    for name, constant in constants.items():
        value = pa.scalar(constant, types.field(name).type)
        expected[name] = pa.chunked_array([pa.repeat(value, len(ours))])
    for name, column in expected.items():
        if not ours[name].equals(column):
            for row, (found, wanted) in enumerate(zip(ours[name], column, strict=True)):
                if found != wanted:
                    yield row, f"its column {name} differs from its clean row or ledger row"


_Said = tuple[tuple[Any, ...], tuple[Any, ...], Any]
"""What a credential says: its values of PERSONAL, those of CODED, its dt."""


def _said(clean: Any, task: AuditTask) -> Iterator[_Said]:
    """What each clean row must have led to (DCC schema 1.3.0)."""
    country, issuer = task.profile["country"], task.profile["name"]
    of = {field: clean[column].to_pylist() for field, column in _COLUMN_OF.items()}
    of["co"] = [co or country for co in of["co"]]
    of["is"] = [name or issuer for name in of["is"]]
    of["ver"] = [SCHEMA_VERSION] * len(clean)
    personal = zip(*(of[field] for field in PERSONAL), strict=True)
    codes = zip(*(of[field] for field in CODED), strict=True)
    return zip(personal, codes, of["dt"], strict=True)


def _claims(
    registered: Mapping[int, Any], personal: tuple[Any, ...], codes: tuple[Any, ...], dt: Any
) -> dict[int, Any]:
    """The claims that say so, and no others."""
    ci, dob, ver, fn, gn, fnt, gnt = personal
    name = {"fn": fn, "fnt": fnt}
    if gn or gnt:
        name |= {"gn": gn, "gnt": gnt}
    entry = {"ci": ci, "dt": dt, **dict(zip(CODED, codes, strict=True))}
    dcc = {"v": [entry], "dob": dob, "nam": name, "ver": ver}
    return {**registered, CLAIM_HCERT: {SUBCLAIM_EU_DCC: dcc}}
