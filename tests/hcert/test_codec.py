"""Decoding: round trips, every form seen in the wild, every hostile one, and any text at all."""

from __future__ import annotations

import math
import random
import zlib

import base45 as other
import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import records
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import claims, codec, cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.faults import Fault

KID = bytes(range(8))
PROTECTED = cbor2.dumps({1: -7, 4: KID})
DCC = {"ver": "1.3.0", "dob": "1990-01-01", "nam": {"fnt": "AN"}, "v": [{}]}
CLAIMS = {1: "VN", 4: 1_800_000_000, 6: 1_700_000_000, -260: {1: DCC}}


def text_of(message: bytes) -> str:
    return "HC1:" + other.b45encode(zlib.compress(message)).decode()


def sign1(
    protected: object = PROTECTED,
    unprotected: object = None,
    payload: object = None,
    signature: object = bytes(64),
    tag: bytes = b"\xd2",
) -> str:
    payload = cbor2.dumps(CLAIMS) if payload is None else payload
    return text_of(tag + cbor2.dumps([protected, unprotected or {}, payload, signature]))


@settings(deadline=None)
@given(records, st.binary(min_size=64, max_size=64))
def test_round_trip(record, signature: bytes) -> None:
    """decode(encode(x)) is x: claims, kid, alg, signature."""
    mapping = claims.record_claims(
        record,
        uvci="URN:UVCI:01:VN:A#B",
        country="VN",
        issuer_name="Bộ Y tế",
        issued_at_s=1_700_000_000,
        expires_at_s=1_800_000_000,
    )
    protected = cose.encode_protected(Alg.ES256, KID)
    hcert = codec.decode(codec.encode(protected, claims.encode_claims(mapping), signature))
    assert hcert.claims == mapping
    assert hcert.payload == mapping[-260][1]
    assert (hcert.kid, hcert.alg, hcert.issuer) == (KID, Alg.ES256, "VN")
    assert hcert.sign1.signature == signature
    assert hcert.issued_at.timestamp() == 1_700_000_000
    assert hcert.expires_at.timestamp() == 1_800_000_000


def indefinite(mapping: dict) -> bytes:
    pairs = b"".join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in mapping.items())
    return b"\xbf" + pairs + b"\xff"


SEEN = [
    ("unprotected kid", sign1(cbor2.dumps({1: -7}), {4: KID}), KID, -7),
    ("alg only unprotected", sign1(cbor2.dumps({4: KID}), {1: -7}), KID, -7),
    ("both unprotected, empty protected", sign1(b"", {1: -7, 4: KID}), KID, -7),
    ("an extra header 3", sign1(cbor2.dumps({1: -7, 3: 0, 4: KID})), KID, -7),
    ("protected wins", sign1(PROTECTED, {1: -37, 4: bytes(8)}), KID, -7),
    ("untagged", sign1(tag=b""), KID, -7),
    ("61(18(…))", sign1(tag=b"\xd8\x3d\xd2"), KID, -7),
    ("indefinite map", sign1(payload=indefinite(CLAIMS)), KID, -7),
    ("a kid of two bytes", sign1(cbor2.dumps({1: -7, 4: b"ab"})), b"ab", -7),
    ("no kid, no alg", sign1(b"\xa0"), None, None),
    ("an unknown alg", sign1(cbor2.dumps({1: -8, 4: KID})), KID, -8),
    ("crit names only what we know", sign1(cbor2.dumps({1: -7, 2: [1], 4: KID})), KID, -7),
]


@pytest.mark.parametrize(("text", "kid", "alg"), [s[1:] for s in SEEN], ids=[s[0] for s in SEEN])
def test_reads_what_is_seen_in_the_wild(text: str, kid: bytes | None, alg: int | None) -> None:
    """Headers are found wherever issuers put them; the protected one wins."""
    hcert = codec.decode(text)
    assert (hcert.kid, hcert.alg, hcert.payload) == (kid, alg, DCC)


TIMES = [
    ("float exp", {4: 1.8e9}, 1_800_000_000),
    ("no exp", {}, None),
    ("NaN", {4: math.nan}, None),
    ("infinity", {4: math.inf}, None),
    ("far away", {4: 1e300}, None),
    ("an integer beyond all calendars", {4: 2**63}, None),
    ("before the year 1", {4: -(10**12)}, None),
]


@pytest.mark.parametrize(("mapping", "seconds"), [t[1:] for t in TIMES], ids=[t[0] for t in TIMES])
def test_any_number_is_read_as_exp(mapping: dict, seconds: int | None) -> None:
    """exp may be any number; one that is no point in time gives None."""
    expires_at = codec.decode(sign1(payload=cbor2.dumps(mapping))).expires_at
    assert (expires_at and expires_at.timestamp()) == seconds


@pytest.mark.parametrize("inside", [{}, {-260: {}}, {-260: {1: 5}}, {-260: []}, {-260: {-6: {}}}])
def test_no_eu_dcc_inside(inside: dict) -> None:
    """Without an EU DCC the claims are read and the payload is None."""
    hcert = codec.decode(sign1(payload=cbor2.dumps(inside)))
    assert hcert.payload is None
    assert hcert.claims == inside


