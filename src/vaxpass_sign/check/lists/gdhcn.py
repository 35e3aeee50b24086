"""WHO's GDHCN trust list: a DID document, version 2, with keys in it or references to others.

A key is a JsonWebKey2020 whose JWK carries its certificate; its id ends in the kid, ``did:web:…:
<domain>:<participant>:<use>#<kid>``. What a key is for is read from keyusage where the proof covers
it, else from the id; see :mod:`vaxpass_sign.check.lists.did_proof` for what the proof covers.

A reference is the DID of another document. It is looked up among the documents that the caller
gives, each of which must have a proof of its own by the same anchors; nothing is ever fetched.

>>> from datetime import UTC, datetime
>>> read_gdhcn(b'{"id": "did:web:who.example"}', [], datetime(2026, 1, 1, tzinfo=UTC))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: no anchor was given for the DID document, ...
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from vaxpass_sign.check.lists.did_proof import Entry, Proof, Statements, read_proof, read_statements
from vaxpass_sign.check.lists.jwk import certificate_of, key_of
from vaxpass_sign.check.lists.reading import (
    MAX_ENTRIES,
    as_list,
    as_object,
    check_moment,
    check_not_ahead,
    is_kid_of,
    parse_json,
    shown,
)
from vaxpass_sign.check.lists.result import Anchor, Finds, LeftOut, ListFormat, SignedList
from vaxpass_sign.errors import TrustError, TrustFault
from vaxpass_sign.hcert.signature import verify_signature
from vaxpass_sign.x509 import Certificate, PublicKey, alg_of_key

__all__ = ["is_gdhcn", "read_did_keys", "read_gdhcn"]

_WHAT = "the DID document"

_CSCA_USES = frozenset({"SCA", "CSCA"})


def is_gdhcn(value: Any) -> bool:
    """Whether a JSON value has this format's form: an object whose id is a DID."""
    return isinstance(value, dict) and str(value.get("id")).startswith("did:")


def read_did_keys(data: bytes) -> tuple[PublicKey, ...]:
    """The keys of a DID document without a proof, to be pinned: the file of WHO's signing key.

    Nothing is checked, so it must have come in a way that is trusted.

    Raises: TrustError when it can't be read or holds no key.
    """
    document = as_object(parse_json(data, _WHAT), _WHAT)
    methods = as_list(document.get("verificationMethod"), "verificationMethod of the document")
    found = [as_object(method, "a verificationMethod") for method in methods]
    keys = [key_of(as_object(method.get("publicKeyJwk"), "publicKeyJwk")) for method in found]
    if not keys:
        raise TrustError(f"{_WHAT} holds no key, expected that of WHO's signer: get it again")
    return tuple(keys)


