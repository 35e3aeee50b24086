"""Which algorithm a public key signs HCERTs with: the key decides, never a header or a caller.

>>> from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
>>> key = generate_private_key(SECP384R1()).public_key()
>>> alg_of_key(key), describe_key(key)
(None, 'EC secp384r1')
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from vaxpass_sign.hcert.alg import P256, RSA_BITS, Alg

__all__ = ["PublicKey", "alg_of_key", "describe_key"]

PublicKey = EllipticCurvePublicKey | RSAPublicKey


def alg_of_key(key: PublicKey | None) -> Alg | None:
    """ES256 for P-256, PS256 for RSA of 2048 to 4096 bits, None for any other key.

    eu-dcc-hcert-spec §3.3.2 names these two algorithms; RFC 8230 §2 wants 2048 bits or more.
    """
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name == P256:
        return Alg.ES256
    if isinstance(key, RSAPublicKey) and key.key_size in RSA_BITS:
        return Alg.PS256
    return None


def describe_key(key: PublicKey | None) -> str:
    """A few words for messages: ``EC secp384r1``, ``RSA 1024``."""
    if isinstance(key, EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    if isinstance(key, RSAPublicKey):
        return f"RSA {key.key_size}"
    return "no EC or RSA key"
