"""Whether a COSE signature is a public key's (RFC 9053 §2.1 for ES256, RFC 8230 §2 for PS256).

This is the one place where the library verifies a signature over bytes that COSE signs.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["verify_signature"]

_ECDSA_SHA256 = ECDSA(SHA256())
_PSS_SHA256 = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)


def verify_signature(public_key: object, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` is the key's.

    A P-256 key: exactly 64 bytes, raw r‖s; r and s from 1 to n-1, s high or low. An RSA key: PSS
    with SHA-256, MGF1-SHA256 and a salt of 32 bytes. Any other key: False.
    """
    try:
        if isinstance(public_key, EllipticCurvePublicKey):
            if len(signature) != 64:
                return False
            r = int.from_bytes(signature[:32], "big")
            s = int.from_bytes(signature[32:], "big")
            public_key.verify(encode_dss_signature(r, s), message, _ECDSA_SHA256)
        elif isinstance(public_key, RSAPublicKey):
            public_key.verify(signature, message, _PSS_SHA256, SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True
