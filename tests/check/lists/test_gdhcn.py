"""WHO's GDHCN list: what its proof covers, and that nothing else is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from issuing import AT, csca, dsc, private_key
from signed_lists import (
    CONTEXT,
    LIST,
    METHOD,
    TNG_CONTEXT,
    b64,
    b64url,
    did_document,
    did_entry,
    jwk,
    leaf,
    sign_did,
)
from vaxpass_sign.check.lists import (
    LeftOut,
    ListFormat,
    SignedList,
    read_did_keys,
    read_gdhcn,
    read_list,
)
from vaxpass_sign.errors import InputError, TrustError

KEY = private_key("did").public_key()


def read(document: object, *anchors, at=AT, documents=()) -> SignedList:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    given = [json.dumps(other).encode() for other in documents]
    return read_gdhcn(data, anchors or [KEY], at, given)


def whole(**changes) -> dict:
    methods = [did_entry(dsc()), did_entry(dsc("rsa dsc")), did_entry(csca(), "SCA")]
    return did_document(*methods, id=f"{LIST}:-", **changes)


def signed(document: dict | None = None, key_name: str = "did", **proof) -> dict:
    return sign_did(whole() if document is None else document, key_name, **proof)


def with_codes(certificate, use: str = "DSC", code: str | None = None) -> dict:
    codes = {"domain": "DCC", "participant": "VNM", "keyusage": code or use}
    return did_entry(certificate, use, **{name: {"code": f"#{c}"} for name, c in codes.items()})


def test_the_list() -> None:
    """DSCs and CSCAs, the time, and the DID of the key, all of which the proof covers."""
    found = read(signed())
    assert found.dscs == (dsc(), dsc("rsa dsc"))
    assert found.cscas == (csca(),)
    assert found.format is ListFormat.GDHCN
    assert found.signed_by == METHOD
    assert found.issued_at == datetime(2026, 1, 20, tzinfo=UTC)
    assert found.expires_at is None
    assert found.left_out == {}
    assert read_list(json.dumps(signed(), indent=2).encode(), [KEY], AT) == found


@pytest.mark.parametrize(("key_name", "raw"), [("did", False), ("did", True), ("rsa did", True)])
def test_forms_of_signature(key_name: str, raw: bool) -> None:
    """ES256 as DER, the way WHO writes it, or raw as JOSE wants it; and PS256."""
    document = signed(key_name=key_name, raw=raw)
    assert read(document, private_key(key_name).public_key()).dscs
    assert read(document, KEY, private_key(key_name).public_key(), leaf("stranger")).dscs


def test_a_certificate_as_anchor() -> None:
    """The key may be pinned by a certificate of it."""
    assert read(signed(), leaf("did")).dscs


def test_the_order_of_the_text_is_not_signed() -> None:
    """JSON-LD makes a set of statements: another order of the text says the same."""
    document = signed()
    document["verificationMethod"].reverse()
    assert set(read(dict(reversed(document.items()))).dscs) == {dsc(), dsc("rsa dsc")}


def test_what_the_proof_does_not_cover_is_not_read() -> None:
    """Without a context for them, domain, participant and keyusage are nobody's word."""
    document = signed()
    for entry in document["verificationMethod"]:
        entry |= {"keyusage": "SCA", "domain": "altered", "participant": ["altered"]}
    assert read(document) == read(signed())


def test_covered_key_usage() -> None:
    """With the context of 2026 the proof covers keyusage, and that decides."""
    methods = [
        with_codes(dsc()),
        with_codes(dsc("another"), code="UP"),
        with_codes(csca(), "SCA", "CSCA"),
    ]
    found = read(signed(did_document(*methods) | {"@context": TNG_CONTEXT}))
    assert (found.dscs, found.cscas) == ((dsc(),), (csca(),))
    assert found.left_out == {LeftOut.OTHER_USE: 1}


def test_a_csca_that_is_no_ca() -> None:
    """It is left out as in the gateway's list: as a CSCA it would disown the DSCs that name it."""
    namesake = leaf("no ca")
    found = read(signed(did_document(did_entry(dsc()), did_entry(namesake, "SCA"))))
    assert (found.dscs, found.cscas) == ((dsc(),), ())
    assert found.left_out == {LeftOut.OTHER_USE: 1}


