"""CMS SignedData (RFC 5652) over bytes that the caller has, checked against pinned certificates.

The certificates inside of the CMS are not looked at: who signed is found among the pinned ones by
the signer identifier, so that nothing unsigned chooses a key.

>>> check_cms(b"", b"", [])
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the CMS signature can't be read or uses something else than ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate
from vaxpass_sign.x509.signature import SHA2, check_signature

__all__ = ["MAX_SIGNATURE_BYTES", "UnknownSignerError", "check_cms"]

# What asn1crypto was seen to raise on damaged input.
_PARSE_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    UnsupportedAlgorithm,
)


MAX_SIGNATURE_BYTES: Final = 64 * 1024
"""Bytes of a CMS; with the certificates that some signers put inside it has a few thousand."""


class UnknownSignerError(TrustError):
    """A CMS names a signer that is none of the pinned ones."""


def check_cms(der: bytes, content: bytes, signers: Iterable[Certificate]) -> Certificate:
    """The pinned certificate whose key signed ``content``.

    1. The CMS is SignedData with exactly one SignerInfo, and what is signed is plain data (§5.1).
    2. The signer identifier is that of one of ``signers`` (§5.3).
    3. Content that the CMS encloses is ``content``, byte for byte (§5.2); it may be detached.
    4. Signed attributes, where there are any, hold the content type (§11.1) and the digest of
       ``content`` (§11.2), each exactly once with one value.
    5. The signer's key signed the attributes, or without any the content (§5.4): ECDSA, PKCS #1
       v1.5 or PSS, with SHA-256, -384 or -512; RSA of at least 2048 bits.

    The signer's validity is not judged: the entry may well have been signed long ago, and whom the
    caller pins is pinned.

    Raises: UnknownSignerError when step 2 fails; TrustError for every other step, and for a CMS of
        more than MAX_SIGNATURE_BYTES.
    """
    from asn1crypto import cms

    try:
        if len(der) > MAX_SIGNATURE_BYTES:
            raise ValueError("too long for one signature")
        info = cms.ContentInfo.load(der, strict=True)
        if info["content_type"].native != "signed_data":
            raise ValueError("another content type")
        signed = info["content"]
        encapsulated = signed["encap_content_info"]
        (signer_info,) = signed["signer_infos"]  # 1
        if encapsulated["content_type"].native != "data":
            raise ValueError("another content type inside")
        signer = _find_signer(signer_info["sid"], signers)  # 2
        enclosed = encapsulated["content"]
        if enclosed.native is not None and bytes(enclosed) != content:  # 3
            raise TrustError(
                "the CMS signature was made over other bytes than those of the entry: the list "
                "was altered, do not use it"
            )
        message = _signed_bytes(signer_info, content)  # 4
        _check_signature(signer, signer_info, message)  # 5
    except _PARSE_ERRORS as error:
        raise TrustError(
            "the CMS signature can't be read or uses something else than ECDSA, PKCS #1 v1.5 or "
            "PSS with SHA-2 and one signer: get the list again from its publisher"
        ) from error
    return signer


def _find_signer(sid: Any, signers: Iterable[Certificate]) -> Certificate:
    if sid.name == "issuer_and_serial_number":
        issuer, serial = sid.chosen["issuer"].dump(), sid.chosen["serial_number"].native
        for signer in signers:
            if signer.serial == serial and signer.issuer_der == issuer:
                return signer
    else:
        for signer in signers:
            if signer.ski is not None and signer.ski == sid.chosen.native:
                return signer
    raise UnknownSignerError(
        "the CMS signature names a signer that is none of the anchors: give the certificate of "
        "the gateway's trust anchor or of the country's upload key"
    )


def _signed_bytes(signer_info: Any, content: bytes) -> bytes:
    from asn1crypto import cms

    attributes = signer_info["signed_attrs"]
    # Not asked for their values: all that is nested in attributes of any kind would be built.
    if not isinstance(attributes, cms.CMSAttributes):
        return content
    digest = hashlib.new(_hash_name(signer_info), content).digest()
    expected: dict[str, Any] = {"content_type": "data", "message_digest": digest}
    found: dict[str, list[Any]] = {name: [] for name in expected}
    for attribute in attributes:
        name = attribute["type"].native
        if name in found:
            found[name] += attribute["values"].native
    if found["content_type"] != ["data"]:
        raise ValueError("no content type among the signed attributes, or another one")
    if len(found["message_digest"]) != 1:
        raise ValueError("no message digest among the signed attributes, or several")
    if found["message_digest"] != [digest]:
        raise TrustError(
            "the CMS signature was made over other bytes than those of the entry (another message "
            "digest): the list was altered, do not use it"
        )
    # §5.4: what is signed is the SET OF itself and not its implicit tag [0].
    signed: bytes = attributes.untag().dump()
    return signed


def _hash_name(signer_info: Any) -> str:
    name: str = signer_info["digest_algorithm"]["algorithm"].native
    if name not in SHA2:
        raise ValueError("a digest that is not SHA-256, SHA-384 or SHA-512")
    return name


def _check_signature(signer: Certificate, signer_info: Any, message: bytes) -> None:
    algorithm, name = signer_info["signature_algorithm"], _hash_name(signer_info)
    # rsaEncryption names no hash (RFC 3370 §3.2), the others must name the same one.
    plain_rsa = algorithm["algorithm"].native == "rsassa_pkcs1v15"
    if not plain_rsa and algorithm.hash_algo != name:
        raise ValueError("two different hashes")
    try:
        check_signature(
            signer.public_key, algorithm, name, signer_info["signature"].native, message
        )
    except InvalidSignature as error:
        raise TrustError(
            f"the CMS signature does not verify with the key of {signer.subject}: the list was "
            "altered, do not use it"
        ) from error
