"""Whether a CMS message (RFC 5652 SignedData) was signed by a certificate that is pinned.

What is accepted, and nothing else: the content inside, exactly one signer, SHA-256, SHA-384 or
SHA-512, signed attributes, ECDSA, PKCS #1 v1.5 or PSS. Certificates inside of the message are never
believed: the signer must be among the anchors, which the caller has pinned. Whether an anchor is
valid at the moment is left to the caller.

>>> verify_cms(b"", [])
Traceback (most recent call last):
...
vaxpass_sign.errors.TrustError: CMS: found something that is no SignedData, expected ...
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import Certificate
from vaxpass_sign.x509.signature import SHA2, check_signature

__all__ = ["MAX_CMS_BYTES", "verify_cms", "verify_cms_signer"]

MAX_CMS_BYTES: Final = 512 * 1024
"""Bytes of a message at most. A batch has 256 KiB at most, a signature with its certificates a few;
and what is taken apart before the signature is checked may take a second for a megabyte."""


def verify_cms(data: bytes, anchors: Iterable[Certificate]) -> bytes:
    """The content of a message that one of the anchors signed; ``data`` is DER or BER.

    Raises: TrustError when none of them did, or it is no message of the form above.
    """
    return verify_cms_signer(data, anchors)[0]


def verify_cms_signer(data: bytes, anchors: Iterable[Certificate]) -> tuple[bytes, Certificate]:
    """The content, and the anchor that signed it.

    1. The message is one SignedData of content type data, and nothing follows it.
    2. It has one signer.
    3. The signer has signed attributes: contentType and messageDigest, each once (§11). Without
       them, the attributes of another message could pass as content.
    4. contentType is the content's, messageDigest its digest (§5.4).
    5. The signer's certificate is an anchor, by issuer and serial number or key identifier, which
       may sign (RFC 5280 §4.2.1.3).
    6. That anchor's key signed the attributes.

    Raises: TrustError that says which step failed.
    """
    if len(data) > MAX_CMS_BYTES:
        raise _refused(f"{len(data)} bytes", f"at most {MAX_CMS_BYTES}")
    try:
        return _verify(data, tuple(anchors))
    except TrustError:
        raise
    # asn1crypto parses late, and raises these for what it can't read; cryptography for keys and
    # algorithms that it can't use. RecursionError: nested values, thousands deep.
    except (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError),
        *(RecursionError, UnsupportedAlgorithm),
    ) as error:
        raise _refused("something that is no SignedData", "a message (RFC 5652)") from error


def _verify(data: bytes, anchors: tuple[Certificate, ...]) -> tuple[bytes, Certificate]:
    from asn1crypto import cms, core

    message = cms.ContentInfo.load(data, strict=True)  # 1
    if message["content_type"].native != "signed_data":
        raise _refused("another kind of message", "SignedData")
    signed = message["content"]
    encapsulated = signed["encap_content_info"]
    # The type first: of another one, all that is nested in the content would be built.
    is_data = encapsulated["content_type"].native == "data"
    if not is_data or not isinstance(encapsulated["content"], core.OctetString):
        raise _refused("no content of type data inside", "the content that is signed")
    content = encapsulated["content"].native
    if len(signed["signer_infos"]) != 1:  # 2
        raise _refused(f"{len(signed['signer_infos'])} signers", "exactly one")
    [signer] = signed["signer_infos"]
    hash_class = SHA2.get(signer["digest_algorithm"]["algorithm"].native)
    if hash_class is None:
        raise _refused("another digest", ", ".join(SHA2))
    attributes = signer["signed_attrs"]  # 3
    if not isinstance(attributes, cms.CMSAttributes) or not len(attributes):
        raise _refused("no signed attributes", "contentType and messageDigest")
    if _only(attributes, "content_type") != "data":  # 4
        raise _refused("a contentType that is not the content's", "data")
    if _only(attributes, "message_digest") != _digest(content, hash_class):
        raise _refused("another content than was signed", "that of messageDigest: do not use it")
    # What is signed is the attributes as a SET OF, not with the tag that they have here (§5.4).
    signed_bytes = attributes.untag().dump()
    named = False
    for anchor in _named(anchors, signer["sid"]):  # 5
        named = True
        if _signed_by(anchor, signer, signed_bytes, hash_class):  # 6
            return content, anchor
    if named:
        raise _refused("a signature that is not the pinned certificate's", "its own: do not use it")
    raise _refused("a signer that is not pinned", f"one of the {len(anchors)} pinned certificates")


def _only(attributes: Any, name: str) -> Any:
    """The one value of an attribute that stands there once (RFC 5652 §11)."""
    found = [attribute for attribute in attributes if attribute["type"].native == name]
    if len(found) != 1 or len(found[0]["values"]) != 1:
        raise _refused(f"not exactly one {name} attribute", "one with one value")
    return found[0]["values"][0].native


def _digest(content: bytes, hash_class: type[hashes.HashAlgorithm]) -> bytes:
    digest = hashes.Hash(hash_class())
    digest.update(content)
    return digest.finalize()


def _named(anchors: Iterable[Certificate], sid: Any) -> Iterator[Certificate]:
    """The anchors that a signer identifier names and that may sign."""
    for anchor in anchors:
        if sid.name == "issuer_and_serial_number":
            is_named = (
                sid.chosen["issuer"].dump() == anchor.issuer_der
                and sid.chosen["serial_number"].native == anchor.serial
            )
        else:
            is_named = anchor.ski is not None and sid.chosen.native == anchor.ski
        if is_named and (anchor.key_usage is None or "digitalSignature" in anchor.key_usage):
            yield anchor


def _signed_by(
    anchor: Certificate, signer: Any, signed: bytes, hash_class: type[hashes.HashAlgorithm]
) -> bool:
    algorithm, name = signer["signature_algorithm"], hash_class().name
    # "rsaEncryption" names no hash: then it is the digest's (RFC 3370 §3.2).
    named = algorithm["algorithm"].native
    if named != "rsassa_pkcs1v15" and algorithm.hash_algo != name:
        raise ValueError("two different hashes")
    try:
        check_signature(anchor.public_key, algorithm, name, signer["signature"].native, signed)
    except InvalidSignature:
        return False
    return True


def _refused(found: str, expected: str) -> TrustError:
    return TrustError(f"CMS: found {found}, expected {expected}; get the message again")
