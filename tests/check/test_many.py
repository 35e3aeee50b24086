"""Many at once: for any texts whatever, the Verdicts that verify() gives one at a time."""

from __future__ import annotations

import math
import random
import sys
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import base45 as other
import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from check.test_vectors import clock_of, dsc_of, vectors
from issuing import AT, RECORD, dsc, make_issuer, private_key, sign_dsc, signer_of, trust
from vaxpass_sign import sample
from vaxpass_sign.check import POLICIES, Demand, Reason, TrustStore, Verdict, many, verify
from vaxpass_sign.check.many import BatchVerifier, verify_texts
from vaxpass_sign.check.plain import Plain
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert import codec, cose, framing

# The package has a function of the same name, which hides the module from a plain import.
verify_module = import_module("vaxpass_sign.check.verify")

TEXT = make_issuer().issue(RECORD)
HCERT = codec.decode(TEXT)
PAYLOAD = HCERT.sign1.payload
CLAIMS = HCERT.claims
DCC = CLAIMS[-260][1]
ENTRY = DCC["v"][0]


def facts(verdict: Verdict) -> tuple:
    """All that a Verdict says; the claims by their repr, in which 1, 1.0 and True differ."""
    hcert = verdict.hcert
    return (
        verdict.reason,
        verdict.detail,
        verdict.at,
        hcert and (hcert.sign1, repr(hcert.claims)),
        verdict.dsc and verdict.dsc.der,
        verdict.not_checked,
        verdict.warnings,
    )


def verify_whole(text: str, store: TrustStore, at: datetime) -> Verdict:
    """The Verdict when the payload is decoded and judged whole, as one that is not plain is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify_module, "read_plain", lambda payload: None)
        return verify(text, store, at)


def assert_same(texts: list, store: TrustStore | None = None, at: datetime = AT) -> list[Verdict]:
    store = trust() if store is None else store
    verdicts = verify_texts(texts, store, at)
    assert len(verdicts) == len(texts)
    read = BatchVerifier(store, at).read(texts)
    for text, verdict, found in zip(texts, verdicts, read, strict=True):
        expected = facts(verify_whole(text, store, at))
        assert facts(verdict) == expected
        assert facts(verify(text, store, at)) == expected
        if isinstance(found, Plain):
            assert verdict.valid
            assert repr(found.claims()) == repr(verdict.hcert.claims)
        else:
            assert facts(found) == facts(verdict)
    return verdicts


def signed(payload: bytes, key: str = "dsc", certificate=None, protected: bytes = b"") -> str:
    """A payload whose signature is right."""
    signer = signer_of(private_key(key))
    header = protected or cose.encode_protected(signer.alg, (certificate or dsc(key)).kid)
    (signature,) = signer.sign([cose.sig_structure(header, payload)])
    return framed(cose.encode_sign1(header, payload, signature))


def framed(message: bytes) -> str:
    return framing.frame(message, payload_bytes=0)


def texts_of(count: int, **changes) -> list[str]:
    issuer = make_issuer(**changes)
    return [issuer.issue(record) for record in sample.records(count)]


def test_our_own_texts() -> None:
    """What we issued is valid, one text or many, mononyms and both algorithms among them."""
    texts = [*texts_of(60), make_issuer().issue(replace(RECORD, given_name="", gnt=""))]
    assert all(assert_same(texts))
    assert all(assert_same(texts_of(5, key_name="rsa dsc"), trust(dsc("rsa dsc"))))


def test_our_own_texts_need_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """What we issued is settled by the fast way alone: that is what it is for."""
    texts = [*texts_of(30), make_issuer().issue(replace(RECORD, given_name="", gnt=""))]
    monkeypatch.delattr(many, "verify")
    assert all(verify_texts(texts, trust(), AT))
    assert all(verify_texts(texts_of(3, key_name="rsa dsc"), trust(dsc("rsa dsc")), AT))


def test_a_bad_one_costs_no_other_a_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside texts that fail, at whatever step, the good ones are settled as fast."""
    bad = [TEXT[:-1], TEXT[:50] + "a", signed(b"\xa0"), signed(PAYLOAD[:-1]), signed(cbor2.dumps(
        entry(ci="A" * 81)
    )), framed(cose.encode_sign1(HCERT.sign1.protected, PAYLOAD, bytes(64)))]  # fmt: skip
    asked: list[str] = []

    def counted(text: str, *facts: Any) -> Verdict:
        asked.append(text)
        return verify(text, *facts)

    monkeypatch.setattr(many, "verify", counted)
    good = texts_of(len(bad))
    mixed = [text for pair in zip(good, bad, strict=True) for text in pair]
    assert [verdict.valid for verdict in verify_texts(mixed, trust(), AT)] == [True, False] * 6
    assert asked == bad


