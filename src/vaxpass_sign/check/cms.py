"""Whether a CMS message (RFC 5652 SignedData) was signed by a certificate that is pinned.

What is accepted, and nothing else: content of type data, exactly one signer, SHA-256, SHA-384 or
SHA-512, ECDSA, PKCS #1 v1.5 or PSS. Certificates inside of the message are never looked at: who
signed is found among the pinned ones by the signer identifier, so that nothing unsigned chooses a
key. Whether a pinned certificate is valid at the moment is left to the caller.

There are two ways in. :func:`verify_cms` reads a message that holds its content, as a revocation
batch does, and wants signed attributes. :func:`check_cms` is for content that the caller has, such
as an entry of the EU gateway's trust list: there signatures are detached, and attributes optional.

>>> verify_cms(b"", [])
Traceback (most recent call last):
...
vaxpass_sign.errors.TrustError: the CMS signature can't be read or uses something else than ...
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from vaxpass_sign.errors import TrustError, TrustFault
from vaxpass_sign.x509 import Certificate
from vaxpass_sign.x509.signature import SHA2, check_signature

__all__ = [
    "MAX_CMS_BYTES",
    "UnknownSignerError",
    "check_cms",
    "verify_cms",
    "verify_cms_signer",
]

MAX_CMS_BYTES: Final = 512 * 1024
"""Bytes of a message at most. A batch has 256 KiB at most, a signature with its certificates a few;
and what is taken apart before the signature is checked may take a second for a megabyte."""

# What is read of these before the signature takes 100 times their bytes. A certificate with a CMS
# of openssl's over it takes 4 KB, who signed it less than 1 KB of that.
_MAX_DETACHED_BYTES: Final = 256 * 1024
_MAX_SIGNER_BYTES: Final = 64 * 1024

# asn1crypto parses late, and was seen to raise these for what it can't read; cryptography for keys
# and algorithms that it can't use. RecursionError: nested values, thousands deep.
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


class UnknownSignerError(TrustError):
    """A CMS names a signer that is none of the pinned ones."""


def verify_cms(data: bytes, anchors: Iterable[Certificate]) -> bytes:
    """The content of a message that one of the anchors signed; ``data`` is DER or BER.

    Raises: TrustError when none of them did, or it is no message of the form above.
    """
    return verify_cms_signer(data, anchors)[0]


def verify_cms_signer(data: bytes, anchors: Iterable[Certificate]) -> tuple[bytes, Certificate]:
    """The content, and the anchor that signed it.

    1. The message is one SignedData with one signer and content of type data (§5.1), and nothing
       follows it.
    2. The signer identifier is that of an anchor (§5.3), which may sign (RFC 5280 §4.2.1.3).
    3. The content is inside (§5.2).
    4. There are signed attributes: the content type (§11.1) and the content's digest (§11.2), each
       exactly once with one value. Without them the attributes of another message could pass as
       content.
    5. The anchor's key signed the attributes (§5.4): RSA keys have at least 2048 bits.

    Raises: UnknownSignerError when step 2 fails; TrustError for every other step.
    """
    with _as_trust_error():
        content, info = _open(data, MAX_CMS_BYTES)  # 1
        named = _named(info, [anchor for anchor in anchors if _may_sign(anchor)])  # 2
        if content is None:  # 3
            raise _form("no content inside")
        attributes = _signed_attributes(info, content)  # 4
        if attributes is None:
            raise _form("no signed attributes")
        return content, _signer(info, attributes, named)  # 5


def check_cms(der: bytes, content: bytes, signers: Iterable[Certificate]) -> Certificate:
    """The pinned certificate whose key signed ``content``.

    1. As step 1 of :func:`verify_cms_signer`.
    2. The signer identifier is that of one of ``signers``. Its key usage is not asked: a trust
       anchor may be a CA.
    3. Content that the message encloses is ``content``, byte for byte; it may be detached (§5.2).
    4. Signed attributes, where there are any, are as there; else the content itself is what is
       signed (§5.4). The caller must see that it is a certificate, for which no attributes pass.
    5. The signer's key signed the attributes or the content, as there.

    Raises: UnknownSignerError when step 2 fails; TrustError for every other step.
    """
    with _as_trust_error():
        enclosed, info = _open(der, _MAX_DETACHED_BYTES)  # 1
        named = _named(info, signers)  # 2
        if enclosed is not None and enclosed != content:  # 3
            raise _other_bytes("the content inside")
        attributes = _signed_attributes(info, content)  # 4
        return _signer(info, content if attributes is None else attributes, named)  # 5


@contextmanager
def _as_trust_error() -> Iterator[None]:
    try:
        yield
    except _PARSE_ERRORS as error:
        raise _form("something that is no SignedData") from error


def _open(data: bytes, max_bytes: int) -> tuple[bytes | None, Any]:
    """The content, None when it is detached, and the one SignerInfo."""
    from asn1crypto import cms, core

    if len(data) > max_bytes:
        raise _form(f"{len(data)} bytes, at most {max_bytes}")
    message = cms.ContentInfo.load(data, strict=True)
    if message["content_type"].native != "signed_data":
        raise _form("another kind of message")
    signed = message["content"]
    encapsulated = signed["encap_content_info"]
    # The type first: of another one, all that is nested in the content would be built.
    is_data = encapsulated["content_type"].native == "data"
    if not is_data or not isinstance(encapsulated["content"], core.OctetString | core.Void):
        raise _form("content that is not of type data")
    content: bytes | None = encapsulated["content"].native
    if (size := len(signed["signer_infos"].contents)) > _MAX_SIGNER_BYTES:
        raise _form(f"{size} bytes about the signer, at most {_MAX_SIGNER_BYTES}")
    if len(signed["signer_infos"]) != 1:
        raise _form(f"{len(signed['signer_infos'])} signers")
    [info] = signed["signer_infos"]
    return content, info


def _signed_attributes(info: Any, content: bytes) -> bytes | None:
    """What is signed when there are signed attributes, which speak of ``content``; else None."""
    from asn1crypto import cms

    attributes = info["signed_attrs"]
    if not isinstance(attributes, cms.CMSAttributes):
        return None
    if _only(attributes, "content_type") != "data":
        raise _form("another content type among the signed attributes")
    if _only(attributes, "message_digest") != hashlib.new(_hash_name(info), content).digest():
        raise _other_bytes("another message digest")
    # §5.4: what is signed is the SET OF itself and not its implicit tag [0].
    signed: bytes = attributes.untag().dump()
    return signed


def _only(attributes: Any, name: str) -> Any:
    """The one value of an attribute that stands there once (§11)."""
    found = [attribute for attribute in attributes if attribute["type"].native == name]
    if len(found) != 1 or len(found[0]["values"]) != 1:
        raise _form(f"not exactly one {name} with one value among the signed attributes")
    return found[0]["values"][0].native


def _hash_name(info: Any) -> str:
    name: str = info["digest_algorithm"]["algorithm"].native
    if name not in SHA2:
        raise _form("another digest")
    return name


def _named(info: Any, pinned: Iterable[Certificate]) -> list[Certificate]:
    """The pinned certificates that the signer identifier names, at least one."""
    certificates = list(pinned)
    named = [certificate for certificate in certificates if _is_named(certificate, info["sid"])]
    if not named:
        raise UnknownSignerError(
            "the CMS signature names a signer that is not pinned, expected one of the "
            f"{len(certificates)} certificates that may sign: give the signer's own (--anchor)",
            TrustFault.UNKNOWN_SIGNER,
        )
    return named


def _signer(info: Any, signed: bytes, named: list[Certificate]) -> Certificate:
    """The one of them whose key signed."""
    for certificate in named:
        if _signed_by(certificate, info, signed):
            return certificate
    raise TrustError(
        f"the CMS signature does not verify with the key of {named[0].subject}, so it is not the "
        "pinned certificate's: what it signs was altered, do not use it",
        TrustFault.ALTERED,
    )


def _is_named(certificate: Certificate, sid: Any) -> bool:
    if sid.name == "issuer_and_serial_number":
        issuer, serial = sid.chosen["issuer"].dump(), sid.chosen["serial_number"].native
        return bool(certificate.serial == serial and certificate.issuer_der == issuer)
    return certificate.ski is not None and bool(certificate.ski == sid.chosen.native)


def _may_sign(certificate: Certificate) -> bool:
    return certificate.key_usage is None or "digitalSignature" in certificate.key_usage


def _signed_by(certificate: Certificate, info: Any, signed: bytes) -> bool:
    algorithm, name = info["signature_algorithm"], _hash_name(info)
    # "rsaEncryption" names no hash: then it is the digest's (RFC 3370 §3.2). Others name the same.
    plain_rsa = algorithm["algorithm"].native == "rsassa_pkcs1v15"
    if not plain_rsa and algorithm.hash_algo != name:
        raise _form("two different hashes")
    try:
        check_signature(certificate.public_key, algorithm, name, info["signature"].native, signed)
    except InvalidSignature:
        return False
    return True


def _form(found: str) -> TrustError:
    return TrustError(
        "the CMS signature can't be read or uses something else than ECDSA, PKCS #1 v1.5 or PSS "
        f"with SHA-2 and one signer: found {found}; get it again from its publisher"
    )


def _other_bytes(found: str) -> TrustError:
    return TrustError(
        f"the CMS signature was made over other bytes than those that it comes with ({found}): "
        "they were altered, do not use them",
        TrustFault.ALTERED,
    )
