"""Plain payloads: the form that this library writes, read in parts that recur.

A payload is plain when its bytes are, part by part, those of our own vaccinations::

    {1: iss, 4: exp, 6: iat, -260: {1: {"v": [{"ci": …,      head    the same in a whole run
    "co": …, "dn": …,                                        first   few different ones
    "dt": …,                                                 a date
    "is": …, "ma": …, "mp": …, "sd": …, "tg": …, "vp": …}],  second  few different ones
    "dob": …, "nam": {…}, "ver": …}}}                        last    a person's own

The parts that recur are decoded and judged once; only the last is decoded each time. This gives
what decoding the whole gives, because a CBOR item ends where its own bytes say (RFC 8949 §3): when
each part, on its own, is exactly so many whole pairs of a map, they are these pairs in the whole
too. What is not plain is no fault: the numbered steps alone read and judge it.

>>> read_plain(bytes.fromhex("a0")) is None
True
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from vaxpass_sign.check.codes import CODE_SETS, code_warnings
from vaxpass_sign.check.schema import NAME_CHECKS, REQUIRED, TOP_CHECKS, Check
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import cbor, claims

__all__ = ["CODED", "PERSONAL", "Codes", "Plain", "keep_schema", "keeps_schema", "read_plain"]

_ENTRY = REQUIRED["v"]
_CHECKS: dict[str, Check] = TOP_CHECKS | NAME_CHECKS | _ENTRY
_NUMBERS = frozenset({"dn", "sd"})

PERSONAL: Final = ("ci", "dob", "ver", "fn", "gn", "fnt", "gnt")
"""The fields whose values :func:`read_plain` does not judge, in its order."""

_PERSONAL_CHECKS: Final = [_CHECKS[field] for field in PERSONAL]

_FIRST = ("co", "dn")
_SECOND = ("is", "ma", "mp", "sd", "tg", "vp")
CODED: Final = _FIRST + _SECOND
"""The fields whose values recur, in the order of :attr:`Codes.values`."""

_LAST = ("dob", "nam", "ver")
_NAME = ("fn", "gn", "fnt", "gnt")
_MONONYM = ("fn", "fnt")

# What stands between the parts: keys and heads.
_HCERT_KEY = bytes.fromhex("390103")  # -260
_BEFORE_CI = _HCERT_KEY + bytes.fromhex("a101a4") + b"\x61v\x81\xaa\x62ci\x78"
_BEFORE_DATE = b"\x62dt\x6a"
_DATE_BYTES = 10
_LAST_KEY = b"\x63dob"


class Plain(NamedTuple):
    """A plain payload, in the parts that it was read by."""

    head: bytes
    """What stands before -260, so iss, exp and iat."""
    registered: dict[Any, Any]
    """These claims, by their numbers. Shared by all payloads of this head: not to be changed."""
    codes: Codes
    dt: Any
    """The date of the vaccination."""
    values: tuple[Any, ...]
    """The values of PERSONAL, all texts; "" for the gn and gnt that a mononym does not have."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of its codes."""
        return self.codes.warnings

    def claims(self) -> dict[Any, Any]:
        """The claims: what :func:`claims.decode_claims` gives, in an object of the caller's own."""
        ci, dob, ver, fn, gn, fnt, gnt = self.values
        given = {"fn": fn, "gn": gn, "fnt": fnt, "gnt": gnt}
        nam = given if gn or gnt else {"fn": fn, "fnt": fnt}
        # Dicts of the names here, not of the decoder's own: a tenth less memory for each text.
        entry = {"ci": ci, **self.codes.first, "dt": self.dt, **self.codes.second}
        dcc = {"v": [entry], "dob": dob, "nam": nam, "ver": ver}
        return {**self.registered, claims.CLAIM_HCERT: {claims.SUBCLAIM_EU_DCC: dcc}}


class Codes(NamedTuple):
    """An entry's fields that few payloads have for themselves."""

    first: dict[str, Any]
    second: dict[str, Any]
    values: tuple[Any, ...]
    """The values of CODED."""
    warnings: tuple[str, ...]


