"""The two signature algorithms of an HCERT (eu-dcc-hcert-spec §3.3.2, RFC 9053 §2.1, RFC 8230 §2).

>>> Alg(-7).name, Alg.PS256.value
('ES256', -37)
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["P256", "RSA_BITS", "Alg"]

P256 = "secp256r1"
"""The one curve of ES256 here, by its name in SEC 2 (NIST P-256)."""

RSA_BITS = range(2048, 4097)
"""Bits of a modulus for PS256. The specification says 2048 to 3072; issuers use 4096 as well."""


class Alg(IntEnum):
    """COSE algorithm identifiers that an HCERT may carry; the value is the one on the wire."""

    ES256 = -7
    """ECDSA over P-256 with SHA-256; the signature is raw r‖s, 64 bytes."""
    PS256 = -37
    """RSASSA-PSS with SHA-256, MGF1-SHA256 and a salt of 32 bytes; as long as the modulus."""