def test_nothing_gives_nothing() -> None:
    """No texts, no Verdicts."""
    assert verify_texts([], trust(), AT) == []


def test_more_than_a_block_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are put together in order, whatever stands between the good ones."""
    monkeypatch.setattr(many, "BLOCK", 7)
    texts: list = texts_of(20)
    texts[3:3] = ["HC1:", None, "HC2:" + texts[0][4:], texts[0] + "0"]
    verdicts = assert_same(texts)
    assert [verdict.reason for verdict in verdicts[3:7]] == [
        Reason.NOT_COMPRESSED, Reason.NOT_HC1, Reason.NOT_HC1, Reason.BASE45,
    ]  # fmt: skip
    assert sum(verdict.valid for verdict in verdicts) == 20


def test_published_vectors() -> None:
    """Each published vector at its own clock, and all of them together at one."""
    dscs = []
    for vector in vectors().values():
        dscs.append(dsc_of(vector))
        assert_same([vector["PREFIX"]], TrustStore(dscs[-1:]), clock_of(vector))
    texts = [vector["PREFIX"] for vector in vectors().values()]
    assert_same(texts, TrustStore(dscs), datetime(2021, 7, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="None"),
        pytest.param(TEXT.encode(), id="bytes"),
        pytest.param(5, id="a number"),
        pytest.param([TEXT], id="a list"),
        pytest.param("", id="nothing"),
        pytest.param("HC1:", id="the prefix"),
        pytest.param("HC1:A", id="a character"),
        pytest.param("HC1:" + "0" * 4293, id="too long"),
        pytest.param("HC1:BB\u0130", id="not ASCII"),
        pytest.param("HC1:\ud800", id="a lone surrogate"),
        pytest.param("HC1:GGW", id="a group of 65536"),
        pytest.param("HC1:BB8V5", id="a last pair of 256"),
        pytest.param(TEXT[:-3], id="cut short"),
        pytest.param(TEXT + "000", id="bytes after it"),
        pytest.param("HC1:" + other.b45encode(zlib.compress(bytes(1 << 20))).decode(), id="a bomb"),
        pytest.param("HC1:" + other.b45encode(b"\x78\x01").decode(), id="a zlib head alone"),
        pytest.param(framed(b""), id="an empty message"),
        pytest.param(framed(b"\xd2\x84"), id="the array's head alone"),
        pytest.param(framed(b"\xd2\x84\x40\xa0"), id="two parts"),
        pytest.param(framed(b"\xd2\x84\x40\xa0\x58"), id="half a head"),
    ],
)
def test_hostile_texts_beside_good_ones(value: object) -> None:
    """Any value at all, alone and between good texts, which stay valid."""
    assert_same([value])
    verdicts = assert_same([TEXT, value, TEXT])
    assert (verdicts[0].valid, verdicts[1].valid, verdicts[2].valid) == (True, False, True)


@settings(max_examples=150)
@given(st.lists(st.text() | st.binary() | st.none() | st.just(TEXT), max_size=4))
def test_any_inputs(values: list) -> None:
    """Any values at all."""
    assert_same(values)


# --- changed bytes -------------------------------------------------------------------------


def flips(data: bytes) -> list[bytes]:
    """The data with each bit flipped, and each byte left out or doubled."""
    changed = []
    for place in range(len(data)):
        before, after = data[:place], data[place + 1 :]
        changed += [before + bytes((data[place] ^ 1 << bit,)) + after for bit in range(8)]
        changed += [before + after, before + data[place : place + 1] * 2 + after]
    return changed


def test_changed_characters() -> None:
    """Each character changed, left out and doubled."""
    rng = random.Random(1)
    texts = []
    for place in range(len(TEXT)):
        for instead in ("", TEXT[place] * 2, rng.choice("0A $%:"), rng.choice("aé\n")):
            texts.append(TEXT[:place] + instead + TEXT[place + 1 :])
    rng.shuffle(texts)
    assert_same(texts)


def test_changed_streams() -> None:
    """Each bit of the zlib stream flipped, each byte left out and doubled."""
    stream = other.b45decode(TEXT[4:])
    assert_same(["HC1:" + other.b45encode(changed).decode() for changed in flips(stream)])


def test_changed_messages() -> None:
    """The same for the COSE message, in a stream that is right; no payload but ours is valid."""
    message = framing.unframe(TEXT)
    for verdict in assert_same([framed(changed) for changed in flips(message)]):
        assert not verdict or verdict.hcert.sign1.payload == PAYLOAD


def test_changed_payloads() -> None:
    """The same for the payload, signed by the DSC's key: here the reading alone decides."""
    verdicts = assert_same([signed(changed) for changed in flips(PAYLOAD)])
    reasons = {verdict.reason for verdict in verdicts}
    assert reasons >= {Reason.VALID, Reason.CBOR, Reason.SCHEMA, Reason.NO_EU_DCC, Reason.EXPIRED}
    assert {bool(verdict.warnings) for verdict in verdicts} == {True, False}


