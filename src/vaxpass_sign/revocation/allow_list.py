"""What a campaign honestly signed under a kid: the entries of its allow-list.

Only what the ledger commits is read: the ledger's chain must hold, each signed part must have the
hash that the ledger has for it and as many rows, and every credential must be readable and have the
kid that its row says. Anything else is a LedgerError, and no list is made: a list that lacks a part
would make honest credentials invalid, and one from a changed part could let a forged one in.

The chain shows edits, not a ledger that was written anew by somebody who knows how. Give the head
that the last run printed, and such a one is refused too.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Final

from vaxpass_sign.campaign.layout import Layout
from vaxpass_sign.campaign.ledger import read_rows, walk_chain
from vaxpass_sign.campaign.state import SignedPart, State
from vaxpass_sign.campaign.tables import CommittedTable, signed_schema
from vaxpass_sign.check.revocation.hashes import KID_BYTES, hash_allowed
from vaxpass_sign.errors import CampaignError, HcertError, InputError, LedgerError
from vaxpass_sign.hcert import cose, framing

__all__ = ["allow_list_entries", "last_expiry"]

_AT_ONCE: Final = 10_000


def allow_list_entries(
    directory: str | PathLike[str], kid: bytes, *, head: str | None = None
) -> Iterator[bytes]:
    """SHA-256(Sig_structure ‖ signature), 32 bytes, of each credential that a campaign signed.

    For :func:`vaxpass_sign.check.revocation.write_allow_list`, which sorts them and writes nothing
    when this raises half-way. Nobody may sign or clean meanwhile: the campaign is locked for as
    long as the iterator is open. Staged work that was never committed is no part of it.

    Args:
        directory: the campaign's.
        kid: 8 bytes, that of the DSC whose key was stolen.
        head: the ledger's hash that was noted after a run, hexadecimal; it must be in the ledger.
    Raises (with the first entry): LedgerError when the ledger or a signed part is not sound;
        CampaignError when there is no campaign or it is in use; InputError for a kid of another
        length, or one under which nothing was signed.
    """
    if len(kid) != KID_BYTES:
        raise InputError(f"kid: found {len(kid)} bytes, expected {KID_BYTES}; give the DSC's")
    layout, found = Layout(Path(directory)), 0
    with layout.locked(alone=True):
        for part in _sound_parts(layout, head):
            for entry in _entries(layout, part, kid):
                found += 1
                yield entry
    if not found:
        raise InputError(
            f"{layout.root}: found nothing signed under kid {kid.hex()}, expected at least one "
            "credential; give the kid of a DSC that this campaign used"
        )


def last_expiry(directory: str | PathLike[str]) -> datetime:
    """When the last credential of a campaign expires; after that its list is of no use.

    Raises: CampaignError when there is no campaign; InputError when nothing was signed.
    """
    layout = Layout(Path(directory))
    try:
        signed = State.of(read_rows(layout.ledger)).signed.values()
        return datetime.fromtimestamp(max(part.expires_at for part in signed), UTC)
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(
            f"{layout.root}: found nothing signed that expires, expected at least one credential"
        ) from error


def _sound_parts(layout: Layout, head: str | None) -> list[SignedPart]:
    """The signed parts by a ledger whose chain holds."""
    rows = read_rows(layout.ledger)
    fault = next(walk_chain(rows), None)
    if fault:
        raise LedgerError(
            f"{layout.ledger}: {fault}; no allow-list is made of a ledger that was changed: run "
            "audit, then restore the ledger from its last backup"
        )
    if head is not None and all(row.hash.hex() != head for row in rows):
        raise LedgerError(
            f"{layout.ledger}: no row has the hash {head[:16]}… that was noted, expected it: this "
            "is an older copy or another history; restore the newest ledger"
        )
    try:
        return list(State.of(rows).signed.values())
    except CampaignError as error:
        raise LedgerError(f"{layout.ledger}: {error}") from error


def _entries(layout: Layout, part: SignedPart, kid: bytes) -> Iterator[bytes]:
    path = layout.of(part.name)
    if not path.exists():
        raise LedgerError(
            f"{path} is missing, and the ledger commits it: run sign again, which moves a part "
            "that a stop left in staging, or restore it from its backup"
        )
    table = CommittedTable(path, part.sha256)
    if table.schema != signed_schema() or table.rows != part.rows:
        raise LedgerError(
            f"{path}: found {table.rows} rows or other columns, expected the {part.rows} "
            "credentials of its ledger row; run audit"
        )
    for start in range(0, table.rows, _AT_ONCE):
        rows = table.read_one(start, min(start + _AT_ONCE, table.rows), ["hc1", "kid"])
        columns = (rows["hc1"].to_pylist(), rows["kid"].to_pylist())
        for number, (text, row_kid) in enumerate(zip(*columns, strict=True), start):
            sign1 = _decoded(text, path, number)
            if sign1.kid != row_kid:
                raise LedgerError(
                    f"{path}, row {number}: found a credential with another kid than its row says; "
                    "run audit, which names what is wrong"
                )
            if row_kid == kid:
                yield hash_allowed(sign1)


def _decoded(text: str, path: Path, number: int) -> cose.Sign1:
    try:
        return cose.parse(framing.unframe(text))
    except HcertError as error:
        raise LedgerError(
            f"{path}, row {number}: found no readable credential ({error.code}), expected one; "
            "run audit, which names what is wrong"
        ) from error
