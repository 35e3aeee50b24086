"""Fuzzes the reading of trust lists, of CMS and of certificate files.

The first byte of an input says what the rest of it is. What has to be signed is signed by
:mod:`fuzz.signing`, with keys that are pinned, so that the code behind the signature is reached.

=========  =====================================================================================
list       any list, as it stands
keys       a DID document whose keys are to be pinned
cms        a CMS as it stands
resigned   a CMS, whose digest and signature are made right
files      a file of DSCs, read with and without anchors, and as a file of anchors
jws        header and payload of a DSC-TL, a line each
gateway    the gateway's items
did        a DID document, or several of which the first refers to the others
entry      the DER of a certificate, which each kind of list holds
=========  =====================================================================================

Held of each input: nothing but a VaxpassError of one printable line comes out of the product; and a
list that is read holds no certificate but those that a pinned key signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from random import Random
from typing import Any

from fuzz.asking import asked, scratch
from fuzz.material import AT, csca, dsc, key
from fuzz.signing import (
    ANCHOR,
    CONTENT,
    RSA_SIGNER,
    SIGNED,
    SIGNER,
    STRANGER,
    UPLOAD,
    fill_kids,
    resigned_cms,
    signed_cms,
    signed_did,
    signed_items,
    signed_jws,
)
from fuzz.trees import Mutate, change_der, change_json
from signed_lists import METHOD, b64, b64url, did_document, did_entry, item, jwk, swedish_payload
from vaxpass_sign.check import TrustStore
from vaxpass_sign.check.cms import check_cms, verify_cms
from vaxpass_sign.check.lists import SignedList, read_did_keys, read_list
from vaxpass_sign.x509 import Certificate, check_issued_by, load_certificates, pem

__all__ = ["KINDS", "mutate", "one", "seeds"]

KINDS = ("list", "keys", "cms", "resigned", "files", "jws", "gateway", "did", "entry")

_PINNED = (ANCHOR, SIGNER, key("did").public_key(), key("rsa").public_key())
_DSC_PEM = pem(dsc("dsc").der)
_DSCS = (dsc("dsc"), dsc("rsa"), dsc("tests", kinds=("t",)))

_known: set[bytes] = set()
"""Certificates that the samples hold; a list that stands in the corpus as it is may give these."""


# --- what is held ---------------------------------------------------------------------------


def one(data: bytes) -> bool:
    """Run one input; whether something was read.

    Raises: AssertionError when something is not as it must be, and whatever the product raises.
    """
    SIGNED.clear()
    kind, rest = KINDS[data[0] % len(KINDS)] if data else "list", data[1:]
    return _RUN[kind](rest)


def _read(data: bytes, documents: tuple[bytes, ...] = ()) -> bool:
    found = asked(read_list, data, _PINNED, AT, documents=documents)
    if found is None:
        return False
    assert isinstance(found, SignedList)
    assert found.signed_by.isprintable()
    ders = {certificate.der for certificate in (*found.dscs, *found.cscas)}
    assert ders <= SIGNED | _known, "a certificate that nobody signed"
    for certificate in (*found.dscs, *found.cscas):
        _show(certificate)
    return True


def _show(certificate: Certificate) -> None:
    for text in (
        certificate.subject,
        certificate.issuer,
        certificate.key_description,
        repr(certificate),
    ):
        assert text.isprintable(), "a certificate's name can't be printed"


def _run_keys(data: bytes) -> bool:
    return asked(read_did_keys, data) is not None


def _run_cms(data: bytes, *, resigned: bool = False) -> bool:
    pinned = [SIGNER, RSA_SIGNER, UPLOAD]
    content = asked(verify_cms, data, pinned)
    signer = asked(check_cms, data, CONTENT, pinned)
    assert resigned or content in (None, CONTENT), "a content that nobody signed"
    assert signer != UPLOAD, "another signer"
    return content is not None or signer is not None


def _run_files(data: bytes) -> bool:
    path = scratch("dscs.pem", data)
    store = asked(TrustStore.load, path)
    anchored = asked(TrustStore.load, path, [csca(), ANCHOR])
    asked(TrustStore.load, scratch("dsc.pem", _DSC_PEM), path)
    if anchored is not None:
        assert anchored.anchored
        for certificate in anchored:
            assert certificate.issuer_der in (csca().subject_der, ANCHOR.subject_der)
    if store is not None:
        for certificate in store:
            _show(certificate)
            assert certificate in store.candidates(certificate.kid)
    return store is not None


def _run_jws(data: bytes) -> bool:
    header, _, payload = data.partition(b"\n")
    try:
        payload = json.dumps(fill_kids(json.loads(payload))).encode()
    except (ValueError, RecursionError):
        pass
    return _read(signed_jws(header, payload))


def _run_gateway(data: bytes) -> bool:
    try:
        data = signed_items(data)
    except (ValueError, RecursionError):
        pass
    return _read(data)


def _run_did(data: bytes) -> bool:
    try:
        found = fill_kids(json.loads(data))
        documents = found if isinstance(found, list) and found else [found]
        first, *others = [signed_did(document) for document in documents]
    except (ValueError, RecursionError):
        return _read(data)
    return _read(first, tuple(others))


def _run_entry(data: bytes) -> bool:
    """A certificate of any form, in lists whose signatures are right."""
    SIGNED.add(data)
    found = asked(load_certificates, data)
    for certificate in found or ():
        _show(certificate)
        for csca_ in (csca(), certificate):
            asked(check_issued_by, certificate, csca_)
    kid, der_text = b64(sha256(data).digest()[:8]), b64(data)
    entry = {"kid": kid, "x5c": [der_text]}
    gateway = [
        {
            "kid": "@",
            "thumbprint": "@",
            "certificateType": kind,
            "signature": "@anchor",
            "rawData": der_text,
        }
        for kind in ("DSC", "CSCA", "UPLOAD")
    ]
    document = _did_sample(
        did_document(did_entry(dsc("dsc"), publicKeyJwk=entry, id=f"did:web:x:DSC#{kid}"))
    )
    answers = [
        _read(signed_items(json.dumps(gateway).encode())),
        _read(signed_jws(_header(), json.dumps(swedish_payload(entry)).encode())),
        _read(signed_did(document)),
    ]
    return any(answers)


_RUN: dict[str, Callable[[bytes], bool]] = {
    "list": _read,
    "keys": _run_keys,
    "cms": _run_cms,
    "resigned": lambda data: _run_cms(resigned_cms(data), resigned=True),
    "files": _run_files,
    "jws": _run_jws,
    "gateway": _run_gateway,
    "did": _run_did,
    "entry": _run_entry,
}


# --- the samples ----------------------------------------------------------------------------


def _header(**changes: object) -> bytes:
    return json.dumps({"alg": "ES256", "x5c": [b64(SIGNER.der)]} | changes).encode()


def _did_sample(
    document: dict[str, Any], alg: str = "ES256", method: str = METHOD
) -> dict[str, Any]:
    head = b64url(json.dumps({"b64": False, "crit": ["b64"], "alg": alg}).encode())
    proof = {
        "type": "JsonWebSignature2020",
        "created": "2026-01-20T00:00:00Z",
        "nonce": "HJHMViRGPVxn7KQP",
        "proofPurpose": "assertionMethod",
        "verificationMethod": method,
        "jws": f"{head}..AAAA",
    }
    return document | {"proof": proof}


def _jwk(certificate: Certificate, **changes: object) -> dict[str, object]:
    return jwk(certificate, kid="@", **changes)


def _item(certificate: Certificate, by: str, kind: str = "DSC") -> dict[str, object]:
    return item(certificate, b"", kind, kid="@", thumbprint="@") | {"signature": by}


def _samples() -> tuple[list[bytes], list[bytes], list[dict[str, Any]]]:
    """Items of the gateway, a JWS in two lines, DID documents."""
    gateways = [
        [_item(UPLOAD, "@anchor", "UPLOAD"), *(_item(one, "@upload") for one in _DSCS[:2])],
        [
            _item(csca(), "@anchor", "CSCA"),
            _item(_DSCS[0], "@anchor"),
            _item(_DSCS[1], "@stranger"),
        ],
        [
            _item(UPLOAD, "@anchor", "UPLOAD"),
            _item(_DSCS[2], "@stranger"),
            _item(_DSCS[0], "@", "OTHER"),
        ],
    ]
    payloads = [
        swedish_payload(*map(_jwk, _DSCS[:2])),
        swedish_payload(_jwk(_DSCS[0], x=None), _jwk(_DSCS[1], x5c=None)),
    ]
    uses = {"domain": "DCC", "participant": "VNM", "keyusage": "DSC"}
    coded = {name: {"code": f"#{code}"} for name, code in uses.items()}
    tng = [*did_document()["@context"], "https://smart.who.int/trust/tng-context/v1.jsonld"]
    one = did_entry(_DSCS[0], publicKeyJwk=_jwk(_DSCS[0]))
    documents = [
        did_document(one, did_entry(csca(), "SCA", publicKeyJwk=_jwk(csca()))),
        did_document(
            did_entry(_DSCS[0], publicKeyJwk=_jwk(_DSCS[0]), **coded), **{"@context": tng}
        ),
        did_document("did:web:lists.example:other", id="did:web:lists.example:first"),
        did_document(one, id="did:web:lists.example:other"),
        did_document(one, one | {"controller": "did:web:x"}, id="did:web:x"),
    ]
    return (
        [json.dumps(some).encode() for some in gateways],
        [_header() + b"\n" + json.dumps(some).encode() for some in payloads],
        [
            *(_did_sample(some) for some in documents),
            _did_sample(documents[0], "PS256"),
            _did_sample(documents[0], method=f"{METHOD}:DER"),
        ],
    )


def seeds() -> list[bytes]:
    """Inputs to begin with, of every kind."""
    gateways, jwss, documents = _samples()
    texts = [json.dumps(document).encode() for document in documents]
    header, payload = jwss[0].split(b"\n")
    whole = [
        signed_items(gateways[0]),
        signed_did(fill_kids(json.loads(texts[0]))),
        signed_jws(header, json.dumps(fill_kids(json.loads(payload))).encode()),
    ]
    keys = json.dumps({"verificationMethod": [{"publicKeyJwk": jwk(one)} for one in _DSCS[:2]]})
    messages = [
        signed_cms(CONTENT, "signer", SIGNER),
        signed_cms(CONTENT, "signer", SIGNER, enclosed=False),
        signed_cms(CONTENT, "signer", SIGNER, by_key_id=True),
        signed_cms(CONTENT, "rsa", RSA_SIGNER),
        signed_cms(CONTENT, "rsa", RSA_SIGNER, pkcs1=True),
        signed_cms(CONTENT, "stranger", STRANGER),
    ]
    files = [
        pem(_DSCS[0].der),
        pem(_DSCS[1].der) + pem(csca().der),
        _DSCS[0].der,
        b"no certificate",
        b"",
    ]
    rsa, ended = [b64(RSA_SIGNER.der)], [b64(dsc("signer", issuer="anchor", days=1).der)]
    headers = [
        _header(alg="RS256"),
        _header(crit=["b64"]),
        *(_header(x5c=[b64(one.der)]) for one in (STRANGER, ANCHOR)),
        *(_header(alg=alg, x5c=rsa) for alg in ("RS256", "PS256")),
        _header(x5c=ended),
    ]
    return [
        *(b"\0" + some for some in (*whole, b"[]", b"{}", b"ey.", b"[[[[")),
        b"\1" + keys.encode(),
        *(b"\2" + some for some in messages),
        *(b"\3" + some for some in messages[:2]),
        *(b"\4" + some for some in files),
        *(b"\5" + some for some in jwss),
        *(b"\5" + some + b"\n" + payload for some in headers),
        *(b"\6" + some for some in gateways),
        *(b"\7" + some for some in texts),
        b"\7" + json.dumps(documents[2:4]).encode(),
        *(b"\10" + some.der for some in (*_DSCS, csca(), UPLOAD)),
    ]


_known.update(some.der for some in (*_DSCS, csca(), ANCHOR, SIGNER, UPLOAD))


def mutate(data: bytes, rng: Random, by_bytes: Mutate) -> bytes | None:
    """An input with a changed tree; None where bytes are to be changed."""
    kind, head, rest = KINDS[data[0] % len(KINDS)], data[:1], data[1:]
    if kind in ("cms", "resigned", "entry"):
        changed = change_der(rest, rng, by_bytes)
    elif kind == "files":
        changed = change_der(rest, rng, by_bytes) if rest[:1] == b"\x30" else None
    elif kind == "jws":
        header, _, payload = rest.partition(b"\n")
        if rng.randrange(3) == 0:
            header = change_json(header, rng, by_bytes) or header
        else:
            payload = change_json(payload, rng, by_bytes) or payload
        changed = header.replace(b"\n", b" ") + b"\n" + payload
    else:
        changed = change_json(rest, rng, by_bytes)
    return None if changed is None else head + changed
