"""Compact JWS (RFC 7515) whose signer is a pinned certificate, or was issued by a pinned CA.

>>> from datetime import UTC, datetime
>>> check_jws(b"a.b", [], datetime(2026, 1, 1, tzinfo=UTC), "the list")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the list has 2 parts, expected the three of a compact JWS ...
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from vaxpass_sign.check.lists.reading import (
    as_list,
    as_object,
    check_size,
    decode_base64url,
    parse_json,
    read_der,
    shown,
)
from vaxpass_sign.errors import CertificateError, TrustError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.x509 import DSC_OIDS, Certificate, check_issued_by

__all__ = ["check_jws", "has_jws_form"]

_ALGS: Final[dict[Alg | None, tuple[str, ...]]] = {
    Alg.ES256: ("ES256",),
    Alg.PS256: ("PS256", "RS256"),
}
"""The alg that the header may name (RFC 7518 §3.1), by what the key can do. The key decides."""


def has_jws_form(data: bytes) -> bool:
    """Whether bytes look like a compact JWS: base64url of an object, and dots."""
    return data[:2] == b"ey" and b"." in data


def check_jws(
    data: bytes, anchors: Iterable[Certificate], at: datetime, what: str, *, by_ca: bool = True
) -> tuple[bytes, Certificate]:
    """The payload of a compact JWS and the certificate that signed it.

    1. Three parts in base64url; a header that is a JSON object, without ``crit`` and ``b64``
       (RFC 7515 §4.1.11): extensions are not understood here.
    2. The first certificate of ``x5c`` (§4.1.6) is one of ``anchors``; or, ``by_ca``, one of them
       issued it (:func:`check_issued_by`) and it is not a DSC by its extended key usage. Other
       certificates of x5c are not looked at.
    3. It is valid at ``at``, and its key usage, where given, has digitalSignature.
    4. ``alg`` is one of its key's: ES256 for P-256, PS256 or RS256 for RSA.
    5. Its key signed header and payload.

    Whatever a pinned CA issues may sign lists: pin the signer itself, or a CA that issues nothing
    else. A CSCA, whose DSCs sign credentials, is a bad anchor here, since many DSCs have no
    extended key usage: without ``by_ca`` where anchors may be CSCAs too.

    Raises: TrustError that says which of them failed.
    """
    check_size(data, what)
    parts = data.split(b".")  # 1
    if len(parts) != 3:
        raise TrustError(
            f"{what} has {len(parts)} parts, expected the three of a compact JWS (RFC 7515 §7.1): "
            "get the list again from its publisher, whole"
        )
    header_text, payload_text, signature_text = (part.decode("ascii", "replace") for part in parts)
    header_json = decode_base64url(header_text, f"the header of {what}")
    header = as_object(parse_json(header_json, f"the header of {what}"), f"the header of {what}")
    for name in ("crit", "b64"):
        if name in header:
            raise TrustError(
                f"the header of {what} has {name!r}, which is not understood here, so it must be "
                "refused (RFC 7515 §4.1.11): ask its publisher for a plain JWS"
            )
    signer = _find_signer(header, list(anchors), at, what, by_ca)  # 2, 3
    _check_alg(header.get("alg"), signer, what)  # 4
    message = parts[0] + b"." + parts[1]
    signature = decode_base64url(signature_text, f"the signature of {what}")
    if not _verifies(header["alg"], signer, message, signature):  # 5
        raise TrustError(
            f"the signature of {what} does not verify with the key of {signer.subject}: the list "
            "was altered, do not use it"
        )
    return decode_base64url(payload_text, f"the payload of {what}"), signer


def _find_signer(
    header: dict[str, Any], pinned: list[Certificate], at: datetime, what: str, by_ca: bool
) -> Certificate:
    chain = as_list(header.get("x5c"), f"x5c in the header of {what}")
    signer = read_der(chain[0]) if chain else None
    if signer is None:
        raise TrustError(
            f"x5c in the header of {what} does not begin with a certificate that can be read, "
            "expected the signer's: get the list again from its publisher"
        )
    if signer not in pinned and not (by_ca and any(_issued(signer, anchor) for anchor in pinned)):
        also = " and was issued by none" if by_ca else ""
        raise TrustError(
            f"{what} names as its signer {signer.subject}, SHA-256 kid {signer.kid.hex()}, which "
            f"is none of the {len(pinned)} anchors{also}: pin the publisher's certificate, got in "
            "another way than the list"
        )
    if not signer.not_before <= at <= signer.not_after:
        raise TrustError(
            f"the signer of {what}, {signer.subject}, is valid {signer.not_before:%Y-%m-%d} to "
            f"{signer.not_after:%Y-%m-%d}, expected at {at.astimezone(UTC):%Y-%m-%d}: get a newer "
            "list, and pin its publisher's newer certificate"
        )
    if signer.key_usage is not None and "digitalSignature" not in signer.key_usage:
        raise TrustError(
            f"the signer of {what}, {signer.subject}, has the key usage "
            f"{'+'.join(sorted(signer.key_usage)) or 'empty'}, expected digitalSignature: ask the "
            "publisher for a list that another key signed"
        )
    return signer


def _issued(signer: Certificate, anchor: Certificate) -> bool:
    if signer.extended_key_usage & DSC_OIDS:
        return False
    try:
        check_issued_by(signer, anchor)
    except CertificateError:
        return False
    return True


def _check_alg(alg: Any, signer: Certificate, what: str) -> None:
    fitting = _ALGS.get(signer.alg, ())
    if alg not in fitting:
        raise TrustError(
            f"the header of {what} names the alg {shown(alg)}, expected "
            f"{' or '.join(fitting) or 'none'} for the signer's key, {signer.key_description}: "
            "do not use the list, get it again from its publisher"
        )


def _verifies(alg: str, signer: Certificate, message: bytes, signature: bytes) -> bool:
    if alg != "RS256":
        # ES256 and PS256 are the same in JOSE and COSE: raw r‖s, and a salt of 32 bytes
        # (RFC 7518 §3.4, §3.5).
        return verify_signature(signer.public_key, message, signature)
    if not isinstance(signer.public_key, RSAPublicKey):
        return False
    try:
        signer.public_key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
