"""JWKs (RFC 7517) that carry a certificate, and such as are pinned without one.

>>> from vaxpass_sign.check.lists.result import Finds
>>> certificate_of({"kty": "EC"}, None, Finds()) is None
True
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from vaxpass_sign.check.lists.reading import decode_base64url, is_kid_of, read_der
from vaxpass_sign.check.lists.result import Finds, LeftOut
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate, PublicKey

__all__ = ["certificate_of", "key_of"]

_MAX_RSA_BYTES = 1024


def certificate_of(jwk: dict[str, Any], kid: Any, finds: Finds) -> Certificate | None:
    """The certificate of a JWK, ``x5c[0]`` (§4.7); None, and counted, when it is left out.

    Left out: a JWK without x5c, a certificate that can't be read, a ``kid`` that is not the
    certificate's, and a P-256 or RSA key that is not the certificate's, as §4.7 wants it to be.
    """
    chain = jwk.get("x5c")
    if not isinstance(chain, list) or not chain:
        finds.leave_out(LeftOut.NO_CERTIFICATE)
        return None
    certificate = read_der(chain[0])
    if certificate is None:
        finds.leave_out(LeftOut.UNREADABLE)
        return None
    if not is_kid_of(kid, certificate):
        finds.leave_out(LeftOut.OTHER_KID)
        return None
    if not _is_key_of(jwk, certificate):
        finds.leave_out(LeftOut.OTHER_KEY)
        return None
    return certificate


def key_of(jwk: dict[str, Any]) -> PublicKey:
    """The public key of a JWK (RFC 7518 §6.2, §6.3): P-256 or RSA.

    x and y are 32 bytes; WHO's have 33 where the top bit is set, a zero before them, because they
    are written as signed integers. That is read too.

    Raises: TrustError when it is another key, or none.
    """
    try:
        if jwk.get("kty") == "EC" and jwk.get("crv") == "P-256":
            x, y = (_coordinate(jwk.get(name), name) for name in "xy")
            return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        if jwk.get("kty") == "RSA":
            n, e = (_number(jwk.get(name), name) for name in "ne")
            return RSAPublicNumbers(e, n).public_key()
    except ValueError as error:
        raise TrustError(
            "a JWK holds no point of its curve, or no RSA modulus that can be used: get it again "
            "from its publisher"
        ) from error
    raise TrustError(
        "a JWK is no key of P-256 or RSA (kty and crv say otherwise), expected one: get it again "
        "from its publisher"
    )


def _is_key_of(jwk: dict[str, Any], certificate: Certificate) -> bool:
    """Whether a JWK's numbers are the certificate's key; true where it names none."""
    key = certificate.public_key
    if not ({"x", "y"} <= jwk.keys() or {"n", "e"} <= jwk.keys()):
        return True
    if isinstance(key, EllipticCurvePublicKey) and key.curve.name != SECP256R1.name:
        return True  # It can't sign HCERTs, and JWKs of other curves are not read here.
    if not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
        return True
    try:
        return key_of(jwk) == key
    except TrustError:
        return False


def _coordinate(text: Any, name: str) -> int:
    data = decode_base64url(text, f"{name} of a JWK")
    if len(data) not in (32, 33):  # 33 bytes that do not begin with 0 are beyond the curve
        raise ValueError("a coordinate of another length")
    return int.from_bytes(data, "big")


def _number(text: Any, name: str) -> int:
    data = decode_base64url(text, f"{name} of a JWK")
    if len(data) > _MAX_RSA_BYTES:
        raise ValueError("too large a number")
    return int.from_bytes(data, "big")
