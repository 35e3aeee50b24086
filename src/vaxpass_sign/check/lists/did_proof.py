r"""The proof of a DID document of WHO's GDHCN: JsonWebSignature2020, checked without JSON-LD.

What such a proof signs is not the JSON text but what JSON-LD makes of it (vc-jws-2020): the RDF
statements of the proof's options and of the document, each set as canonical N-Quads (URDNA2015),
hashed with SHA-256, one hash after the other. What JSON-LD does not know, it drops: such a part of
the text is signed by nobody. In WHO's older lists that is so of domain, participant and keyusage.

So a document is read here in two steps. :func:`read_statements` takes it apart by a closed table of
the forms that GDHCN writes, and anything else in it is refused. What it gives is all that is
believed, and is exactly what the statements are made of. The canonical form of these is no more
than their sorted lines, since each subject has a name of its own: only the proof's options are a
blank node, the one that is called ``_:c14n0``. A general JSON-LD processor would read forms that
no list has, and its canonicalisation can be made to take time without end by blank nodes.

Lists that WHO published in 2026 were verified with its keys by hand; the contexts say which. No
test holds that: no such list is part of this project.

>>> read_statements({"@context": [], "id": "did:web:who.example"})
Traceback (most recent call last):
    ...
vaxpass_sign.errors.TrustError: the DID document has an @context that is not known, [], ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from vaxpass_sign.check.lists.reading import (
    as_list,
    as_object,
    as_text,
    decode_base64url,
    parse_json,
    shown,
)
from vaxpass_sign.errors import TrustError

__all__ = ["Entry", "Proof", "Statements", "read_proof", "read_statements"]

_DID: Final = "https://www.w3.org/ns/did/v1"
_JWS: Final = "https://w3id.org/security/suites/jws-2020/v1"
_TNG: Final = "https://smart.who.int/trust/tng-context/v1"

_USES: Final[dict[tuple[str, ...], str | None]] = {
    (_DID, _JWS): None,
    (_DID, _JWS, f"{_TNG}.jsonld"): "https://smart.who.int/trust/ValueSet-{}.jsonld",
    (_DID, _JWS, f"{_TNG}-UAT.jsonld"): "https://smart.who.int/trust/ValueSet-{}-UAT.jsonld",
    (_DID, _JWS, f"{_TNG}-DEV.jsonld"): "https://smart.who.int/trust/ValueSet-{}-DEV.jsonld",
}
"""The contexts that are known, and what they make of domain, participant and keyusage: nothing, or
statements about a value set.

The first is that of published lists of production, the one with -UAT that of lists of WHO's test
network, and such lists verify. The other two say what WHO publishes as these contexts; no list with
one of them has been at hand. If they are wrong, lists are refused."""

_VALUE_SETS: Final = {"domain": "Domains", "participant": "Participants", "keyusage": "KeyUsage"}

_SEC: Final = "https://w3id.org/security#"
_TYPE: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
_JSON: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#JSON"
_DATE_TIME: Final = "http://www.w3.org/2001/XMLSchema#dateTime"
_CREATED: Final = "http://purl.org/dc/terms/created"

# Narrower than did-core §3.1: no character here means anything else in N-Quads.
_DID_URL = re.compile(r"did:web:[A-Za-z0-9._:%-]{1,256}(?:#[A-Za-z0-9._:%+/=-]{1,128})?", re.ASCII)
_CODE = re.compile(r"#[A-Za-z0-9._-]{1,64}", re.ASCII)
_PRINTABLE = re.compile(r"[\x20-\x7e]*", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)

_REFUSE = "can't be checked here, so it must not be believed: get the list again from its publisher"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a DID document, as far as the proof covers it."""

    id: str
    jwk: dict[str, Any]
    use: str | None
    """keyusage without its ``#``; None where the proof does not cover it."""


