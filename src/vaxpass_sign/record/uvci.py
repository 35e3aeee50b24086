"""UVCI: the identifier of one credential (eHealth Network, Annex 2 of the vaccination-proof
interoperability guidelines), random or derived, with its check character.

The rules that this module keeps:

* Written: ``URN:UVCI:01:`` + country + ``:`` + 26 base32 characters (128 bits, RFC 4648 §6, no
  padding) + ``#`` + check character: 43 in all, the schema's bound is 80.
* The check character is Luhn's algorithm modulo 38 over the alphabet A–Z, 0–9, ``/``, ``:``, with
  the prefix included.
* Derived UVCIs depend on a secret of 32 bytes, since personal numbers can be enumerated. The parts
  of what is hashed are joined by U+001F and may not hold it, so no two lists of parts look alike.
* On reading no UVCI is rejected: a third of the published ones have no check character, or a wrong
  one. ``check_uvci`` is for those that we write.

>>> check_character("URN:UVCI:01:NL:187/37512422923")
'Z'
>>> person = person_key(bytes(32), "passport", "C1234567")
>>> derive_uvci(bytes(32), "VN", person, "EU/1/20/1528", "2021-11-20")
'URN:UVCI:01:VN:...#...'
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from vaxpass_sign.errors import InputError

__all__ = [
    "MAX_UVCI",
    "check_character",
    "check_uvci",
    "derive_uvci",
    "person_key",
    "random_uvci",
    "row_key",
    "wrong_uvcis",
]

MAX_UVCI = 80
"""The longest ci, in characters (DCC schema 1.3.0)."""

_PREFIX = "URN:UVCI:01:"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:"
_MODULUS = len(_ALPHABET)
_SEPARATOR = "\x1f"
_HOLDS_SEPARATOR = "holds U+001F, which separates the parts that are hashed: take it out"
_PERSON_KINDS = ("cccd", "cmnd", "passport")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)

# bytes.translate tables: a character's worth at an odd and at an even place from the right. Luhn
# doubles every second one and adds up the two digits, in base 38, of what comes out.
_WORTH = bytes.maketrans(_ALPHABET.encode(), bytes(range(_MODULUS)))
_DOUBLED = bytes.maketrans(
    _ALPHABET.encode(), bytes(sum(divmod(2 * n, _MODULUS)) for n in range(_MODULUS))
)
# Two base32 characters for each ten bits: 13 look-ups give the 26 characters of 128 bits (the last
# two bits of 130 are zero, RFC 4648 §6).
_BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = [a + b for a in _BASE32 for b in _BASE32]
_SHIFTS = tuple(range(120, -1, -10))


def check_character(text: str) -> str:
    """The check character of a UVCI, given what stands before its ``#``, prefix included.

    Raises: InputError for a character outside A–Z, 0–9, ``/`` and ``:``.
    """
    try:
        codes = text.encode("ascii")
    except UnicodeEncodeError:
        codes = b"?"
    if codes.translate(None, _ALPHABET.encode()):
        raise InputError(
            f"UVCI: {_first_stranger(text)}, expected only A-Z, 0-9, / and : before the #"
        )
    return _luhn(codes)


def random_uvci(country: str) -> str:
    """A new UVCI of 128 random bits for an ISO 3166-1 alpha-2 country.

    Raises: InputError for a country that is not two capital letters.
    """
    import secrets

    return _write(country, secrets.token_bytes(16))


def person_key(secret: bytes, kind: str, number: str) -> bytes:
    """HMAC-SHA256(secret, kind ‖ U+001F ‖ number): 32 bytes that stand for a person.

    ``kind`` is cccd, cmnd, passport, or row: for row, ``number`` is what ``row_key`` joins. The
    number is used as it is: its one spelling (no spaces, capitals) is left to the caller.

    Raises: InputError for a secret that is not 32 bytes, another kind, or a number that is empty
    or holds U+001F.
    """
    if kind == "row":
        facility_id, separator, record_id = number.partition(_SEPARATOR)
        if not separator:
            raise InputError("person key: a row's number has no U+001F: use row_key()")
        return row_key(secret, facility_id, record_id)
    if kind not in _PERSON_KINDS:
        raise InputError("person key: unknown kind, expected cccd, cmnd, passport or row")
    if _SEPARATOR in number:
        raise InputError(f"person key: the number {_HOLDS_SEPARATOR}")
    if not number:
        raise InputError(
            "person key: an empty number, expected one; without a number use row_key()"
        )
    return _hmac(secret, f"{kind}{_SEPARATOR}{number}".encode())


def row_key(secret: bytes, facility_id: str, record_id: str) -> bytes:
    """The person key of a row without a personal number: 32 bytes for (facility_id, record_id).

    ``facility_id`` may be "", as tables of one facility have none.

    Raises: InputError as ``person_key`` does, and for an empty record_id.
    """
    if _SEPARATOR in facility_id or _SEPARATOR in record_id:
        raise InputError(f"person key: the facility_id or record_id {_HOLDS_SEPARATOR}")
    if not record_id:
        raise InputError("person key: an empty record_id, expected one")
    return _hmac(secret, f"row{_SEPARATOR}{facility_id}{_SEPARATOR}{record_id}".encode())


def derive_uvci(  # noqa: PLR0913, PLR0917 - each part of the identity is named by its caller
    secret: bytes,
    country: str,
    person_key: bytes,
    product: str,
    vaccination_date: str,
    revision: int = 0,
) -> str:
    """The UVCI of a person's dose: the same parts give the same UVCI, on any machine, in any year.

    It holds the first 128 bits of HMAC-SHA256(secret, person_key ‖ product ‖ vaccination_date ‖
    revision), joined by U+001F. ``person_key`` has 32 bytes, ``vaccination_date`` is YYYY-MM-DD,
    ``revision`` counts corrections from 0.

    Raises: InputError for a part that breaks one of these rules.
    """
    if len(person_key) != 32:
        raise InputError(f"UVCI: a person key of {len(person_key)} bytes, expected 32")
    if not _DATE.fullmatch(vaccination_date):
        raise InputError("UVCI: a vaccination_date of another shape, expected YYYY-MM-DD")
    if type(revision) is not int or revision < 0:
        raise InputError("UVCI: a revision that is no count, expected 0, 1, 2, …")
    if not product:
        raise InputError("UVCI: an empty product, expected a product code")
    if _SEPARATOR in product:
        raise InputError(f"UVCI: the product {_HOLDS_SEPARATOR}")
    tail = f"{_SEPARATOR}{product}{_SEPARATOR}{vaccination_date}{_SEPARATOR}{revision}"
    return _write(country, _hmac(secret, person_key + tail.encode())[:16])


def check_uvci(uvci: str) -> None:
    """Refuse a UVCI that we would not write; those that we read need no check.

    Raises: InputError unless it has at most 80 characters, starts with ``URN:UVCI:01:``, a country
    of two capital letters and ``:``, goes on with A–Z, 0–9, ``/`` and ``:``, and ends in ``#`` and
    the right check character. The message does not repeat the UVCI.
    """
    if not isinstance(uvci, str):
        raise InputError("UVCI: not a text, expected URN:UVCI:01:…")
    if len(uvci) > MAX_UVCI:
        raise InputError(f"UVCI: {len(uvci)} characters, expected at most {MAX_UVCI}")
    if not uvci.startswith(_PREFIX):
        raise InputError("UVCI: another prefix, expected URN:UVCI:01:")
    body, mark, check = uvci.rpartition("#")
    if not mark:
        raise InputError("UVCI: no check character, expected # and one at the end")
    country, colon, identifier = body[len(_PREFIX) :].partition(":")
    if not colon or not _COUNTRY.fullmatch(country):
        raise InputError("UVCI: no country after URN:UVCI:01:, expected two capital letters and :")
    if not identifier:
        raise InputError("UVCI: nothing after the country, expected an identifier")
    if check != check_character(body):
        raise InputError("UVCI: a wrong check character; mend the UVCI or use check_character()")


def wrong_uvcis(uvcis: Sequence[str]) -> dict[int, str]:
    """The places (from 0) of UVCIs that :func:`check_uvci` would refuse, and why.

    The same answer as asking for each, much faster when all have one length; needs the extra
    ``batch`` (numpy).
    """
    if not uvcis:
        return {}
    suspects: Iterable[int] = range(len(uvcis))
    if all(isinstance(uvci, str) for uvci in uvcis):
        lengths = set(map(len, uvcis))
        if len(lengths) == 1 and len(_PREFIX) + 4 < len(uvcis[0]) <= MAX_UVCI:
            suspects = _suspects(uvcis, len(uvcis[0]))
    wrong = {}
    for place in suspects:
        try:
            check_uvci(uvcis[place])
        except InputError as error:
            wrong[place] = str(error)
    return wrong


def _suspects(uvcis: Sequence[str], length: int) -> list[int]:
    """The places of those of ``length`` characters each that are not plainly right."""
    import numpy as np

    try:
        codes = np.frombuffer("".join(uvcis).encode("ascii"), np.uint8).reshape(-1, length)
    except UnicodeEncodeError:
        return list(range(len(uvcis)))
    worth = np.full(256, 255, np.uint8)
    worth[list(_ALPHABET.encode())] = range(_MODULUS)
    values = worth[codes]
    body = values[:, :-2]
    doubled = np.array([sum(divmod(2 * n, _MODULUS)) for n in range(256)], np.int64)
    # Luhn from the right, the check character's own place left out: the last one is doubled.
    total = doubled[body[:, ::-2]].sum(axis=1) + body[:, -2::-2].sum(axis=1, dtype=np.int64)
    country = values[:, len(_PREFIX) : len(_PREFIX) + 2]
    right = (
        (codes[:, : len(_PREFIX)] == list(_PREFIX.encode())).all(axis=1)
        & (country < 26).all(axis=1)  # A to Z are the first of the alphabet
        & (codes[:, len(_PREFIX) + 2] == ord(":"))
        & (body < _MODULUS).all(axis=1)
        & (codes[:, -2] == ord("#"))
        & (values[:, -1] == -total % _MODULUS)
    )
    return [int(place) for place in np.flatnonzero(~right)]


def _write(country: str, bits: bytes) -> str:
    number = int.from_bytes(bits, "big") << 2
    text = "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
    body = _prefix(country) + text
    return f"{body}#{_luhn(body.encode())}"


@lru_cache(maxsize=256)
def _prefix(country: str) -> str:
    if not _COUNTRY.fullmatch(country):
        raise InputError("UVCI: a country of another shape, expected two capital letters")
    return f"{_PREFIX}{country}:"


def _luhn(codes: bytes) -> str:
    total = sum(codes[::-2].translate(_DOUBLED)) + sum(codes[-2::-2].translate(_WORTH))
    return _ALPHABET[-total % _MODULUS]


def _hmac(secret: bytes, message: bytes) -> bytes:
    if type(secret) is not bytes or len(secret) != 32:
        raise InputError(
            "UVCI: a secret that is not 32 bytes; make one with secrets.token_bytes(32)"
        )
    return hmac.digest(secret, message, "sha256")


def _first_stranger(text: str) -> str:
    at = next(n for n, letter in enumerate(text) if letter not in _ALPHABET)
    return f"character {at + 1} of {len(text)} is U+{ord(text[at]):04X}"