def test_cut_payloads() -> None:
    """A signed payload that ends anywhere."""
    assert not any(assert_same([signed(PAYLOAD[:end]) for end in range(len(PAYLOAD))]))


pieces = st.sampled_from(
    [b"", b"\x01", b"\xf6", b"\xff", b"\xa0", b"\xc0", b"\xf5", b"\x63dob", b"\x62dt\x6a", b"\x62ci",
     b"\x39\x01\x03\xa1\x01\xa4\x61v\x81\xaa\x62ci\x78", b"\x63ver\x651.3.0", b"2021-11-20", PAYLOAD]
) | st.binary(max_size=3)  # fmt: skip
edits = st.lists(
    st.tuples(st.integers(0, len(PAYLOAD)), st.integers(0, 3), pieces), min_size=1, max_size=3
)


@settings(max_examples=400)
@given(edits)
def test_edited_payloads(changes: list[tuple[int, int, bytes]]) -> None:
    """Pieces put in and taken out anywhere in a signed payload."""
    payload = PAYLOAD
    for place, length, piece in changes:
        payload = payload[:place] + piece + payload[place + length :]
    assert_same([signed(payload)])


# --- other CBOR for the same claims, and other claims -----------------------------------------


def replaced(old: bytes, new: bytes) -> bytes:
    assert PAYLOAD.count(old) == 1
    return PAYLOAD.replace(old, new)


def indefinite(value: object) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(cbor2.dumps(k) + indefinite(v) for k, v in value.items())
        return b"\xbf" + pairs + b"\xff"
    if isinstance(value, list):
        return b"\x9f" + b"".join(map(indefinite, value)) + b"\xff"
    return cbor2.dumps(value)