HOSTILE = [
    ("no array", text_of(b"\xd2\xa0"), Fault.COSE),
    ("an array of three", text_of(b"\xd2" + cbor2.dumps([b"", {}, b""])), Fault.COSE),
    ("an array of five", text_of(b"\xd2" + cbor2.dumps([b"", {}, b"", b"", b""])), Fault.COSE),
    ("tag 98 (COSE_Sign)", sign1(tag=b"\xd8\x62"), Fault.CBOR_TAG),
    ("tag 17 (COSE_Mac0)", sign1(tag=b"\xd1"), Fault.CBOR_TAG),
    ("tag 18 twice", sign1(tag=b"\xd2\xd2"), Fault.CBOR_TAG),
    ("61 alone", sign1(tag=b"\xd8\x3d"), Fault.CBOR_TAG),
    ("a byte after it", text_of(b"\xd2" + cbor2.dumps([b"", {}, b"", b""]) + b"x"), Fault.CBOR),
    ("protected header is a map", sign1({1: -7}), Fault.COSE),
    ("unprotected header is bytes", sign1(PROTECTED, b"x"), Fault.COSE),
    ("payload is text", sign1(payload="text"), Fault.COSE),
    ("payload is null (detached)", text_of(b"\xd2\x84\x40\xa0\xf6\x40"), Fault.COSE),
    ("signature is text", sign1(signature="text"), Fault.COSE),
    ("protected bytes are no map", sign1(b"\x80"), Fault.COSE),
    ("protected bytes are garbage", sign1(b"\xff"), Fault.CBOR),
    ("alg is text", sign1(cbor2.dumps({1: "ES256", 4: KID})), Fault.COSE),
    ("alg is true", sign1(cbor2.dumps({1: True, 4: KID})), Fault.COSE),
    ("kid is text", sign1(cbor2.dumps({1: -7, 4: "kid"})), Fault.COSE),
    ("kid is empty", sign1(cbor2.dumps({1: -7, 4: b""})), Fault.COSE),
    ("kid of 65 bytes", sign1(cbor2.dumps({1: -7, 4: bytes(65)})), Fault.COSE),
    ("alg named twice", sign1(b"\xa2\x01\x26\x01\x38\x24"), Fault.CBOR_DUPLICATE_KEY),
    ("a critical header", sign1(cbor2.dumps({1: -7, 2: [99], 99: 1})), Fault.COSE_CRITICAL),
    ("crit is empty", sign1(cbor2.dumps({1: -7, 2: []})), Fault.COSE),
    ("crit is a number", sign1(cbor2.dumps({1: -7, 2: 1})), Fault.COSE),
    ("crit of arrays", sign1(cbor2.dumps({1: -7, 2: [[1]]})), Fault.COSE_CRITICAL),
    ("claims are no map", sign1(payload=b"\x80"), Fault.CLAIMS),
    ("iss is a number", sign1(payload=cbor2.dumps({1: 5})), Fault.CLAIMS),
    ("exp is text", sign1(payload=cbor2.dumps({4: "2030"})), Fault.CLAIMS),
    ("iat is true", sign1(payload=cbor2.dumps({6: True})), Fault.CLAIMS),
    ("exp is a big integer", sign1(payload=cbor2.dumps({4: 2**70})), Fault.CBOR_TAG),
    ("two -260", sign1(payload=bytes.fromhex("a2390103a0390103a0")), Fault.CBOR_DUPLICATE_KEY),
    ("claims 100,000 deep", text_of(b"\xd2" + b"\x81" * 30_000), Fault.CBOR_TOO_DEEP),
    ("claims cut short", sign1(payload=cbor2.dumps(CLAIMS)[:-1]), Fault.CBOR),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fault"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_refuses(text: str, fault: Fault) -> None:
    """Refuses hostile messages, each with its own fault."""
    with pytest.raises(HcertError) as caught:
        codec.decode(text)
    assert caught.value.code == fault


@given(st.text() | st.binary() | st.none() | st.integers())
def test_any_input(value: object) -> None:
    """No input makes decoding raise anything but HcertError."""
    with pytest.raises(HcertError):
        codec.decode(value)


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_message(message: bytes) -> None:
    """No message inside a well-framed text makes decoding raise anything but HcertError."""
    try:
        codec.decode(text_of(message))
    except HcertError:
        pass


@settings(max_examples=300)
@given(st.integers(0), st.sampled_from([1, 3, 8]))
def test_any_mutation_of_a_message(seed: int, changes: int) -> None:
    """Changed bytes of a real message are decoded, or refused with an HcertError."""
    rng = random.Random(seed)
    message = bytearray(b"\xd2" + cbor2.dumps([PROTECTED, {}, cbor2.dumps(CLAIMS), bytes(64)]))
    for _ in range(changes):
        message[rng.randrange(len(message))] = rng.randrange(256)
    try:
        codec.decode(text_of(bytes(message)))
    except HcertError as error:
        assert error.code in set(Fault)  # noqa: PT017


def test_repr_has_no_personal_data() -> None:
    """A decoded HCERT may be logged."""
    text = repr(codec.decode(sign1()))
    assert "AN" not in text
    assert "1990" not in text