def test_references() -> None:
    """References are looked up among the documents given, each with a proof of its own."""
    one = signed(did_document(did_entry(dsc()), id=f"{LIST}:DSC"), created="2026-01-18T00:00:00Z")
    two = signed(did_document(did_entry(dsc("another")), f"{LIST}:DSC", id=f"{LIST}:more"))
    top = signed(did_document(f"{LIST}:DSC", f"{LIST}:more", f"{LIST}:gone", id=f"{LIST}:top"))
    found = read(top, documents=[two, one])
    assert found.dscs == (dsc(), dsc("another"))
    assert found.left_out == {LeftOut.UNRESOLVED: 1}
    assert found.issued_at == datetime(2026, 1, 18, tzinfo=UTC)


def test_references_in_a_circle() -> None:
    one = signed(did_document(did_entry(dsc()), f"{LIST}:two", f"{LIST}:one", id=f"{LIST}:one"))
    two = signed(did_document(f"{LIST}:one", id=f"{LIST}:two"))
    assert read(one, documents=[two, one]).dscs == (dsc(),)


def test_a_document_that_is_not_referred_to_is_not_read() -> None:
    """So it needs no proof, and none of its keys are taken."""
    other = did_document(did_entry(dsc("another")), id=f"{LIST}:other")
    assert read(signed(), documents=[other]).dscs == (dsc(), dsc("rsa dsc"))


def test_a_reference_to_a_forged_document() -> None:
    """A document that is referred to is believed no more than the first."""
    forged = sign_did(did_document(did_entry(dsc()), id=f"{LIST}:DSC"), "stranger")
    top = signed(did_document(did_entry(dsc("another")), f"{LIST}:DSC", id=f"{LIST}:top"))
    with pytest.raises(TrustError, match=f"'{LIST}:DSC' does not verify"):
        read(top, documents=[forged])


def test_nothing_to_take() -> None:
    top = signed(did_document(f"{LIST}:DSC", id=f"{LIST}:top"))
    with pytest.raises(TrustError, match=r"holds no DSC or CSCA .*no document here: 1\)"):
        read(top)