NAME = cbor2.dumps(DCC["nam"])
OTHER_CBOR = [
    ("indefinite lengths", indefinite(CLAIMS), Reason.VALID),
    ("an indefinite name", replaced(b"\xa4\x62fn", b"\xbf\x62fn")[:-10] + b"\xff" + PAYLOAD[-10:], Reason.VALID),
    ("a longer integer", replaced(b"\x62dn\x02", b"\x62dn\x18\x02"), Reason.VALID),
    ("a longer text's head", replaced(b"\x651.3.0", b"\x78\x051.3.0"), Reason.VALID),
    ("a longer key's head", replaced(b"\x63ver", b"\x78\x03ver"), Reason.VALID),
    ("a longer -260", replaced(b"\x39\x01\x03", b"\x3a\0\0\x01\x03"), Reason.VALID),
    ("a tagged date", replaced(b"\x62dt\x6a", b"\x62dt\xc0\x6a"), Reason.VALID),
    ("a tagged birth date", replaced(b"\x63dob\x6a", b"\x63dob\xc0\x6a"), Reason.VALID),
    ("another tag", replaced(b"\x63dob\x6a", b"\x63dob\xc1\x6a"), Reason.CBOR_TAG),
    ("a shared name", replaced(b"\x63nam", b"\x63nam\xd8\x1c"), Reason.CBOR_TAG),
    ("a byte after it", PAYLOAD + b"\0", Reason.CBOR),
    ("null after it", PAYLOAD + b"\xf6", Reason.CBOR),
    ("itself after it", PAYLOAD * 2, Reason.CBOR),
    ("a byte cut off", PAYLOAD[:-1], Reason.CBOR),
    ("ver twice", replaced(b"\xa4\x61v", b"\xa5\x61v") + b"\x63ver\x651.3.0", Reason.CBOR_DUPLICATE_KEY),
    ("v twice", replaced(b"\xa4\x61v", b"\xa5\x61v") + b"\x61v\x80", Reason.CBOR_DUPLICATE_KEY),
    ("fn twice", replaced(b"\x62fn", b"\x62fn\x61A\x62fn").replace(b"\x63nam\xa4", b"\x63nam\xa5"), Reason.CBOR_DUPLICATE_KEY),
    ("ci twice", replaced(b"\xaa\x62ci", b"\xab\x62ci").replace(b"\x62co", b"\x62ci\x61A\x62co"), Reason.CBOR_DUPLICATE_KEY),
    ("ci twice, and no vp", replaced(b"\x62vp", b"\x62ci"), Reason.CBOR_DUPLICATE_KEY),
    ("iat twice", b"\xa5" + PAYLOAD[1:].replace(b"\x39\x01\x03", b"\x06\x01\x39\x01\x03"), Reason.CBOR_DUPLICATE_KEY),
    ("-260 twice", b"\xa5" + PAYLOAD[1:] + b"\x39\x01\x03\xf6", Reason.CBOR_DUPLICATE_KEY),
    ("-260 in -260", PAYLOAD.replace(b"\x39\x01\x03", b"\x39\x01\x03\x82\x39\x01\x03"), Reason.NO_EU_DCC),
    ("dn before co", replaced(b"\x62co\x62VN\x62dn\x02", b"\x62dn\x02\x62co\x62VN"), Reason.VALID),
    ("a claim after -260", b"\xa5" + PAYLOAD[1:] + b"\x07\x40", Reason.VALID),
    ("a map that says five", b"\xa5" + PAYLOAD[1:], Reason.CBOR),
    ("a map that says three", b"\xa3" + PAYLOAD[1:], Reason.CBOR),
    ("an entry that says nine", replaced(b"\xaa\x62ci", b"\xa9\x62ci"), Reason.CBOR),
    ("a DCC that says three", replaced(b"\xa4\x61v", b"\xa3\x61v"), Reason.CBOR),
    ("a true key", b"\xa5" + PAYLOAD[1:].replace(b"\x39\x01\x03", b"\xf5\x01\x39\x01\x03"), Reason.CBOR_DUPLICATE_KEY),
    ("a true key before", b"\xa4\xf5" + PAYLOAD[2:], Reason.CBOR),
    ("a float key", b"\xa4\xf9\x3c\x00" + PAYLOAD[2:], Reason.CBOR),
    ("true for subclaim 1", replaced(b"\xa1\x01\xa4", b"\xa1\xf5\xa4"), Reason.CBOR),
    ("a null key in the name", replaced(b"\x62fn", b"\xf6"), Reason.CBOR),
    ("a bytes key in the name", replaced(b"\x62gn", b"\x42gn"), Reason.VALID),
    ("text that is not UTF-8", replaced(b"\x62dt\x6a2", b"\x62dt\x6a\xff"), Reason.CBOR),
    ("a UVCI that is not UTF-8", replaced(b"URN:", b"\xff\xff\xff\xff"), Reason.CBOR),
    ("an issuer with a key's bytes", PAYLOAD.replace(cbor2.dumps(ENTRY["is"]), cbor2.dumps("a\x63dob")), Reason.VALID),
    ("an issuer with a date's bytes", PAYLOAD.replace(cbor2.dumps(ENTRY["is"]), cbor2.dumps("a\x62dtj2021-01-01")), Reason.VALID),
    ("an iss with all the bytes", PAYLOAD.replace(b"\x62VN\x04", cbor2.dumps("9\x01") + b"\x04"), Reason.VALID),
    ("payload within a payload", cbor2.dumps(CLAIMS | {-260: {1: {"x": PAYLOAD}}}), Reason.SCHEMA),
    ("a name of one", cbor2.dumps(CLAIMS | {-260: {1: DCC | {"nam": {"fnt": "A"}}}}), Reason.VALID),
    ("a name in another order", replaced(NAME, cbor2.dumps(dict(reversed(DCC["nam"].items())))), Reason.VALID),
    ("a list for a name", replaced(NAME, cbor2.dumps(["fn", "gn", "fnt", "gnt"])), Reason.SCHEMA),
    ("a text for a name", replaced(NAME, cbor2.dumps("fngn")), Reason.SCHEMA),
]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "reason"), [c[1:] for c in OTHER_CBOR], ids=[c[0] for c in OTHER_CBOR]
)
def test_other_cbor(payload: bytes, reason: Reason) -> None:
    """Other CBOR than ours, with a signature that is right."""
    (verdict,) = assert_same([signed(payload)])
    assert verdict.reason is reason
    assert_same([TEXT, signed(payload), TEXT])


