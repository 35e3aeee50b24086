"""From credentials to the batches that the EU gateway takes.

Published of each credential: its UCI, which covers every generation of it, or its SIGNATURE, which
is one signed message alone; for ES256 that is r, so that (r, n-s) is caught too
(:mod:`vaxpass_sign.check.revocation.hashes`). The hash of a whole ES256 signature is only for
readers that know nothing else.

>>> from vaxpass_sign.check.revocation import HashType
>>> scope = Scope(HashType.UCI, "VN")
>>> hashes = [bytes([n // 256, n % 256]) * 8 for n in range(1500)]
>>> end = datetime(2030, 1, 1, tzinfo=UTC)
>>> batches = make_batches([(scope, reversed(hashes))], expires_at=end)
>>> [len(batch.entries) for batch in batches], batches[0].entries[0] == hashes[0]
([1000, 500], True)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from vaxpass_sign.check.revocation.batch import MAX_BATCH_ENTRIES, Batch
from vaxpass_sign.check.revocation.hashes import HashType, Scope, hash_whole_signature, hashes_of
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.codec import Hcert

__all__ = ["make_batches", "published_hashes"]


def make_batches(
    entries: Iterable[tuple[Scope, Iterable[bytes]]],
    *,
    expires_at: datetime,
    now: datetime | None = None,
) -> list[Batch]:
    """Split hashes into batches of at most 1000.

    The same hashes in any order, and however often each, give the same batches: scopes ascend
    (country, kid, hash type; UNKNOWN_KID first), and entries within a scope.

    ``expires_at``: when the last of the credentials has expired; an aware datetime.
    Raises: InputError when that is past, or a hash or time has another form.
    """
    if expires_at.utcoffset() is None:
        raise InputError("expires_at: found a datetime without a UTC offset, expected an aware one")
    if expires_at <= (now or datetime.now(UTC)):
        raise InputError(
            "expires_at: found a moment that is past, expected when the last credential expires"
        )
    found: dict[Scope, set[bytes]] = {}
    for scope, hashes in entries:
        found.setdefault(scope, set()).update(hashes)
    batches = []
    for scope in sorted(found, key=lambda s: (s.country, s.kid or b"", s.hash_type)):
        ordered = sorted(found[scope])
        for start in range(0, len(ordered), MAX_BATCH_ENTRIES):
            some = tuple(ordered[start : start + MAX_BATCH_ENTRIES])
            batches.append(Batch(scope, expires_at, some))
    return batches


def published_hashes(
    hcert: Hcert,
    country: str,
    hash_types: Sequence[HashType] = (HashType.UCI, HashType.SIGNATURE),
    *,
    any_kid: bool = False,
    whole_signature: bool = False,
) -> Iterator[tuple[Scope, list[bytes]]]:
    """What to publish of a credential that is to be revoked, for :func:`make_batches`.

    ``country``: the issuer's, whose batch it will be. ``any_kid``: publish for UNKNOWN_KID, so that
    a renewal under another DSC is revoked as well; else for the credential's own kid.
    ``whole_signature``: the hash of the whole ES256 signature beside that of r.
    Raises: InputError when it has no kid of 8 bytes, no ``ci``, or the country isn't one.
    """
    if hcert.kid is None and not any_kid:
        raise InputError("credential: found no kid, expected one of 8 bytes; publish for any kid")
    for hash_type in hash_types:
        hashes = hashes_of(hcert, hash_type)
        if hash_type is HashType.SIGNATURE and not whole_signature:
            hashes = hashes[:1]
        elif hash_type is HashType.SIGNATURE:
            hashes = [hashes[0], hash_whole_signature(hcert.sign1.signature)]
        if not hashes:
            raise InputError(
                f"credential: found no ci, expected one for {hash_type}; publish its SIGNATURE"
            )
        yield Scope(hash_type, country, None if any_kid else hcert.kid), hashes