LEFT_OUT = {
    "no x5c": (did_entry(dsc("another"), publicKeyJwk=jwk(dsc("another"), x5c=None)), LeftOut.NO_CERTIFICATE),
    "another's certificate": (did_entry(dsc("another"), publicKeyJwk=jwk(dsc())), LeftOut.OTHER_KID),
    "another's id": (did_entry(dsc("another"), id=f"{LIST}:DSC#{b64(dsc('third').kid)}"), LeftOut.OTHER_KID),
    "an id without a kid": (did_entry(dsc("another"), id=f"{LIST}:DSC"), LeftOut.OTHER_KID),
    "another's numbers": (
        did_entry(dsc("another"), publicKeyJwk=jwk(dsc("another"), x=jwk(dsc())["x"])),
        LeftOut.OTHER_KEY,
    ),
    "an upload key": (did_entry(dsc("another"), "UP"), LeftOut.OTHER_USE),
    "a TLS key": (did_entry(dsc("another"), "TLS"), LeftOut.OTHER_USE),
    "cut": (
        did_entry(dsc("another"), publicKeyJwk=jwk(dsc("another"), x5c=[b64(dsc("another").der[:-5])])),
        LeftOut.UNREADABLE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("odd", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out(odd: dict, why: LeftOut) -> None:
    found = read(signed(did_document(odd, did_entry(dsc()))))
    assert (found.dscs, found.cscas, found.left_out) == ((dsc(),), (), {why: 1})


def test_forms_of_a_key() -> None:
    """An id that is percent-encoded, and WHO's numbers of 33 bytes with a zero before them."""
    number = dsc().public_key.public_numbers()
    long = {n: b64url(b"\0" + getattr(number, n).to_bytes(32, "big")) for n in "xy"}
    fragment = b64(dsc().kid).replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    entry = did_entry(dsc(), id=f"{LIST}:DSC#{fragment}", publicKeyJwk=jwk(dsc(), **long))
    assert read(signed(did_document(entry))).dscs == (dsc(),)


def altered(change: Callable[[dict], object], document: dict | None = None) -> dict:
    """A signed document, changed after it was signed."""
    made = json.loads(json.dumps(signed(document)))
    change(made)
    return made


def cut_signature() -> dict:
    made = signed(raw=True)
    made["proof"]["jws"] = made["proof"]["jws"][:-2]
    return made


def entry_of(document: dict) -> dict:
    return document["verificationMethod"][0]


def codes() -> dict:
    return did_document(with_codes(dsc())) | {"@context": TNG_CONTEXT}


NO_PROOF = "does not verify with any of the 1 anchors"
FORGED = {
    "an entry more": (altered(lambda d: d["verificationMethod"].append(did_entry(dsc("another")))), NO_PROOF),
    "an entry less": (altered(lambda d: d["verificationMethod"].pop()), NO_PROOF),
    "a reference more": (altered(lambda d: d["verificationMethod"].append(f"{LIST}:more")), NO_PROOF),
    "an assertionMethod more": (altered(lambda d: d.update(assertionMethod=[f"{LIST}:more"])), NO_PROOF),
    "a swapped entry": (
        altered(lambda d: d["verificationMethod"].__setitem__(0, did_entry(dsc("another")))),
        NO_PROOF,
    ),
    "a swapped certificate": (
        altered(lambda d: entry_of(d)["publicKeyJwk"].update(x5c=[b64(dsc("another").der)])),
        NO_PROOF,
    ),
    "a name more in a JWK": (altered(lambda d: entry_of(d)["publicKeyJwk"].update(use="sig")), NO_PROOF),
    "another use in an id": (
        altered(lambda d: entry_of(d).update(id=entry_of(d)["id"].replace(":DSC#", ":SCA#"))),
        NO_PROOF,
    ),
    "another controller of a key": (altered(lambda d: entry_of(d).update(controller=METHOD)), NO_PROOF),
    "another controller": (altered(lambda d: d.update(controller=METHOD)), NO_PROOF),
    "no controller": (altered(lambda d: d.pop("controller")), NO_PROOF),
    "another id": (altered(lambda d: d.update(id=METHOD)), NO_PROOF),
    "another covered keyusage": (
        altered(lambda d: entry_of(d).update(keyusage={"code": "#UP"}), codes()),
        NO_PROOF,
    ),
    "a context less": (altered(lambda d: d.update({"@context": CONTEXT}), codes()), NO_PROOF),
    "another created": (altered(lambda d: d["proof"].update(created="2026-01-21T00:00:00Z")), NO_PROOF),
    "another nonce": (altered(lambda d: d["proof"].update(nonce="x")), NO_PROOF),
    "no nonce": (altered(lambda d: d["proof"].pop("nonce")), NO_PROOF),
    "another key's DID": (altered(lambda d: d["proof"].update(verificationMethod=LIST)), NO_PROOF),
    "another proof": (altered(lambda d: d.update(proof=sign_did(did_document(), "did")["proof"])), NO_PROOF),
    "a stranger's proof": (signed(key_name="stranger"), NO_PROOF),
    "a cut signature": (cut_signature(), NO_PROOF),
    "no signature": (altered(lambda d: d["proof"].update(jws=d["proof"]["jws"].split("..")[0] + "..")), NO_PROOF),
    "r and s of 0": (
        altered(lambda d: d["proof"].update(jws=d["proof"]["jws"].split("..")[0] + ".." + b64url(bytes(64)))),
        NO_PROOF,
    ),
    "alg none": (signed(header={"b64": False, "crit": ["b64"], "alg": "none"}), "names the alg 'none', which is"),
    "alg swapped": (signed(header={"b64": False, "crit": ["b64"], "alg": "PS256"}), "names the alg 'PS256', which"),
    "alg that is a list": (signed(header={"b64": False, "crit": ["b64"], "alg": []}), "is an array, expected a str"),
    "b64 true": (signed(header={"b64": True, "crit": ["b64"], "alg": "ES256"}), "expected alg, b64 false and crit"),
    "b64 of 0": (signed(header={"b64": 0, "crit": ["b64"], "alg": "ES256"}), "expected alg, b64 false and crit"),
    "no b64": (signed(header={"alg": "ES256"}), "expected alg, b64 false and crit"),
    "crit of more": (signed(header={"b64": False, "crit": ["b64", "x"], "alg": "ES256"}), "expected ['b64']"),
    "a JWS with its payload": (
        altered(lambda d: d["proof"].update(jws=d["proof"]["jws"].replace("..", ".AA."))),
        "is not detached",
    ),
    "no proof": (whole(), "the proof of the DID document is missing or null, expected an object"),
    "two proofs": (altered(lambda d: d.update(proof=[d["proof"]])), "is an array, expected an object"),
    "a proof of another type": (
        altered(lambda d: d["proof"].update(type="DataIntegrityProof")),
        "is 'DataIntegrityProof', expected JsonWebSignature2020",
    ),
    "a proof for another purpose": (
        altered(lambda d: d["proof"].update(proofPurpose="authentication")),
        "is 'authentication', expected assertionMethod",
    ),
    "a proof with more": (altered(lambda d: d["proof"].update(domain="x")), "has 'domain', which is not known here"),
    "created in another form": (
        altered(lambda d: d["proof"].update(created="2026-01-20")),
        "created of the proof of the DID document is '2026-01-20', expected a time",
    ),
    "created on no day": (
        altered(lambda d: d["proof"].update(created="2026-02-30T00:00:00Z")),
        "expected a time such as",
    ),
    "no created": (altered(lambda d: d["proof"].pop("created")), "created of the proof of the DID document is miss"),
    "signed later": (signed(created="2026-02-14T12:05:01Z"), "was issued 2026-02-14T12:05:01Z, expected no later"),
    "no context": (altered(lambda d: d.pop("@context")), "an @context that is not known, None"),
    "a context more": (
        altered(lambda d: d["@context"].append("https://evil.example/v1")),
        "an @context that is not known",
    ),
    "a context of its own": (
        altered(lambda d: d["@context"].append({"verificationMethod": None})),
        "an @context that is not known",
    ),
    "a key of another type": (
        altered(lambda d: entry_of(d).update(type="Multikey")),
        "type of verificationMethod 0 of the DID document is 'Multikey', expected JsonWebKey2020",
    ),
    "a key of two types": (altered(lambda d: entry_of(d).update(type=["JsonWebKey2020"])), "expected JsonWebKey2020"),
    "a relative id, which JSON-LD drops": (
        altered(lambda d: d["verificationMethod"].append(did_entry(dsc("another"), id="#key"))),
        "id of verificationMethod 3 of the DID document is '#key', expected a did:web",
    ),
    "an id that ends a statement": (
        altered(lambda d: entry_of(d).update(id="did:web:a> <b> <c> .\n<did:web:d")),
        "expected a did:web",
    ),
    "an id that is a line": (altered(lambda d: entry_of(d).update(id=entry_of(d)["id"] + "\n")), "expected a did:web"),
    "no id": (altered(lambda d: entry_of(d).pop("id")), "is None, expected a did:web"),
    "a context in a key": (altered(lambda d: entry_of(d).update({"@context": {}})), "has '@context', which is not"),
    "a part that is not known": (altered(lambda d: d.update(service=[])), "has 'service', which is not known here"),
    "a graph": (altered(lambda d: d.update({"@graph": []})), "has '@graph', which is not known here"),
    "a JWK with a number": (
        altered(lambda d: entry_of(d)["publicKeyJwk"].update(ext=1)),
        "'ext' in publicKeyJwk of verificationMethod 0 of the DID document is 1, expected printable ASCII",
    ),
    "a JWK with other letters": (altered(lambda d: entry_of(d)["publicKeyJwk"].update(a="\u00e9")), "printable ASCII"),
    "a use that is no code": (
        altered(lambda d: entry_of(d).update(keyusage="DSC"), codes()),
        "keyusage of verificationMethod 0 of the DID document is a string, expected an object",
    ),
    "a code that ends a statement": (
        altered(lambda d: entry_of(d).update(keyusage={"code": "#DSC> ."}), codes()),
        "has the code '#DSC> .'",
    ),
    "a code with more": (
        altered(lambda d: entry_of(d).update(keyusage={"code": "#DSC", "@id": "x"}), codes()),
        "has '@id', which is not known here",
    ),
    "two keys with one id": (
        signed(did_document(did_entry(dsc()), did_entry(dsc("another"), id=did_entry(dsc())["id"]))),
        "has two keys with the id",
    ),
    "keys that are numbers": (altered(lambda d: d.update(verificationMethod=[7])), "is a number, expected an object"),
    "keys that are an object": (altered(lambda d: d.update(verificationMethod={})), "is an object, expected an arr"),
    "too many keys": (
        altered(lambda d: d.update(verificationMethod=[METHOD] * 10_001)),
        "has 10001 entries, expected at most 10000",
    ),
    "a key twice": (
        json.dumps(signed()).replace('"proof": ', '"proof": {}, "proof": ').encode(),
        "names the key 'proof' twice in one object",
    ),
    "a context that is deep": (
        b'{"@context": ' + b"[" * 900 + b"]" * 900 + b', "id": "did:web:a"}',
        "an @context that is not known",
    ),
    "cut": (json.dumps(signed()).encode()[:-1], "is not JSON in UTF-8, or was cut off"),
}  # fmt: skip


@pytest.mark.parametrize(("document", "words"), FORGED.values(), ids=FORGED)
def test_what_is_refused(document: object, words: str) -> None:
    with pytest.raises(TrustError) as caught:
        read(document)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()


def test_an_entry_that_is_there_twice() -> None:
    """The same key in two domains has one id and is one key."""
    assert read(signed(did_document(did_entry(dsc()), did_entry(dsc())))).dscs == (dsc(),)


def test_a_jwk_with_letters_that_are_escaped() -> None:
    """Quotes and backslashes are escaped twice: in JSON, and in the statement that holds it."""
    entry = did_entry(dsc(), publicKeyJwk=jwk(dsc(), note='a "b" \\ c'))
    assert read(signed(did_document(entry))).dscs == (dsc(),)


def test_too_many_entries_in_several_documents() -> None:
    documents = [
        signed(
            did_document(
                *[f"{LIST}:{n}" for n in range(6000 * k, 6000 * k + 6001)], id=f"{LIST}:{6000 * k}"
            )
        )
        for k in (0, 1)
    ]
    with pytest.raises(TrustError, match="have more than 10000 entries"):
        read(documents[0], documents=documents)


def test_a_clock_that_is_slow() -> None:
    """A list may seem to be from the future by five minutes."""
    assert read(signed(), at=datetime(2026, 1, 20, tzinfo=UTC) - timedelta(minutes=5)).dscs


def test_no_anchor() -> None:
    for anchors in ([], [leaf("p384", public_key=_p384())]):
        with pytest.raises(TrustError, match="no anchor was given for the DID document"):
            read_gdhcn(json.dumps(signed()).encode(), anchors, AT)


def _p384():
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP384R1()).public_key()


def test_a_moment_without_an_offset() -> None:
    with pytest.raises(InputError, match="UTC offset"):
        read(signed(), at=AT.replace(tzinfo=None))


def test_keys_to_be_pinned() -> None:
    """The key of WHO's signer comes in a DID document without a proof."""
    entry = {"id": METHOD, "type": "JsonWebKey2020", "publicKeyJwk": jwk(leaf("did"), x5c=None)}
    assert read_did_keys(json.dumps(did_document(entry)).encode()) == (KEY,)
    rsa = entry | {"publicKeyJwk": jwk(dsc("rsa dsc"))}
    assert read_did_keys(json.dumps(did_document(rsa)).encode()) == (dsc("rsa dsc").public_key,)


NO_KEYS = {
    "no entry": ([], "holds no key"),
    "a reference": ([METHOD], "is a string, expected an object"),
    "no JWK": ([{}], "publicKeyJwk is missing"),
    "another curve": ([{"publicKeyJwk": {"kty": "EC", "crv": "P-384"}}], "no key of P-256 or RSA"),
    "no point": ([{"publicKeyJwk": jwk(dsc(), x=b64url(bytes(32)))}], "no point of its curve"),
    "33 bytes": ([{"publicKeyJwk": jwk(dsc(), x=b64url(b"\1" * 33))}], "no point of its curve"),
    "31 bytes": ([{"publicKeyJwk": jwk(dsc(), x=b64url(b"\1" * 31))}], "no point of its curve"),
    "a large RSA number": ([{"publicKeyJwk": jwk(dsc("rsa dsc"), n=b64url(b"\1" * 1025))}], "no RSA modulus"),
    "an even exponent": ([{"publicKeyJwk": jwk(dsc("rsa dsc"), e="AA")}], "no RSA modulus"),
    "padding": ([{"publicKeyJwk": jwk(dsc(), x=str(jwk(dsc())["x"]) + "=")}], "is not canonical base64"),
}  # fmt: skip


@pytest.mark.parametrize(("methods", "words"), NO_KEYS.values(), ids=NO_KEYS)
def test_no_keys_to_be_pinned(methods: list, words: str) -> None:
    with pytest.raises(TrustError, match=words):
        read_did_keys(json.dumps(did_document(*methods)).encode())