def dcc(**changes: object) -> dict:
    return CLAIMS | {-260: {1: DCC | changes}}


def entry(**changes: object) -> dict:
    return dcc(v=[ENTRY | changes])


def name(**changes: object) -> dict:
    return dcc(nam=DCC["nam"] | changes)


def test_a_schema_that_is_left_out_warns_of_nothing() -> None:
    """Whatever form the payload has: the step is left out with its codes."""
    unknown = entry(mp="EU/0/0/0")
    texts = [signed(cbor2.dumps(unknown, canonical=plain)) for plain in (True, False)]
    assert texts[0] != texts[1]
    assert all(verdict.warnings for verdict in assert_same(texts))
    policy = replace(POLICIES["eu"], schema=Demand.OFF)
    for many_verdict, text in zip(verify_texts(texts, trust(), AT, policy), texts, strict=True):
        assert verify(text, trust(), AT, policy) == many_verdict
        assert many_verdict.warnings == ()
    lax = BatchVerifier(trust(), AT, policy).outcomes(texts)
    assert [outcome.warnings for outcome in lax] == [(), ()]


NOW_S = int(AT.timestamp())
OTHER_CLAIMS = [
    ("dose true", entry(dn=True), Reason.SCHEMA),
    ("dose 1.0", entry(dn=1.0), Reason.SCHEMA),
    ("dose 0", entry(sd=0), Reason.SCHEMA),
    ("a dose in text", entry(sd="1"), Reason.SCHEMA),
    ("a large dose", entry(dn=5000), Reason.VALID),
    ("a code that is a number", entry(mp=1), Reason.SCHEMA),
    ("codes that nobody knows", entry(mp="NEW", ma="NEW", co="XX"), Reason.VALID),
    ("a country in small letters", entry(co="vn"), Reason.SCHEMA),
    ("a long issuer", entry(**{"is": "A" * 81}), Reason.SCHEMA),
    ("a short UVCI", entry(ci="A"), Reason.VALID),
    ("a long UVCI", entry(ci="A" * 81), Reason.SCHEMA),
    ("a UVCI that is a number", entry(ci=1), Reason.SCHEMA),
    ("a date that is none", entry(dt="2021-02-30"), Reason.SCHEMA),
    ("a date-time", entry(dt="2021-11-20T00:00:00Z"), Reason.VALID),
    ("a field more", entry(xx=1), Reason.VALID),
    ("no entry", dcc(v=[]), Reason.SCHEMA),
    ("two entries", dcc(v=[ENTRY, ENTRY]), Reason.SCHEMA),
    ("no list of entries", dcc(v=ENTRY), Reason.SCHEMA),
    ("another group beside it", dcc(t=[{}]), Reason.DSC_ENTRY_KIND),
    ("a null group beside it", dcc(t=None), Reason.VALID),
    ("a long name", name(fn="A" * 81), Reason.SCHEMA),
    ("a name in small letters", name(fnt="nguyen"), Reason.SCHEMA),
    ("a name that is a number", name(gn=1), Reason.SCHEMA),
    ("a name with a line feed", name(gnt="A\n"), Reason.SCHEMA),
    ("a name of null", name(gnt=None), Reason.SCHEMA),
    ("a name that is a list", name(fn=["A"]), Reason.SCHEMA),
    ("a birth year", dcc(dob="1950"), Reason.VALID),
    ("no birth date", dcc(dob=""), Reason.VALID),
    ("a birth date of another form", dcc(dob="12/04/1987"), Reason.SCHEMA),
    ("a birth date that is a number", dcc(dob=1987), Reason.SCHEMA),
    ("another version", dcc(ver="1.0.0"), Reason.VALID),
    ("no version", dcc(ver="1"), Reason.SCHEMA),
    ("exp in floats", CLAIMS | {4: float(CLAIMS[4])}, Reason.VALID),
    ("exp is NaN", CLAIMS | {4: math.nan}, Reason.TIME_UNREADABLE),
    ("no exp", {k: v for k, v in CLAIMS.items() if k != 4}, Reason.NO_EXPIRY),
    ("no iat", {k: v for k, v in CLAIMS.items() if k != 6}, Reason.VALID),
    ("no iss", {k: v for k, v in CLAIMS.items() if k != 1}, Reason.VALID),
    ("iss is a number", {1: 5} | {k: v for k, v in CLAIMS.items() if k != 1}, Reason.CLAIMS),
    ("exp is true", {4: True} | {k: v for k, v in CLAIMS.items() if k != 4}, Reason.CLAIMS),
    ("one more claim", {99: "x"} | CLAIMS, Reason.VALID),
    ("expired", CLAIMS | {4: NOW_S - 1}, Reason.EXPIRED),
    ("expires now", CLAIMS | {4: NOW_S}, Reason.VALID),
    ("issued later", CLAIMS | {6: NOW_S + 1}, Reason.NOT_YET_VALID),
    ("no hcert", {1: "VN", 4: CLAIMS[4]}, Reason.NO_EU_DCC),
    ("another subclaim", {**CLAIMS, -260: {3: DCC}}, Reason.NO_EU_DCC),
    ("two subclaims", {**CLAIMS, -260: {1: DCC, 3: 4}}, Reason.VALID),
]  # fmt: skip