def read_gdhcn(
    data: bytes, anchors: Iterable[Anchor], at: datetime, documents: Iterable[bytes] = ()
) -> SignedList:
    """The DSCs of a GDHCN list, and its CSCAs.

    ``anchors``: the keys, or certificates of keys, that may sign lists, such as
    :func:`read_did_keys` gives. ``at``: the moment of checking, before which each document must
    have been signed; a list has no end, so see to ``issued_at`` yourself: with references, that of
    the oldest document. ``documents``: where references may lead.

    1. The document is JSON with no more than what is known of GDHCN's lists.
    2. One of the anchors made its proof: ES256 for P-256, raw r‖s or, as WHO writes it, DER; PS256
       for RSA. The key decides, and the header must agree.
    3. It was not signed later than ``at``.
    4. The same holds for each document that a reference leads to.

    Only then are keys taken from them.

    Raises: TrustError when one of the steps fails, or there is no DSC; InputError when ``at`` has
    no UTC offset.
    """
    check_moment(at)
    keys = [anchor.public_key if isinstance(anchor, Certificate) else anchor for anchor in anchors]
    usable = [key for key in keys if key is not None and alg_of_key(key) is not None]
    if not usable:
        raise TrustError(
            f"no anchor was given for {_WHAT}, expected the P-256 or RSA key of its publisher: pin "
            "one, got in another way than the list",
            TrustFault.NO_ANCHOR,
        )
    proof, statements = _read_document(data, usable, at)
    given = {id_: document for document in documents if (id_ := _id_of(document))}
    waiting, done = [statements], {statements.id}
    finds, proofs, number = Finds(), [proof], 0
    while waiting:
        statements = waiting.pop(0)
        number += len(statements.entries) + len(statements.references)
        if number > MAX_ENTRIES:
            raise TrustError(
                f"{_WHAT} and those that it refers to have more than {MAX_ENTRIES} entries: get "
                "the list again from its publisher"
            )
        for entry in statements.entries:
            _take(entry, finds)
        for reference in statements.references:
            if reference in done:
                continue
            if reference not in given:
                finds.leave_out(LeftOut.UNRESOLVED)
                continue
            done.add(reference)
            other_proof, other = _read_document(given[reference], usable, at)
            proofs.append(other_proof)
            waiting.append(other)
    if not finds.dscs and not finds.cscas:
        raise TrustError(
            f"{_WHAT} holds no DSC or CSCA that can be used (references that lead to no document "
            f"here: {finds.count(LeftOut.UNRESOLVED)}), expected one: get it again, or give the "
            "documents that it refers to",
            TrustFault.NO_DSC,
        )
    return finds.listed(
        ListFormat.GDHCN, [proof.method for proof in proofs], min(proof.created for proof in proofs)
    )


def _read_document(data: bytes, keys: list[PublicKey], at: datetime) -> tuple[Proof, Statements]:
    """Steps 1 to 3."""
    document = as_object(parse_json(data, _WHAT), _WHAT)
    statements, proof = read_statements(document), read_proof(document)  # 1
    message = proof.message(statements)
    fitting = [key for key in keys if (alg := alg_of_key(key)) and alg.name == proof.alg]
    if not fitting:
        raise TrustError(
            f"the proof of {_WHAT} names the alg {shown(proof.alg)}, which is that of none of the "
            f"{len(keys)} anchors: do not use the list, or pin its publisher's key",
            TrustFault.UNKNOWN_SIGNER,
        )
    if not any(_verifies(key, message, proof.signature) for key in fitting):  # 2
        raise TrustError(
            f"the proof of {_WHAT} {shown(statements.id)} does not verify with any of the "
            f"{len(fitting)} anchors: the list was altered or another key signed it; get it again, "
            "and pin its publisher's key",
            TrustFault.ALTERED,
        )
    check_not_ahead(proof.created, at, _WHAT)  # 3
    return proof, statements


def _verifies(key: PublicKey, message: bytes, signature: bytes) -> bool:
    if verify_signature(key, message, signature):
        return True
    # RFC 7518 §3.4 wants raw r‖s; WHO's signer writes DER.
    if not isinstance(key, EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _take(entry: Entry, finds: Finds) -> None:
    did, _, fragment = entry.id.partition("#")
    use = did.rpartition(":")[2] if entry.use is None else entry.use
    if use != "DSC" and use not in _CSCA_USES:
        finds.leave_out(LeftOut.OTHER_USE)
        return
    certificate = certificate_of(entry.jwk, entry.jwk.get("kid"), finds)
    if certificate is None:
        return
    if not is_kid_of(unquote(fragment), certificate):
        finds.leave_out(LeftOut.OTHER_KID)
    elif use == "DSC":
        finds.add_dsc(certificate)
    elif certificate.is_ca:
        finds.add_csca(certificate)
    else:  # It can have issued nothing, and must not cost the DSCs that name it.
        finds.leave_out(LeftOut.OTHER_USE)


def _id_of(data: bytes) -> str | None:
    """The id that a document gives itself; it is believed only after its proof."""
    found = parse_json(data, "a document that was given")
    return found["id"] if is_gdhcn(found) else None