@dataclass(frozen=True, slots=True)
class Statements:
    """What a DID document says, as far as a proof can cover it."""

    id: str
    entries: tuple[Entry, ...]
    references: tuple[str, ...]
    """The DIDs that stand where keys could stand."""
    quads: frozenset[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof, not yet checked."""

    method: str
    """The DID of the key that is said to have signed. The proof covers it."""
    created: datetime
    alg: str
    signature: bytes
    _header: bytes
    _quads: frozenset[str]

    def message(self, statements: Statements) -> bytes:
        """The bytes that the key must have signed (vc-jws-2020; RFC 7797 §3)."""
        return self._header + b"." + _hash(self._quads) + _hash(statements.quads)


def read_statements(document: dict[str, Any]) -> Statements:
    """Take a DID document apart; its proof is not looked at.

    Raises: TrustError when it has any part or form that is not known here.
    """
    what = "the DID document"
    context = document.get("@context")
    known = tuple(context) if isinstance(context, list) and _all_text(context) else ()
    if known not in _USES:
        raise TrustError(
            f"{what} has an @context that is not known, {shown(context)}, expected did/v1, "
            f"jws-2020/v1 and perhaps tng-context/v1; it {_REFUSE}"
        )
    _only(
        document,
        {"@context", "id", "controller", "verificationMethod", "assertionMethod", "proof"},
        what,
    )
    own = _did(document.get("id"), f"id of {what}")
    quads = set()
    if "controller" in document:
        controller = _did(document["controller"], f"controller of {what}")
        quads.add(_quad(own, f"{_SEC}controller", controller))
    entries: dict[str, Entry] = {}
    references: dict[str, None] = {}
    for name in ("verificationMethod", "assertionMethod"):
        for place, found in enumerate(as_list(document.get(name, []), f"{name} of {what}")):
            if isinstance(found, str):
                reference = _did(found, f"{name} {place} of {what}")
                references[reference] = None
                quads.add(_quad(own, f"{_SEC}{name}", reference))
                continue
            entry, about = _read_entry(found, f"{name} {place} of {what}", _USES[known])
            quads |= about | {_quad(own, f"{_SEC}{name}", entry.id)}
            # Statements about one name merge, so which part came from which entry is not signed.
            if entries.setdefault(entry.id, entry) != entry:
                raise TrustError(
                    f"{what} has two keys with the id {shown(entry.id)}, expected one; it {_REFUSE}"
                )
    return Statements(
        own,
        tuple(entries.values()),
        tuple(reference for reference in references if reference not in entries),
        frozenset(quads),
    )


def _read_entry(found: Any, what: str, value_sets: str | None) -> tuple[Entry, set[str]]:
    """A key, and the statements about it."""
    entry = as_object(found, what)
    _only(entry, {"id", "type", "controller", "publicKeyJwk", *_VALUE_SETS}, what)
    own, controller = _did(entry.get("id"), f"id of {what}"), entry.get("controller")
    # Under another type JSON-LD would drop publicKeyJwk, and it would be signed by nobody.
    if entry.get("type") != "JsonWebKey2020":
        raise TrustError(
            f"type of {what} is {shown(entry.get('type'))}, expected JsonWebKey2020; it {_REFUSE}"
        )
    jwk = as_object(entry.get("publicKeyJwk"), f"publicKeyJwk of {what}")
    quads = {
        _quad(own, _TYPE, f"{_SEC}JsonWebKey2020"),
        _quad(own, f"{_SEC}controller", _did(controller, f"controller of {what}")),
        _literal(f"<{own}>", f"{_SEC}publicKeyJwk", _canonical(jwk, what), _JSON),
    }
    if value_sets is None:
        return Entry(own, jwk, None), quads
    codes = {}
    for name, value_set in _VALUE_SETS.items():
        value = as_object(entry.get(name), f"{name} of {what}")
        _only(value, {"code"}, f"{name} of {what}")
        code = value.get("code")
        if not isinstance(code, str) or not _CODE.fullmatch(code):
            raise TrustError(f"{name} of {what} has the code {shown(code)}; it {_REFUSE}")
        codes[name] = code
        iri = value_sets.format(value_set)
        quads.add(_quad(own, iri, iri + code))
    return Entry(own, jwk, codes["keyusage"][1:]), quads


def read_proof(document: dict[str, Any]) -> Proof:
    """The proof of a DID document, taken apart.

    Raises: TrustError when there is none, or it has any part or form that is not known here.
    """
    what = "the proof of the DID document"
    proof = as_object(document.get("proof"), what)
    _only(proof, {"type", "created", "nonce", "proofPurpose", "verificationMethod", "jws"}, what)
    expected = {"type": "JsonWebSignature2020", "proofPurpose": "assertionMethod"}
    for name, value in expected.items():
        if proof.get(name) != value:
            raise TrustError(
                f"{name} of {what} is {shown(proof.get(name))}, expected {value}; it {_REFUSE}"
            )
    method = _did(proof.get("verificationMethod"), f"verificationMethod of {what}")
    created = as_text(proof.get("created"), f"created of {what}")
    node = "_:c14n0"
    quads = {
        f"{node} <{_TYPE}> <{_SEC}JsonWebSignature2020> .\n",
        f"{node} <{_SEC}proofPurpose> <{_SEC}assertionMethod> .\n",
        f"{node} <{_SEC}verificationMethod> <{method}> .\n",
        _literal(node, _CREATED, created, _DATE_TIME),
    }
    if "nonce" in proof:
        nonce = _printable(proof["nonce"], f"nonce of {what}")
        quads.add(_literal(node, f"{_SEC}nonce", nonce))
    header, alg, signature = _read_jws(as_text(proof.get("jws"), f"jws of {what}"), what)
    return Proof(method, _moment(created, what), alg, signature, header, frozenset(quads))


def _read_jws(jws: str, what: str) -> tuple[bytes, str, bytes]:
    """Header, alg and signature of a JWS that is detached and whose payload is not encoded."""
    header_text, dots, signature_text = jws.partition("..")
    if not dots:
        raise TrustError(f"jws of {what} is not detached, expected header..signature; it {_REFUSE}")
    header_json = decode_base64url(header_text, f"the header of {what}")
    header = as_object(parse_json(header_json, f"the header of {what}"), f"the header of {what}")
    # RFC 7797 §3, §6: b64 is false, and crit says that it counts.
    if header.keys() != {"alg", "b64", "crit"} or header["b64"] is not False:
        raise TrustError(
            f"the header of {what} is {shown(header)}, expected alg, b64 false and crit; "
            f"it {_REFUSE}"
        )
    if header["crit"] != ["b64"]:
        raise TrustError(
            f"crit in the header of {what} is {shown(header['crit'])}, expected ['b64']; "
            f"it {_REFUSE}"
        )
    alg = as_text(header["alg"], f"alg in the header of {what}")
    signature = decode_base64url(signature_text, f"the signature in {what}")
    return header_text.encode("ascii"), alg, signature


def _canonical(jwk: dict[str, Any], what: str) -> str:
    """A JWK in the canonical form of RFC 8785: for printable ASCII, sorted and without spaces."""
    for name, value in jwk.items():
        _printable(name, f"a name in publicKeyJwk of {what}")
        for text in value if isinstance(value, list) else [value]:
            _printable(text, f"{shown(name)} in publicKeyJwk of {what}")
    return json.dumps(jwk, sort_keys=True, separators=(",", ":"))


def _hash(quads: Iterable[str]) -> bytes:
    return sha256("".join(sorted(quads)).encode()).digest()


def _quad(subject: str, predicate: str, value: str) -> str:
    return f"<{subject}> <{predicate}> <{value}> .\n"


def _literal(subject: str, predicate: str, text: str, datatype: str | None = None) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    suffix = f"^^<{datatype}>" if datatype else ""
    return f'{subject} <{predicate}> "{escaped}"{suffix} .\n'


def _only(value: dict[str, Any], known: set[str], what: str) -> None:
    unknown = value.keys() - known
    if unknown:
        raise TrustError(f"{what} has {shown(min(unknown))}, which is not known here; it {_REFUSE}")


def _did(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _DID_URL.fullmatch(value):
        raise TrustError(f"{what} is {shown(value)}, expected a did:web; it {_REFUSE}")
    return value


def _printable(value: Any, what: str) -> str:
    if not isinstance(value, str) or not _PRINTABLE.fullmatch(value):
        raise TrustError(f"{what} is {shown(value)}, expected printable ASCII; it {_REFUSE}")
    return value


def _moment(text: str, what: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError("another form")
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise TrustError(
            f"created of {what} is {shown(text)}, expected a time such as 2026-01-31T12:00:00Z; "
            f"it {_REFUSE}"
        ) from error


def _all_text(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