@pytest.mark.parametrize(
    ("claims", "reason"), [c[1:] for c in OTHER_CLAIMS], ids=[c[0] for c in OTHER_CLAIMS]
)
def test_other_claims(claims: dict, reason: Reason) -> None:
    """Other claims than ours, with a signature that is right."""
    text = signed(cbor2.dumps(claims))
    (verdict,) = assert_same([text])
    assert verdict.reason is reason
    assert_same([TEXT, text, TEXT])


def test_all_of_them_at_once() -> None:
    """All these payloads in one call, in any order: none leans on another."""
    texts = [signed(case[1]) for case in OTHER_CBOR]
    texts += [signed(cbor2.dumps(case[1])) for case in OTHER_CLAIMS]
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        assert_same(texts)


# --- DSCs, headers, moments -------------------------------------------------------------------


def test_what_the_dsc_allows() -> None:
    """A DSC that is not valid, or may not sign vaccinations, or is no DSC."""
    second = timedelta(seconds=1)
    for certificate in (
        sign_dsc(not_before=AT + second),
        sign_dsc(not_after=AT - second),
        sign_dsc(not_before=AT, not_after=AT + second),
        sign_dsc(kinds=("t",)),
        sign_dsc(kinds=("v", "r")),
    ):
        text = signed(PAYLOAD, certificate=certificate)
        for at in (AT - second, AT, AT + second, AT + 2 * second):
            assert_same([text, text], trust(certificate), at)


def test_moments() -> None:
    """Borders of validity; an anchored trust store; an empty one."""
    for seconds in (CLAIMS[6] - 1, CLAIMS[6], CLAIMS[4], CLAIMS[4] + 1):
        at = datetime.fromtimestamp(seconds, UTC)
        assert_same([TEXT], at=at)
        assert_same([TEXT], trust(sign_dsc(not_after=AT + timedelta(days=1))), at)
    assert_same([TEXT], TrustStore([dsc()], anchored=True))
    assert_same([TEXT, TEXT], TrustStore([]))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_kids_collide(order: tuple[int, ...]) -> None:
    """Several DSCs with one kid, whichever of them signed, or none."""
    names = ("dsc", "another", "rsa dsc")
    same_kid = [replace(dsc(name), kid=dsc().kid) for name in names]
    store = TrustStore([same_kid[place] for place in order])
    texts = [signed(PAYLOAD, name, certificate=dsc()) for name in (*names, "a third")]
    verdicts = assert_same([*texts, *reversed(texts)], store)
    assert [verdict.valid for verdict in verdicts[:4]] == [True, True, True, False]


