"""Signed messages around what is fuzzed: CMS, JWS, the gateway's items, DID documents.

A text "@" in a list stands for what belongs there (a kid, a thumbprint), and "@anchor", "@upload"
and "@stranger" for a signature.

>>> dump = signed_items(b'[{"rawData": "AAAA", "kid": "@"}]')
>>> json.loads(dump)[0]["kid"]
'cJ6AyISHokE='
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from fuzz.material import csca, dsc, sign, sign_der, sign_pkcs1
from fuzz.trees import der, dump_der, load_der
from signed_lists import b64, b64url
from vaxpass_sign.check.lists.did_proof import read_proof, read_statements
from vaxpass_sign.errors import TrustError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509 import Certificate
from vaxpass_sign.x509.draft import algorithm_identifier

__all__ = [
    "ANCHOR",
    "CONTENT",
    "RSA_SIGNER",
    "SIGNED",
    "SIGNER",
    "STRANGER",
    "UPLOAD",
    "fill_kids",
    "resigned_cms",
    "signed_cms",
    "signed_did",
    "signed_items",
    "signed_jws",
]

ANCHOR = csca("anchor")
SIGNER = dsc("signer", issuer="anchor")
RSA_SIGNER = dsc("rsa", issuer="anchor")
UPLOAD = dsc("upload", issuer="anchor")
STRANGER = dsc("stranger")
CONTENT = b"what is signed"
"""What a CMS is signed over, unless its content is inside."""

SIGNED: set[bytes] = set()
"""The certificates that a pinned key signed for this input; whoever runs one clears it."""

_SIGNERS = {
    "@anchor": ("anchor", ANCHOR),
    "@upload": ("upload", UPLOAD),
    "@stranger": ("stranger", STRANGER),
}


_OID = {
    "data": der(6, bytes.fromhex("2a864886f70d010701")),
    "signed_data": der(6, bytes.fromhex("2a864886f70d010702")),
    "content_type": der(6, bytes.fromhex("2a864886f70d010903")),
    "message_digest": der(6, bytes.fromhex("2a864886f70d010904")),
    "sha256": der(6, bytes.fromhex("608648016503040201")),
}
_ALGORITHMS = {
    "ecdsa": algorithm_identifier(Alg.ES256).dump(),
    "pss": algorithm_identifier(Alg.PS256).dump(),
    "pkcs1": der(0x30, der(6, bytes.fromhex("2a864886f70d010101")), der(5)),
}


def signed_cms(
    content: bytes,
    name: str,
    certificate: Certificate,
    *,
    enclosed: bool = True,
    by_key_id: bool = False,
    pkcs1: bool = False,
) -> bytes:
    """SignedData (RFC 5652) by the key of a name, in DER."""
    digest = der(0x30, _OID["sha256"])
    attributes = der(0x30, _OID["content_type"], der(0x31, _OID["data"]))
    attributes += der(0x30, _OID["message_digest"], der(0x31, der(4, sha256(content).digest())))
    serial = certificate.serial.to_bytes(certificate.serial.bit_length() // 8 + 1, "big")
    sid = der(0x30, certificate.issuer_der, der(2, serial))
    if by_key_id:
        sid = der(0x80, certificate.ski or b"")
    signed = der(0x31, attributes)
    algorithm = "ecdsa" if name != "rsa" else "pkcs1" if pkcs1 else "pss"
    info = der(
        0x30,
        der(2, b"\3" if by_key_id else b"\1"),
        sid,
        digest,
        der(0xA0, attributes),
        _ALGORITHMS[algorithm],
        der(4, sign_pkcs1(signed) if algorithm == "pkcs1" else sign_der(name, signed)),
    )
    inside = der(0xA0, der(4, content)) if enclosed else b""
    parts = (der(2, b"\1"), der(0x31, digest), der(0x30, _OID["data"], inside), der(0x31, info))
    return der(0x30, _OID["signed_data"], der(0xA0, der(0x30, *parts)))


def resigned_cms(data: bytes) -> bytes:
    """A CMS whose digest and signature are made right, where it has the form for that."""
    try:
        values = load_der(data)
        signed = values[0][1][1][1][0][1]
        content = signed[2][1][1][1][0][1] if len(signed[2][1]) > 1 else CONTENT
        info = next(inner for tag, inner in signed if tag == 0x31 and len(inner[0][1]) > 3)[0][1]
        attributes = next(value for value in info if value[0] == 0xA0)
        for attribute in attributes[1]:
            if der(6, attribute[1][0][1]) == _OID["message_digest"]:
                attribute[1][1][1][0][1] = sha256(content).digest()
        info[-1 if info[-1][0] == 4 else -2][1] = sign_der(
            "signer", der(0x31, dump_der(attributes[1]))
        )
        return dump_der(values)
    except (ValueError, TypeError, IndexError, StopIteration):
        return data


def signed_jws(header: bytes, payload: bytes) -> bytes:
    """A compact JWS (RFC 7515) of whatever header and payload, by the key that its x5c names."""
    message = f"{b64url(header)}.{b64url(payload)}"
    is_rsa = b64(RSA_SIGNER.der).encode() in header
    if is_rsa and b"RS256" in header:
        signature = sign_pkcs1(message.encode())
    else:
        signature = sign("rsa" if is_rsa else "signer", message.encode())
    return f"{message}.{b64url(signature)}".encode()


def signed_items(data: bytes) -> bytes:
    """The gateway's items with everything that an "@" stands for."""
    found = json.loads(data)
    for entry in found if isinstance(found, list) else ():
        if isinstance(entry, dict):
            _fill_item(entry)
    return json.dumps(found).encode()


def _fill_item(entry: dict[str, Any]) -> None:
    raw = _decoded(entry.get("rawData"))
    if entry.get("kid") == "@":
        entry["kid"] = b64(sha256(raw).digest()[:8])
    if entry.get("thumbprint") == "@":
        entry["thumbprint"] = sha256(raw).hexdigest()
    signature = entry.get("signature")
    if isinstance(signature, str) and signature in _SIGNERS:
        name, certificate = _SIGNERS[signature]
        if name != "stranger":
            SIGNED.add(raw)
        entry["signature"] = b64(signed_cms(raw, name, certificate))


def signed_did(document: Any) -> bytes:
    """A DID document with its proof made right, where it has the form for that."""
    try:
        statements, proof = read_statements(document), read_proof(document)
    except (TrustError, AttributeError):
        return json.dumps(document).encode()
    head = document["proof"]["jws"].partition("..")[0]
    name = "rsa" if proof.alg == "PS256" else "did"
    # DER, as WHO's signer writes it, or as JOSE wants it.
    make = sign_der if "DER" in proof.method else sign
    jws = f"{head}..{b64url(make(name, proof.message(statements)))}"
    return json.dumps(document | {"proof": document["proof"] | {"jws": jws}}).encode()


def fill_kids(value: Any) -> Any:
    """The same value, in which each JWK whose kid was "@" has that of its certificate."""
    waiting = [value]
    for found in waiting:
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            waiting += found.values()
            chain = found.get("x5c")
            if isinstance(chain, list) and chain:
                raw = _decoded(chain[0])
                SIGNED.add(raw)
                if found.get("kid") == "@":
                    found["kid"] = b64(sha256(raw).digest()[:8])
    return value


def _decoded(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return b""
