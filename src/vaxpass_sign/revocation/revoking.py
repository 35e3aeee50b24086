"""What is entered into a register to revoke a credential, or a UVCI whose credential is not there.

Nothing of the credential is verified here: whoever revokes it has to know that it is the issuer's
own. Its country must be the register's, since no reader believes another one.

>>> entry, = entries_of_uvci("URN:UVCI:01:VN:1", "VN", [HashType.UCI], expires_s=2_000_000_000)
>>> entry.hash.hex()[:8], entry.kid
('f1642c66', None)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from vaxpass_sign.check.policy import MAX_CLOCK_SKEW
from vaxpass_sign.check.revocation.hashes import HashType, hash_country_uci, hash_uci
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.record.uvci import MAX_UVCI, check_uvci
from vaxpass_sign.revocation.batches import published_hashes
from vaxpass_sign.revocation.register import Entry

__all__ = ["USUAL", "entries_of", "entries_of_uvci", "seconds_of"]

USUAL: Final = (HashType.UCI, HashType.SIGNATURE)
"""By what a credential is revoked unless said otherwise: all of its generations, and this one where
a reader knows no other type."""

_COUNTRY_INSIDE: Final = re.compile(r"(?:URN:UVCI:)?V?[0-9]{1,2}:([A-Z]{2,3}):")


def entries_of(
    hcert: Hcert,
    country: str,
    hash_types: Sequence[HashType] = USUAL,
    *,
    any_kid: bool = True,
    expires_at: datetime | None = None,
) -> Iterator[Entry]:
    """The entries that revoke a credential.

    Args:
        country: the register's.
        any_kid: for every kid, so that renewals under another DSC are revoked too; else for the
            credential's own, which its signature must cover.
        expires_at: until when at least; an aware datetime. An entry ends MAX_CLOCK_SKEW after its
            credential, and a renewal that nobody has at hand expires later.
    Raises: InputError when it is another country's, has no ``exp`` (and no ``expires_at`` is
        given), no ``ci``, or no kid of its own.
    """
    if hcert.issuer != country:
        found = "no issuing country" if hcert.issuer is None else "another country's credential"
        raise InputError(
            f"found {found}, expected one of {country}: its own country's register revokes it"
        )
    if not any_kid and not hcert.sign1.kid_protected:
        raise InputError(
            "found a kid that the signature does not cover, expected one that its holder can't "
            "change; revoke it for any kid"
        )
    # A reader's clock may be off by that, and his policy may forgive it: it is revoked until then.
    own = hcert.expires_at and hcert.expires_at + MAX_CLOCK_SKEW
    moments = [moment for moment in (own, expires_at) if moment is not None]
    if not moments:
        raise InputError("found a credential that never expires, expected a time: give --expires")
    expires_s = seconds_of(max(moments))
    for scope, hashes in published_hashes(hcert, country, hash_types, any_kid=any_kid):
        for entry in hashes:
            yield Entry(scope.hash_type, scope.kid, entry, expires_s)


def entries_of_uvci(
    uvci: str, country: str, hash_types: Sequence[HashType] = (HashType.UCI,), *, expires_s: int
) -> Iterator[Entry]:
    """The entries that revoke a UVCI, whatever the kid.

    Raises: InputError when it can't be one, its check character is wrong, it names another country,
        or its SIGNATURE is asked for.
    """
    if not 0 < len(uvci) <= MAX_UVCI or not uvci.isprintable() or " " in uvci:
        raise InputError(
            f"UVCI: found {len(uvci)} characters or blanks inside, expected at most {MAX_UVCI}, as "
            "the credential's ci has it"
        )
    named = _COUNTRY_INSIDE.match(uvci)
    if named and named[1] != country:
        raise InputError(f"UVCI: found another country's, expected one of {country}")
    # A slip revokes nobody and is never noticed. A ci that an issuer has written with a wrong check
    # character can be revoked by its credential.
    if "#" in uvci:
        check_uvci(uvci)
    for hash_type in hash_types:
        if hash_type is HashType.SIGNATURE:
            raise InputError("UVCI: SIGNATURE was asked for, expected the credential for that")
        of_uci = hash_type is HashType.UCI
        hashed = hash_uci(uvci) if of_uci else hash_country_uci(country, uvci)
        yield Entry(hash_type, None, hashed, expires_s)


def seconds_of(moment: datetime) -> int:
    """An aware datetime in UTC seconds, rounded up: nothing ends before its credential.

    Raises: InputError when it has no offset.
    """
    if moment.utcoffset() is None:
        raise InputError("expires: found a datetime without a UTC offset, expected an aware one")
    return math.ceil(moment.timestamp())
