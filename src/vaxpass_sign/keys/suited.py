"""Which keys may sign an HCERT: EC P-256 with ES256, RSA of 2048 to 4096 bits with PS256.

eu-dcc-hcert-spec §3.3.2 names the two algorithms and RSA of 2048 to 3072 bits; 4096 is let
through because issuers use it. RSA with PKCS#1 v1.5 padding (RS256) is never used.

>>> alg_of_curve("secp256r1", "key 'dsc'").name, alg_of_modulus(2048, "key 'dsc'").name
('ES256', 'PS256')
>>> alg_of_curve("secp384r1", "key 'dsc'")
Traceback (most recent call last):
...
vaxpass_sign.errors.TokenError: key 'dsc' is EC on curve secp384r1, which no HCERT may be signed
with: use EC P-256 (ES256) or RSA of 2048 to 4096 bits (PS256)
"""

from __future__ import annotations

from typing import Final

from vaxpass_sign.errors import TokenError
from vaxpass_sign.hcert.alg import P256, RSA_BITS, Alg

__all__ = ["alg_of_curve", "alg_of_modulus", "unsuited"]

_P256_NAMES: Final = (P256, "prime256v1", "P-256")


def alg_of_curve(curve: str, where: str) -> Alg:
    """ES256, or TokenError that names the key (``where``) and its curve."""
    if curve not in _P256_NAMES:
        raise unsuited(f"EC on curve {curve}", where)
    return Alg.ES256


def alg_of_modulus(bits: int, where: str) -> Alg:
    """PS256, or TokenError that names the key (``where``) and its size."""
    if bits not in RSA_BITS:
        raise unsuited(f"RSA of {bits} bits", where)
    return Alg.PS256


def unsuited(found: str, where: str) -> TokenError:
    """The error for a key that can't sign an HCERT."""
    return TokenError(
        f"{where} is {found}, which no HCERT may be signed with: use EC P-256 (ES256) or RSA of"
        f" {RSA_BITS[0]} to {RSA_BITS[-1]} bits (PS256)"
    )
