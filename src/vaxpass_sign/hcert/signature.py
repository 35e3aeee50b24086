"""Whether a COSE signature is a public key's (RFC 9053 §2.1 for ES256, RFC 8230 §2 for PS256).

This is the one place where the library verifies a signature over bytes that COSE signs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256

__all__ = ["der_signature", "verify_signature", "verify_signatures"]

_SHA256 = SHA256()
_ECDSA_HASHED = ECDSA(Prehashed(_SHA256))
_PSS_SHA256 = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)

# Dss-Sig-Value (RFC 3279 §2.2.3) of two INTEGERs that take 32 bytes, and a zero before them where
# their top bit is set.
_DER = {
    (False, False): b"\x30\x44\x02\x20%b\x02\x20%b",
    (False, True): b"\x30\x45\x02\x20%b\x02\x21\0%b",
    (True, False): b"\x30\x45\x02\x21\0%b\x02\x20%b",
    (True, True): b"\x30\x46\x02\x21\0%b\x02\x21\0%b",
}


def der_signature(signature: bytes) -> bytes:
    """A raw r‖s of exactly 64 bytes as the DER that cryptography takes."""
    r, s = signature[:32], signature[32:]
    if r[0] and s[0]:
        return _DER[r[0] > 0x7F, s[0] > 0x7F] % (r, s)
    return encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))


def verify_signature(public_key: object, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` is the key's.

    A P-256 key: exactly 64 bytes, raw r‖s; r and s from 1 to n-1, s high or low. An RSA key: PSS
    with SHA-256, MGF1-SHA256 and a salt of 32 bytes, in exactly as many bytes as the modulus has.
    Any other key: False.
    """
    try:
        _how_to_verify(type(public_key))(public_key, message, signature)
    except InvalidSignature:
        return False
    return True


def verify_signatures(
    public_key: object, messages: Sequence[bytes], signatures: Sequence[bytes]
) -> list[bool]:
    """The same for each message with its signature, all of one key."""
    check, held = _how_to_verify(type(public_key)), []
    for message, signature in zip(messages, signatures, strict=True):
        try:
            check(public_key, message, signature)
        except InvalidSignature:
            held.append(False)
        else:
            held.append(True)
    return held


def _how_to_verify(kind: type) -> Callable[[Any, bytes, bytes], None]:
    """What raises InvalidSignature unless the signature is that of a key of this class."""
    try:
        return _KNOWN[kind]
    except KeyError:
        pass
    # Whether a class is one of cryptography's key classes is a question of a microsecond.
    if issubclass(kind, EllipticCurvePublicKey):
        _KNOWN[kind] = _verify_ecdsa
    elif issubclass(kind, RSAPublicKey):
        _KNOWN[kind] = _verify_pss
    else:
        _KNOWN[kind] = _verify_none
    return _KNOWN[kind]


_KNOWN: Final[dict[type, Callable[[Any, bytes, bytes], None]]] = {}


def _verify_ecdsa(public_key: EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    # No DER is empty, so that an empty one is refused for a signature of another length.
    der = der_signature(signature) if len(signature) == 64 else b""
    # hashlib is half a microsecond faster than cryptography's own hashing.
    public_key.verify(der, sha256(message).digest(), _ECDSA_HASHED)


def _verify_pss(public_key: RSAPublicKey, message: bytes, signature: bytes) -> None:
    # OpenSSL takes one without its leading zeros as well (RFC 8017 §8.1.2 does not). A holder could
    # then write one signature in two ways, and revocation by its hash would find one of them.
    if len(signature) != (public_key.key_size + 7) // 8:
        raise InvalidSignature
    public_key.verify(signature, message, _PSS_SHA256, _SHA256)


def _verify_none(_public_key: object, _message: bytes, _signature: bytes) -> NoReturn:
    raise InvalidSignature