def read_plain(payload: bytes) -> Plain | None:
    """What a plain payload says, None for any other.

    It keeps the schema, once :func:`keep_schema` has said yes to the values.
    """
    # A longer one could have more elements than the decoder takes: each has a byte at least.
    parts = _cut(payload) if len(payload) <= cbor.MAX_ELEMENTS else None
    if parts is None:
        return None
    head, uvci, first, date, second, last = parts
    registered, codes, dt = _registered(head), _codes(first, second), _date(date)
    if registered is None or codes is None or dt is None:
        return None
    try:
        ci = uvci.decode()
        dob, nam, ver = _pairs(cbor.decode_pairs(last), _LAST)
        if type(nam) is dict and len(nam) == len(_MONONYM):
            fn, fnt = _pairs(nam, _MONONYM)
            gn, gnt = "", ""
        else:
            fn, gn, fnt, gnt = _pairs(nam, _NAME)
            if not gn and not gnt:
                return None  # it names what a mononym leaves out
    except (HcertError, _NotPlainError, UnicodeDecodeError):
        return None
    # Only of texts is it certain that the decoder takes them within the whole: what is nested here
    # is nested deeper there.
    if not type(dob) is type(ver) is type(fn) is type(gn) is type(fnt) is type(gnt) is str:
        return None
    return Plain(head, registered, codes, dt, (ci, dob, ver, fn, gn, fnt, gnt))


class _NotPlainError(Exception):
    """A map is not of the plain form."""


def _pairs(mapping: Any, names: tuple[str, ...]) -> Iterable[Any]:
    """The values of a map that has exactly these keys, in this order.

    A text is equal to texts only, so that no key is of another type.
    """
    if type(mapping) is not dict or tuple(mapping) != names:
        raise _NotPlainError
    return mapping.values()


def _cut(payload: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes] | None:
    """Head, UVCI, first, date, second and last; None when what stands between them does not.

    A cut in a wrong place, within a text that holds such bytes, gives parts that are no whole
    pairs.
    """
    place = payload.find(_BEFORE_CI)
    uvci_at = place + len(_BEFORE_CI) + 1
    if place < 0 or uvci_at >= len(payload):
        return None
    first_at = uvci_at + payload[uvci_at - 1]
    first_end = payload.find(_BEFORE_DATE, first_at)
    date_at = first_end + len(_BEFORE_DATE)
    second_at = date_at + _DATE_BYTES
    last_at = payload.find(_LAST_KEY, second_at)
    if first_end < 0 or last_at < 0:
        return None
    return (
        payload[:place],
        payload[uvci_at:first_at],
        payload[first_at:first_end],
        payload[date_at:second_at],
        payload[second_at:last_at],
        payload[last_at:],
    )


# A signing run has one iss, exp and iat, so that these bytes are the same in all it signed.
@lru_cache(maxsize=1024)
def _registered(head: bytes) -> dict[Any, Any] | None:
    """The claims before -260 when ``head`` is the beginning of a payload that ends with -260.

    With -260: null after it, ``head`` must be the claims of a whole payload, -260 the last of them.
    Nothing but the appended bytes can then be that key and that null.
    """
    try:
        found = claims.decode_claims(head + _HCERT_KEY + b"\xf6")
    except HcertError:
        return None
    key, value = found.popitem()
    return found if key == claims.CLAIM_HCERT and value is None else None


@lru_cache(maxsize=4096)
def _codes(first: bytes, second: bytes) -> Codes | None:
    """The fields of both parts and the codes' warnings; None unless they keep the schema."""
    before, after = _fields(first, _FIRST), _fields(second, _SECOND)
    if before is None or after is None:
        return None
    entry = before | after
    warnings = code_warnings("v", *[entry[field] for field in CODE_SETS["v"]])
    return Codes(before, after, tuple(entry.values()), warnings)


def _fields(part: bytes, names: tuple[str, ...]) -> dict[str, Any] | None:
    """The pairs of a part that holds exactly these fields, each as the schema wants it."""
    try:
        found = cbor.decode(bytes((0xA0 + len(names),)) + part)
    except HcertError:
        return None
    if tuple(found) != names or not all(_keeps(name, [found[name]]) for name in names):
        return None
    return dict(found)


@lru_cache(maxsize=4096)
def _date(data: bytes) -> str | None:
    """A vaccination's date; None unless it keeps the schema."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if _keeps("dt", [text]) else None


def keeps_schema(plain: Plain) -> bool:
    """Whether the values of one plain payload keep the schema."""
    for check, value in zip(_PERSONAL_CHECKS, plain.values, strict=True):
        if check(value):
            return False
    return True


def keep_schema(rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether the values of all rows (each of PERSONAL) are texts that keep the schema."""
    return all(map(_keeps, PERSONAL, zip(*rows, strict=True)))


def _keeps(field: str, column: Iterable[Any]) -> bool:
    """Whether all values of a field are of its type and keep the schema."""
    # By type first: 1, 1.0 and true are one member of a set.
    if set(map(type, column)) != {int if field in _NUMBERS else str}:
        return False
    return not any(map(_CHECKS[field], set(column)))
