"""The EU gateway's revocation batches (DGCG): a small JSON object, written and read strictly.

::

    {"country": "VN", "expires": "2027-01-31T00:00:00Z", "kid": "base64 of 8 bytes, or UNKNOWN_KID",
     "hashType": "UCI", "entries": [{"hash": "base64 of 16 bytes"}, …]}

Read: these five names and no others, none twice; 1 to 1000 entries; base64 in its one right form;
hashes of exactly 16 bytes; a time with an offset. A batch that breaks a rule is refused as a whole,
with a TrustError: half a batch would be believed to be all of it. Batches come signed (CMS);
:func:`read_signed_batch` reads the content only after a pinned certificate of the batch's own
country has signed it.

>>> moment = datetime(2027, 1, 31, tzinfo=UTC)
>>> batch = Batch(Scope(HashType.UCI, "VN"), moment, (bytes(16),))
>>> batch.to_json().decode()[:62]
'{"country":"VN","expires":"2027-01-31T00:00:00Z","kid":"UNKNOW'
>>> read_batch(batch.to_json(), at=datetime(2026, 1, 1, tzinfo=UTC)) == batch
True
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from vaxpass_sign.check.cms import verify_cms_signer
from vaxpass_sign.check.revocation.hashes import HASH_BYTES, KID_BYTES, HashType, Scope
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.x509 import Certificate

__all__ = ["MAX_BATCH_BYTES", "MAX_BATCH_ENTRIES", "Batch", "read_batch", "read_signed_batch"]

MAX_BATCH_ENTRIES: Final = 1000
"""Entries of a batch at most (DGCG)."""

MAX_BATCH_BYTES: Final = 256 * 1024
"""Bytes of a batch at most; 1000 entries take some 40 KB, generously spaced 60."""

_UNKNOWN_KID: Final = "UNKNOWN_KID"
_NAMES: Final = ("country", "expires", "kid", "hashType", "entries")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch; valid once built.

    ``expires_at``: an aware datetime of whole seconds, kept in UTC. ``entries``: 1 to 1000 hashes
    of 16 bytes.

    Raises: InputError when a part has another form.
    """

    scope: Scope
    expires_at: datetime
    entries: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.entries) <= MAX_BATCH_ENTRIES:
            raise InputError(
                f"entries: found {len(self.entries)}, expected 1 to {MAX_BATCH_ENTRIES}; split them"
            )
        if set(map(len, self.entries)) != {HASH_BYTES}:
            raise InputError(
                f"entries: found a hash of another length, expected {HASH_BYTES} bytes"
            )
        if self.expires_at.utcoffset() is None:
            raise InputError(
                "expires: found a datetime without a UTC offset, expected an aware one"
            )
        try:
            moment = self.expires_at.astimezone(UTC).replace(microsecond=0)
        except OverflowError:
            raise InputError("expires: found a moment outside the years 1 to 9999") from None
        object.__setattr__(self, "expires_at", moment)

    def to_json(self) -> bytes:
        """The batch as it is signed: the same bytes for the same batch."""
        kid = self.scope.kid
        return json.dumps(
            {
                "country": self.scope.country,
                "expires": self.expires_at.isoformat().replace("+00:00", "Z"),
                "kid": _UNKNOWN_KID if kid is None else base64.b64encode(kid).decode(),
                "hashType": self.scope.hash_type.value,
                "entries": [{"hash": base64.b64encode(entry).decode()} for entry in self.entries],
            },
            separators=(",", ":"),
        ).encode()


def read_signed_batch(
    data: bytes, anchors: Iterable[Certificate], *, at: datetime | None = None
) -> Batch:
    """A batch in a CMS message, signed by one of the pinned certificates, of its own country.

    ``at``: the moment for which its expiry is judged, an aware datetime; now when left out.

    Raises: TrustError when nobody pinned has signed it, the signer is another country's, or it is
    not to be read; InputError for an ``at`` without an offset.
    """
    content, signer = verify_cms_signer(data, anchors)
    batch = read_batch(content, at=at)
    if signer.country != batch.scope.country:
        raise TrustError(
            f"batch: found one for {batch.scope.country} signed by {signer.subject}, expected its "
            "own country's signature: do not use it"
        )
    return batch


def read_batch(data: bytes, *, at: datetime | None = None) -> Batch:
    """A batch from its JSON, whose signature the caller has checked.

    ``at``: the moment for which its expiry is judged, an aware datetime; now when left out.

    Raises: TrustError when it has expired or breaks a rule; InputError for an ``at`` without an
    offset.
    """
    at = at or datetime.now(UTC)
    if at.utcoffset() is None:
        raise InputError("at: found a datetime without a UTC offset, expected an aware one")
    if len(data) > MAX_BATCH_BYTES:
        raise _refused(f"{len(data)} bytes", f"at most {MAX_BATCH_BYTES}")
    parts = _parse(data)
    country, kid = parts["country"], parts["kid"]
    if not isinstance(country, str):
        raise _refused("a country that is no text", "two capital letters")
    try:
        scope = Scope(
            _hash_type(parts["hashType"]),
            country,
            None if kid == _UNKNOWN_KID else _base64(kid, KID_BYTES, "kid"),
        )
        batch = Batch(scope, _time(parts["expires"]), _entries(parts["entries"]))
    except InputError as error:
        raise TrustError(f"batch: {error}; refuse it and ask its country") from error
    if batch.expires_at <= at:
        raise TrustError(
            f"batch: expired at {batch.expires_at.isoformat()}, read for {at.isoformat()}; "
            "leave it out, or get the newer one"
        )
    return batch


def _parse(data: bytes) -> dict[str, Any]:
    try:
        parts = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_no_constant,
            parse_int=_no_constant,
        )
    # RecursionError: brackets within brackets, thousands deep.
    except (ValueError, RecursionError) as error:
        raise _refused("something that is no JSON object with each name once", "one") from error
    if not isinstance(parts, dict) or set(parts) != set(_NAMES):
        raise _refused("other names", f"exactly {', '.join(_NAMES)}")
    return parts


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name that stands twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError("a number; a batch has none")


def _hash_type(value: Any) -> HashType:
    try:
        return HashType(value)
    except ValueError as error:
        raise _refused("another hashType", ", ".join(HashType)) from error


def _time(value: Any) -> datetime:
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise _refused("an expires that is no point in time", "RFC 3339 with an offset")


def _entries(value: Any) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_BATCH_ENTRIES:
        found = len(value) if isinstance(value, list) else "no list of"
        raise _refused(f"{found} entries", f"1 to {MAX_BATCH_ENTRIES}")
    if any(not isinstance(entry, dict) or set(entry) != {"hash"} for entry in value):
        raise _refused("an entry of another form", 'objects with "hash" alone')
    return tuple(_base64(entry["hash"], HASH_BYTES, "hash") for entry in value)


def _base64(value: Any, length: int, name: str) -> bytes:
    """The bytes of a base64 text (RFC 4648 §4), padded, of exactly this length.

    Encoded again it must give the same text: the last character has bits that decoders pass over,
    and a hash must not be written in several ways.
    """
    try:
        if not isinstance(value, str):
            raise ValueError
        data = base64.b64decode(value.encode("ascii"), validate=True)
        if len(data) != length or base64.b64encode(data).decode() != value:
            raise ValueError
    except (ValueError, binascii.Error) as error:
        raise _refused(f"a {name} of another form", f"base64 of {length} bytes") from error
    return data


def _refused(found: str, expected: str) -> TrustError:
    return TrustError(f"batch: found {found}, expected {expected}; refuse it and ask its country")
