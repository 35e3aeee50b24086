"""Whether a key made a signature that ASN.1 describes: a certificate's (RFC 5280), or a CMS's.

ECDSA, PKCS #1 v1.5 and PSS; RSA of at least 2048 bits. What COSE signs is
:mod:`vaxpass_sign.hcert.signature`'s to verify.

>>> sorted(SHA2)
['sha256', 'sha384', 'sha512']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = ["SHA2", "Hashes", "check_signature"]

Hashes = Mapping[str, type[hashes.HashAlgorithm]]
"""Hashes by asn1crypto's names for them."""

SHA2: Final[Hashes] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}

_MIN_RSA_BITS: Final = 2048


def check_signature(  # noqa: PLR0913, PLR0917 (each is a part of what was signed)
    key: object,
    algorithm: Any,
    hash_name: str,
    signature: bytes,
    message: bytes,
    known: Hashes = SHA2,
) -> None:
    """Return when ``key`` signed ``message``.

    Args:
        algorithm: asn1crypto's SignedDigestAlgorithm. The caller has seen that the hash which it
            names, if it names one, is ``hash_name``.
        known: the hashes that are taken, for the message and for MGF1.
    Raises: cryptography's InvalidSignature when it did not; ValueError when the key does not fit
        the algorithm, or is RSA below 2048 bits; what asn1crypto raises for damaged parameters.
    """
    kind, digest = algorithm.signature_algo, known[hash_name]()
    if isinstance(key, ec.EllipticCurvePublicKey) and kind == "ecdsa":
        key.verify(signature, message, ec.ECDSA(digest))
        return
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_RSA_BITS:
        raise ValueError("the key does not fit the algorithm, or is RSA below 2048 bits")
    if kind == "rsassa_pkcs1v15":
        key.verify(signature, message, padding.PKCS1v15(), digest)
    elif kind == "rsassa_pss":
        key.verify(signature, message, _pss(algorithm["parameters"], known), digest)
    else:
        raise ValueError("another algorithm")


def _pss(parameters: Any, known: Hashes) -> padding.PSS:
    mask = parameters["mask_gen_algorithm"]
    if mask["algorithm"].native != "mgf1":
        raise ValueError("a mask generation function that is not MGF1")
    mgf = padding.MGF1(known[mask["parameters"]["algorithm"].native]())
    return padding.PSS(mgf=mgf, salt_length=parameters["salt_length"].native)