def test_headers() -> None:
    """Other headers: alg and kid elsewhere, wrong, missing, or declared critical."""
    kid, another = dsc().kid, dsc("rsa dsc").kid
    protected: list[dict] = [
        {1: -7, 4: kid}, {1: -37, 4: kid}, {1: -7, 4: another}, {1: -7}, {4: kid}, {},
        {1: -7, 2: [1], 4: kid}, {1: -7, 2: [9], 4: kid}, {1: -7, 3: "x", 4: kid}, {1: True, 4: kid},
        {1: -7, 4: b""}, {1: -7, 4: kid, 5: bytes(40)}, {1: -7, 4: kid, 5: bytes(300)},
    ]  # fmt: skip
    unprotected: list[dict] = [{}, {1: -7, 4: kid}, {4: kid}, {4: another}]
    signer = signer_of(private_key("dsc"))
    texts = []
    for header in (b"", *map(cbor2.dumps, protected)):
        (signature,) = signer.sign([cose.sig_structure(header, PAYLOAD)])
        for other_header in unprotected:
            message = cbor2.dumps([header, other_header, PAYLOAD, signature])
            texts += [framed(tag + message) for tag in (b"", b"\xd2", b"\xd8\x3d\xd2", b"\xd3")]
    verdicts = assert_same(texts, trust(dsc(), dsc("rsa dsc")))
    assert sum(verdict.valid for verdict in verdicts) > 30


def test_signatures() -> None:
    """Signatures of other lengths, with leading zeros, of nothing; a forged one beside good ones."""
    sign1 = HCERT.sign1
    raw = sign1.signature
    forged = [
        b"", raw[:-1], raw + b"\0", bytes(64), raw[:32] + bytes(32), bytes(32) + raw[32:],
        raw[32:] + raw[:32], b"\0" + raw[:63], b"\xff" * 64, bytes(256),
    ]  # fmt: skip
    texts = [framed(cose.encode_sign1(sign1.protected, PAYLOAD, s)) for s in forged]
    assert not any(assert_same(texts))
    assert [v.valid for v in assert_same([TEXT, texts[6], TEXT])] == [True, False, True]


def test_deflated_and_stored() -> None:
    """The same message in any zlib stream."""
    message = framing.unframe(TEXT)
    streams = [zlib.compress(message, level) for level in range(10)]
    assert all(assert_same(["HC1:" + other.b45encode(stream).decode() for stream in streams]))


def test_it_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """More DSCs and times than it remembers, in one block and from call to call."""
    monkeypatch.setattr(many, "_MAX_KNOWN", 2)
    dscs = [dsc("dsc"), dsc("another"), dsc("a third"), dsc("rsa dsc")]
    texts = [
        signed(cbor2.dumps(CLAIMS | {4: NOW_S + late}), name)
        for late in (-1, 0, 1, 2, 3)
        for name in ("dsc", "another", "a third", "rsa dsc")
    ]
    verifier = BatchVerifier(trust(*dscs), AT)
    expected = [facts(verify_whole(text, trust(*dscs), AT)) for text in texts]
    for _ in range(2):
        assert list(map(facts, verifier.verify(texts))) == expected
    assert len(verifier._signers) <= 2
    assert all(len(signer.judged) <= 2 for signer in verifier._signers.values())
    one = BatchVerifier(trust(), AT)
    one.verify([text for text in texts if codec.decode(text).kid == dsc().kid])
    assert [len(signer.judged) for signer in one._signers.values()] == [1]


def test_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``batch`` everything is the same."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert all(assert_same(texts_of(5)))
    assert_same([TEXT, "HC1:A", TEXT[:-1], TEXT])


def test_the_moment() -> None:
    """A naive moment is refused; without one it is now, the same for all."""
    with pytest.raises(InputError):
        BatchVerifier(trust(), datetime(2026, 2, 1))
    verdicts = verify_texts([TEXT, "", TEXT], trust())
    assert len({verdict.at for verdict in verdicts}) == 1
    assert abs((verdicts[0].at - datetime.now(UTC)).total_seconds()) < 60


def test_no_payload_is_shared() -> None:
    """A caller who changes the claims of one Verdict changes no other's."""
    first, second = verify_texts([TEXT, TEXT], trust(), AT)
    expected = repr(second.hcert.claims)
    for mapping in (first.hcert.claims, first.hcert.claims[-260], first.hcert.payload):
        mapping["changed"] = True
    first.hcert.payload["v"][0]["dn"] = 99
    first.hcert.payload["nam"]["fn"] = "x"
    assert repr(second.hcert.claims) == expected
    (third,) = verify_texts([TEXT], trust(), AT)
    assert repr(third.hcert.claims) == expected
