"""One HCERT at a time: decode a text into an :class:`Hcert`; encode a record for a signer.

Decoding checks the form and nothing else. Who signed, whether the signature is right and whether
it is still valid is :func:`vaxpass_sign.verify`'s work.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from vaxpass_sign.hcert import claims as claims_module
from vaxpass_sign.hcert import cose, framing
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.claims import CLAIM_EXP, CLAIM_IAT, CLAIM_ISS

__all__ = ["Hcert", "decode", "encode"]

_ALGS = {int(alg): alg for alg in Alg}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_SECONDS = -62_135_596_800  # 0001-01-01T00:00:00Z, the first second that datetime holds
_MAX_SECONDS = 253_402_300_799  # 9999-12-31T23:59:59Z, the last one


@dataclass(frozen=True, slots=True)
class Hcert:
    """A decoded HCERT. Nothing of it has been checked; ``repr`` shows no personal data."""

    sign1: cose.Sign1
    claims: dict[Any, Any]
    """The CWT claims by number: 1 iss, 4 exp, 6 iat, -260 hcert."""

    @property
    def payload(self) -> dict[str, Any] | None:
        """The EU DCC (ver, dob, nam and v, t or r), or None when there is none inside."""
        return claims_module.eu_dcc(self.claims)

    @property
    def kid(self) -> bytes | None:
        """The key identifier, usually SHA-256(DSC)[:8]."""
        return self.sign1.kid

    @property
    def alg(self) -> Alg | int | None:
        """What the header says; the DSC's key decides."""
        alg = self.sign1.alg
        return _ALGS.get(alg, alg) if alg is not None else None

    @property
    def issuer(self) -> str | None:
        """The iss claim: a country code, or what an issuer wrote there."""
        return self.claims.get(CLAIM_ISS)

    @property
    def issued_at(self) -> datetime | None:
        """iat in UTC; None when it is missing or is no point in time."""
        return as_time(self.claims.get(CLAIM_IAT))

    @property
    def expires_at(self) -> datetime | None:
        """exp in UTC; None when it is missing or is no point in time (NaN)."""
        return as_time(self.claims.get(CLAIM_EXP))

    def __repr__(self) -> str:
        kid = self.kid.hex() if self.kid else None
        return f"Hcert(kid={kid!r}, alg={self.alg!r}, expires_at={self.expires_at!r}, …)"


def as_time(seconds: float | None) -> datetime | None:
    """A NumericDate (RFC 8392 §2) as a UTC datetime; None when there is no such time."""
    if seconds is None or not is_time(seconds):
        return None
    return _EPOCH + timedelta(seconds=seconds)


def is_time(seconds: float) -> bool:
    """Whether :func:`as_time` has a time for it."""
    # Every comparison with a NaN is False.
    return _MIN_SECONDS <= seconds <= _MAX_SECONDS


def decode(text: str) -> Hcert:
    """Decode an "HC1:" text; checks its form only.

    Raises: HcertError, whose ``code`` is a Fault, and nothing else.
    """
    sign1 = cose.parse(framing.unframe(text))
    return Hcert(sign1, claims_module.decode_claims(sign1.payload))


def encode(protected: bytes, payload: bytes, signature: bytes) -> str:
    """The "HC1:" text of a signed payload (of :func:`claims.encode_claims`)."""
    return framing.frame(cose.encode_sign1(protected, payload, signature), len(payload))
