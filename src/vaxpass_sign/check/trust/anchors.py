"""Anchors: the certificates and keys that an operator pins, from files that came in another way.

A file holds certificates (PEM or DER; a bundle in PEM), bare public keys (PEM), or the keys of a
DID document, as WHO publishes its signing key. It is believed as it stands.

>>> parse_anchors(b"-----BEGIN PRIVATE KEY-----")
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: found other PEM blocks, expected a certificate; ...
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from vaxpass_sign.check.lists.gdhcn import read_did_keys
from vaxpass_sign.check.lists.reading import as_object, decode_base64, parse_json
from vaxpass_sign.check.lists.result import Anchor
from vaxpass_sign.check.trust.files import certificate_files, read_file
from vaxpass_sign.errors import CertificateError, TrustError
from vaxpass_sign.x509 import Certificate, PublicKey, load_certificates

__all__ = [
    "MAX_ANCHORS",
    "anchor_from_json",
    "anchor_to_json",
    "certificates_of",
    "parse_anchors",
    "read_anchors",
]

MAX_ANCHORS: Final = 1000
"""Anchors that a source may have: the EU's has one, and the CSCAs of all countries are hundreds."""

_KEY_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----", re.ASCII)
_KEY_BEGIN = b"-----BEGIN PUBLIC KEY-----"
_CERTIFICATE_BEGIN = b"-----BEGIN CERTIFICATE-----"


def read_anchors(anchors: str | PathLike[str] | Iterable[Anchor | Path]) -> list[Anchor]:
    """Every anchor of a file or folder; those of an iterable, in which there may be files too.

    Raises: TrustError that names the file which can't be read or holds something else.
    """
    found: list[Anchor] = []
    for anchor in [anchors] if isinstance(anchors, str | PathLike) else anchors:
        if isinstance(anchor, str | PathLike):
            if not str(
                anchor
            ):  # an unset variable, most often; Path("") is the folder that we are in
                raise TrustError(
                    "found an empty path, expected a file or folder of anchors: name one"
                )
            found += _read(Path(anchor))
        else:
            found.append(anchor)
        if len(found) > MAX_ANCHORS:
            raise TrustError(f"found more than {MAX_ANCHORS} anchors: give those that are needed")
    return found


def parse_anchors(data: bytes) -> list[Anchor]:
    """The anchors that a file's bytes hold, at least one.

    Raises: TrustError when there is none, one can't be read, or it is a list with a proof: a list's
    keys sign credentials, and pinning them would let each of them sign lists.
    """
    if data.lstrip(b" \t\r\n")[:1] == b"{":
        if "proof" in as_object(parse_json(data, "the anchor"), "the anchor"):
            raise TrustError(
                "found a DID document with a proof, which is a trust list, expected the document "
                "of its signer's keys: give that as the anchor"
            )
        return list(read_did_keys(data))
    found: list[Anchor] = []
    blocks = _KEY_BLOCK.findall(data)
    if len(blocks) != data.count(_KEY_BEGIN):
        raise TrustError("a PEM block of a public key has no end: copy the file again, whole")
    found += [_public_key(block) for block in blocks]
    if not found or _CERTIFICATE_BEGIN in data:
        try:
            found += load_certificates(data)
        except CertificateError as error:
            raise TrustError(str(error)) from error
    return found


def certificates_of(anchors: Iterable[Anchor], source: object) -> list[Certificate]:
    """The anchors that can be CSCAs of DSCs, at least one.

    Raises: TrustError when all of them are bare keys.
    """
    found = [anchor for anchor in anchors if isinstance(anchor, Certificate)]
    if not found:
        raise TrustError(
            f"{source}: found no certificate among the anchors, expected the CSCA that issued the "
            "DSCs: a bare key can only anchor a signed list"
        )
    return found


def anchor_to_json(anchor: Anchor) -> dict[str, str]:
    """An anchor as a kept list holds it: ``{"certificate": …}`` or ``{"public_key": …}``."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if isinstance(anchor, Certificate):
        return {"certificate": base64.b64encode(anchor.der).decode()}
    der = anchor.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {"public_key": base64.b64encode(der).decode()}


def anchor_from_json(value: Any) -> Anchor:
    """The other way. Raises: TrustError."""
    [(kind, text), *more] = as_object(value, "an anchor").items() or [("", "")]
    der = decode_base64(text, "an anchor")
    if more or kind not in ("certificate", "public_key"):
        raise TrustError("an anchor is neither a certificate nor a public_key: add the list anew")
    if kind == "public_key":
        return _public_key(der)
    try:
        return Certificate.from_bytes(der)
    except CertificateError as error:
        raise TrustError(f"an anchor: {error}") from error


def _read(path: Path) -> list[Anchor]:
    files = certificate_files(path, "anchor") if path.is_dir() else [path]
    found: list[Anchor] = []
    for file in files:
        data = read_file(file, "an anchor in PEM or DER")
        try:
            found += parse_anchors(data)
        except TrustError as error:
            raise TrustError(f"{file}: {error}") from error
    return found


def _public_key(data: bytes) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import (
        load_der_public_key,
        load_pem_public_key,
    )

    load = load_pem_public_key if data.startswith(b"-----") else load_der_public_key
    try:
        key = load(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TrustError("a public key can't be read: copy the file again, whole") from error
    if not isinstance(key, EllipticCurvePublicKey | RSAPublicKey):
        raise TrustError("found a public key that is neither EC nor RSA: pin another")
    return key
