r"""Hostile text into values: JSON, base64 and certificates, each read strictly and within bounds.

JSON (RFC 8259) is read from UTF-8; an object that names a key twice is refused, because two readers
could take two values; so are NaN and Infinity, which JSON does not have. Base64 (RFC 4648) is read
in its one canonical form: no line breaks, no missing padding, no bits that count for nothing.

>>> parse_json(b'{"kid": "a", "kid": "b"}', "the list")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the list names the key 'kid' twice in one object, ...
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NoReturn

from vaxpass_sign.errors import CertificateError, InputError, TrustError, TrustFault
from vaxpass_sign.x509 import Certificate

__all__ = [
    "CLOCK_SKEW",
    "MAX_ENTRIES",
    "MAX_LIST_BYTES",
    "as_list",
    "as_object",
    "as_text",
    "check_moment",
    "check_not_ahead",
    "check_size",
    "decode_base64",
    "decode_base64url",
    "is_kid_of",
    "parse_json",
    "read_der",
    "shown",
]

MAX_LIST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of the largest list that is read; WHO's whole list took 1.5 MB in August 2026."""

MAX_ENTRIES: Final = 10_000
"""Entries of a list; WHO's whole list had 501 in August 2026."""

_MAX_CONTAINERS = 20 * MAX_ENTRIES
_MAX_COMMAS = 100 * MAX_ENTRIES
# Counted before parsing, because what Python makes of "[[],[],…" takes 20 times its bytes.

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far a list may seem to be from the future."""

_AGAIN = "get the list again from its publisher"


def check_moment(at: datetime) -> None:
    """Raises: InputError when ``at`` has no UTC offset."""
    if at.tzinfo is None or at.utcoffset() is None:
        raise InputError("the moment has no UTC offset, expected one, such as +07:00: add it")


def check_not_ahead(issued_at: datetime, at: datetime, what: str) -> None:
    """Raises: TrustError when a list was issued later than ``at``, by more than CLOCK_SKEW."""
    if issued_at - at > CLOCK_SKEW:
        raise TrustError(
            f"{what} was issued {issued_at:%Y-%m-%dT%H:%M:%SZ}, expected no later than the moment "
            f"of checking, {at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}: set this machine's clock",
            TrustFault.NOT_YET,
        )


def check_size(data: bytes, what: str, max_bytes: int = MAX_LIST_BYTES) -> None:
    """Raises: TrustError when ``data`` is empty or longer than ``max_bytes``."""
    if not data or len(data) > max_bytes:
        found = "nothing" if not data else f"{len(data)} bytes"
        raise TrustError(f"{what}: found {found}, expected 1 to {max_bytes} bytes: {_AGAIN}")


def parse_json(data: bytes, what: str, max_bytes: int = MAX_LIST_BYTES) -> Any:
    """The value of a JSON text.

    Raises: TrustError when it is too large, no UTF-8, no JSON, nested too deeply, has too many
    parts, or an object names a key twice.
    """
    check_size(data, what, max_bytes)
    containers, commas = data.count(b"{") + data.count(b"["), data.count(b",")
    if containers > _MAX_CONTAINERS or commas > _MAX_COMMAS:
        raise TrustError(
            f"{what} has {containers} objects and arrays and {commas} commas, expected at most "
            f"{_MAX_CONTAINERS} and {_MAX_COMMAS}: {_AGAIN}"
        )

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(found)
        if len(value) != len(found):
            counts = Counter(name for name, _ in found)
            twice = next(name for name, count in counts.items() if count > 1)
            raise TrustError(
                f"{what} names the key {shown(twice)} twice in one object, expected once: {_AGAIN}"
            )
        return value

    def constant(name: str) -> NoReturn:
        raise ValueError(name)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except RecursionError:
        raise TrustError(
            f"{what} is nested too deeply, expected a dozen levels at most: {_AGAIN}"
        ) from None
    # UnicodeDecodeError and JSONDecodeError are ValueErrors; so is an integer of too many digits.
    except ValueError as error:
        raise TrustError(f"{what} is not JSON in UTF-8, or was cut off: {_AGAIN}") from error


def as_object(value: Any, what: str) -> dict[str, Any]:
    """``value`` when it is a JSON object. Raises: TrustError."""
    if not isinstance(value, dict):
        raise TrustError(f"{what} is {_kind(value)}, expected an object: {_AGAIN}")
    return value


def as_list(value: Any, what: str) -> list[Any]:
    """``value`` when it is an array of at most MAX_ENTRIES. Raises: TrustError."""
    if not isinstance(value, list):
        raise TrustError(f"{what} is {_kind(value)}, expected an array: {_AGAIN}")
    if len(value) > MAX_ENTRIES:
        raise TrustError(
            f"{what} has {len(value)} entries, expected at most {MAX_ENTRIES}: {_AGAIN}"
        )
    return value


def as_text(value: Any, what: str) -> str:
    """``value`` when it is a string. Raises: TrustError."""
    if not isinstance(value, str):
        raise TrustError(f"{what} is {_kind(value)}, expected a string: {_AGAIN}")
    return value


def decode_base64(text: Any, what: str) -> bytes:
    """The bytes of canonical base64 with padding (RFC 4648 §4). Raises: TrustError."""
    try:
        data = base64.b64decode(as_text(text, what).encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise _not_base64(what) from error
    if base64.b64encode(data).decode() != text:  # bits that count for nothing
        raise _not_base64(what)
    return data


def decode_base64url(text: Any, what: str) -> bytes:
    """The bytes of canonical base64url without padding (RFC 7515 §2). Raises: TrustError."""
    found = as_text(text, what)
    try:
        padded = found.encode("ascii") + b"=" * (-len(found) % 4)
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise _not_base64(what) from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != found:
        raise _not_base64(what)
    return data


def read_der(text: Any) -> Certificate | None:
    """The certificate of a base64 string of DER, or None when it is none that can be read.

    Lists hold certificates of all sorts, and one bad entry must not cost the others.
    """
    try:
        der = decode_base64(text, "a certificate")
        certificate = Certificate.from_bytes(der)
    except (TrustError, CertificateError):
        return None
    # Certificate.from_bytes takes PEM as well, which no list holds, and what stands around it.
    return certificate if certificate.der == der else None


def is_kid_of(text: Any, certificate: Certificate) -> bool:
    """Whether a kid in base64, of either alphabet and with or without padding, is this one's."""
    if not isinstance(text, str):
        return False
    own = base64.b64encode(certificate.kid).decode().rstrip("=")
    return text.rstrip("=").replace("-", "+").replace("_", "/") == own


def shown(value: object) -> str:
    """At most 60 characters of something hostile, safe to print in one line."""
    if isinstance(value, dict | list):
        try:
            text = ascii(value)
        except RecursionError:  # It was parsed a few frames further out.
            text = _kind(value)
    else:
        text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "true or false"}
    return "missing or null" if value is None else kinds.get(type(value), "a number")


def _not_base64(what: str) -> TrustError:
    return TrustError(f"{what} is not canonical base64: {_AGAIN}")
