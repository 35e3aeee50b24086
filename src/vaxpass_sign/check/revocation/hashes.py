"""What of a credential is hashed to revoke it, and whom an entry speaks of.

The hashes are those of the EU gateway's revocation batches (eu-dcc-revocation, DGCG): SHA-256, the
first 16 bytes, of

* ``UCI``: the certificate identifier ``ci`` as UTF-8;
* ``COUNTRYCODEUCI``: the issuer's country code (``iss``) and ``ci``, one after the other;
* ``SIGNATURE``: the signature. For ES256 that is r alone, the first 32 of its 64 bytes: whoever
  holds a credential with the signature (r, s) can write (r, n-s) in its place, which verifies as
  well and has another hash. Some issuers hash the whole; so r is published, and a reader compares
  both. For PS256 it is the whole.

An allow-list holds what a key honestly signed: SHA-256 over Sig_structure and signature, all 32
bytes. Nothing shorter will do there: whoever has the key can sign another message with the same r.

>>> hash_uci("URN:UVCI:01:NL:187/37512422923").hex()
'27b6c21c44ddfbb8e07239fa0a912510'
>>> hash_signature(bytes(64)) == hash_signature(bytes(32) + bytes(31) + b"x")
True
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert.claims import CLAIM_ISS, eu_dcc
from vaxpass_sign.hcert.codec import Hcert
from vaxpass_sign.hcert.cose import Sign1

__all__ = [
    "ALLOWED_BYTES",
    "HASH_BYTES",
    "HASH_TYPES",
    "KID_BYTES",
    "HashType",
    "Scope",
    "all_hashes",
    "hash_allowed",
    "hash_country_uci",
    "hash_signature",
    "hash_uci",
    "hash_whole_signature",
    "hashes_of",
    "is_country",
]

HASH_BYTES: Final = 16
"""Bytes of a revocation hash: SHA-256 cut to 128 bits."""

ALLOWED_BYTES: Final = 32
"""Bytes of an allow-list's entry: SHA-256, whole."""

KID_BYTES: Final = 8

_RAW_ECDSA_BYTES: Final = 64
_COUNTRY = re.compile(r"[A-Z]{2,3}")


class HashType(StrEnum):
    """What a revocation hash is made of; the value is the batch's ``hashType``."""

    UCI = "UCI"
    COUNTRYCODEUCI = "COUNTRYCODEUCI"
    SIGNATURE = "SIGNATURE"


HASH_TYPES: Final = (HashType.UCI, HashType.COUNTRYCODEUCI, HashType.SIGNATURE)
"""In the order in which a credential is looked up."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Of whom an entry speaks: the credentials of a country, signed under one kid or any of them.

    ``country``: two capital letters (ISO 3166-1), or the three that some WHO issuers have. ``kid``:
    8 bytes; None where the batch says UNKNOWN_KID.

    Raises: InputError when a part has another form.
    """

    hash_type: HashType
    country: str
    kid: bytes | None = None

    def __post_init__(self) -> None:
        if not is_country(self.country):
            raise InputError(
                f"country: found {len(self.country)} characters, expected two or three capital "
                "letters of ISO 3166-1 such as VN"
            )
        if self.kid is not None and len(self.kid) != KID_BYTES:
            raise InputError(
                f"kid: found {len(self.kid)} bytes, expected {KID_BYTES}; give the DSC's"
            )

    def __hash__(self) -> int:
        # An Enum's own hash is computed in Python each time, for a third of a whole look-up.
        return hash((str.__hash__(self.hash_type), self.country, self.kid))


def is_country(text: str) -> bool:
    """Whether a text has the form of a country code: two or three capital letters."""
    return _COUNTRY.fullmatch(text) is not None


def _cut(data: bytes) -> bytes:
    return sha256(data).digest()[:HASH_BYTES]


def hash_uci(ci: str) -> bytes:
    """The UCI hash of a certificate identifier, 16 bytes."""
    return _cut(_utf8(ci))


def hash_country_uci(country: str, ci: str) -> bytes:
    """The COUNTRYCODEUCI hash, 16 bytes; ``country`` is the issuer's, as ``iss`` has it."""
    return _cut(_utf8(country) + _utf8(ci))


def hash_signature(signature: bytes) -> bytes:
    """The SIGNATURE hash to publish, 16 bytes: of r where it has 64 bytes (ES256), else the whole.

    No PS256 signature has 64 bytes, so the length decides and no header, which a holder may change.
    """
    return _cut(signature[:32] if len(signature) == _RAW_ECDSA_BYTES else signature)


def hash_whole_signature(signature: bytes) -> bytes:
    """The SIGNATURE hash of the whole signature, 16 bytes.

    For ES256 only for readers that know nothing else: (r, n-s) dodges it.
    """
    return _cut(signature)


def hash_allowed(sign1: Sign1) -> bytes:
    """An allow-list's entry for a message, 32 bytes: SHA-256(Sig_structure ‖ signature)."""
    return sha256(sign1.sig_structure + sign1.signature).digest()


def hashes_of(hcert: Hcert, hash_type: HashType) -> list[bytes]:
    """Every hash by which an entry of a type can mean this HCERT, whatever its claims are.

    UCI: of each ``ci`` inside. COUNTRYCODEUCI: of ``iss`` and each ``ci``; the specification's
    "country code" is taken for the entry's ``co`` by some, so that is compared as well. SIGNATURE:
    of r and of the whole.
    """
    return all_hashes(hcert)[HASH_TYPES.index(hash_type)]


def all_hashes(hcert: Hcert, country_uci: bool = True) -> tuple[list[bytes], ...]:
    """:func:`hashes_of` for each of :data:`HASH_TYPES`, in that order, all at once.

    ``country_uci``: False leaves COUNTRYCODEUCI empty, where nothing asks for it.
    """
    # In one function, because this is done for each credential at a border, and a function for each
    # hash would take as long as the hashing.
    claims, signature = hcert.claims, hcert.sign1.signature
    issuer, dcc = claims.get(CLAIM_ISS), eu_dcc(claims) or {}
    of_uci: list[bytes] = []
    of_country: list[bytes] = []
    for kind in ("v", "t", "r"):
        group = dcc.get(kind)
        if isinstance(group, list):
            for entry in group:
                if isinstance(entry, dict) and isinstance(ci := entry.get("ci"), str):
                    try:
                        data = ci.encode()
                    except UnicodeEncodeError:
                        data = _utf8(ci)
                    of_uci.append(sha256(data).digest()[:HASH_BYTES])
                    if country_uci:
                        country = entry.get("co")
                        # Each once.
                        for code in (issuer,) if country == issuer else (issuer, country):
                            if isinstance(code, str):
                                of_country.append(_cut(_utf8(code) + data))
    of_signature = [sha256(signature).digest()[:HASH_BYTES]]
    if len(signature) == _RAW_ECDSA_BYTES:
        of_signature.insert(0, sha256(signature[:32]).digest()[:HASH_BYTES])
    return of_uci, of_country, of_signature


def _utf8(text: str) -> bytes:
    # CBOR text has no lone surrogates; a text from elsewhere must not raise here.
    return text.encode("utf-8", "surrogatepass")
