"""CBOR: deterministic out; bounded, without tags and duplicates in."""

from __future__ import annotations

import io

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies import records
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import cbor, claims, cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.record.model import VaccinationRecord


def code_of(data: bytes) -> str:
    with pytest.raises(HcertError) as caught:
        cbor.decode(data)
    return caught.value.code


HOSTILE = [
    ("empty", b"", Fault.CBOR),
    ("cut short", b"\xa1\x01", Fault.CBOR),
    ("trailing byte", b"\x01\x02", Fault.CBOR),
    ("two items", b"\xa0\xa0", Fault.CBOR),
    ("reserved length", b"\x1c", Fault.CBOR),
    ("a break alone", b"\xff", Fault.CBOR),
    ("text that is not UTF-8", b"\x62\xff\xff", Fault.CBOR),
    ("array of 2^60 elements", b"\x9b\x10" + bytes(7), Fault.CBOR),
    ("bytes of 2^60 length", b"\x5b\x10" + bytes(7), Fault.CBOR),
    ("map of 2^60 pairs", b"\xbb\x10" + bytes(7), Fault.CBOR),
    ("17 arrays deep", b"\x81" * 17 + b"\x01", Fault.CBOR_TOO_DEEP),
    ("100,000 arrays deep", b"\x81" * 100_000 + b"\x01", Fault.CBOR_TOO_DEEP),
    ("100,000 indefinite arrays", b"\x9f" * 100_000, Fault.CBOR_TOO_DEEP),
    ("100,000 maps deep", b"\xa1\x01" * 100_000 + b"\x01", Fault.CBOR_TOO_DEEP),
    ("3,000 elements", b"\x99\x0b\xb8" + b"\x01" * 3000, Fault.CBOR_TOO_MANY),
    ("1,500 in each of two", b"\x82" + (b"\x99\x05\xdc" + b"\x01" * 1500) * 2, Fault.CBOR_TOO_MANY),
    ("shared reference", b"\xd8\x1c\x81\xd8\x1d\x00", Fault.CBOR_TAG),
    ("a value marked as shared", b"\xd8\x1c\x81\x01", Fault.CBOR_TAG),
    ("string references", b"\xd9\x01\x00\x82\x63abc\xd8\x19\x00", Fault.CBOR_TAG),
    ("big integer", b"\xc2\x41\x01", Fault.CBOR_TAG),
    ("a date-time as a number", b"\xc1\x01", Fault.CBOR_TAG),
    ("tag 0 of a number", b"\xc0\x01", Fault.CBOR_TAG),
    ("a key twice", b"\xa2\x01\x01\x01\x02", Fault.CBOR_DUPLICATE_KEY),
    ("1 and 1.0 as keys", b"\xa2\x01\x01\xf9\x3c\x00\x02", Fault.CBOR_DUPLICATE_KEY),
    ("true as a key", b"\xa1\xf5\x01", Fault.CBOR),
    ("1.0 as a key", b"\xa1\xf9\x3c\x00\x02", Fault.CBOR),
    ("an array as a key", b"\xa1\x80\x01", Fault.CBOR),
    ("3,000 elements in a key", b"\xa1\x99\x0b\xb8" + b"\x01" * 3000 + b"\x01", Fault.CBOR),
    (
        "1,100 keys and values",
        b"\xb9\x04\x4c" + b"".join(b"\x19" + n.to_bytes(2) + b"\x01" for n in range(256, 1356)),
        Fault.CBOR_TOO_MANY,
    ),
    ("true as a key further in", b"\x82\x01\x81\xa1\x61a\x81\xa1\xf5\x01", Fault.CBOR),
    (
        "null as a key, after 3,000 bytes",
        b"\x82\x59\x0b\xb8" + bytes(3000) + b"\xa1\xf6\x01",
        Fault.CBOR,
    ),
    ("a key twice further in", b"\xa1\x01\xa2\x61a\x01\x61a\x02", Fault.CBOR_DUPLICATE_KEY),
]


@pytest.mark.parametrize(("data", "fault"), [h[1:] for h in HOSTILE], ids=[h[0] for h in HOSTILE])
def test_refuses(data: bytes, fault: Fault) -> None:
    """Refuses hostile CBOR, each with its own fault."""
    assert code_of(data) == fault


def test_no_tag_but_0_is_taken() -> None:
    """Every tag number that cbor2 knows, and every other up to 70,000, is refused, but for 0."""
    contents = (b"\x01", b"\x61a", b"\x41a", b"\x80", b"\x82\x01\x02", b"\xa0")
    taken = set()
    for tag in (*range(70_000), 2**32 - 1, 2**63):
        head = bytearray(cbor2.dumps(tag))
        head[0] |= 0xC0
        for content in contents if tag < 60_000 else contents[:1]:
            try:
                cbor.decode(bytes(head) + content)
            except HcertError as error:
                assert error.code in (Fault.CBOR_TAG, Fault.CBOR)  # noqa: PT017
            else:
                taken.add(tag)
    assert taken == {0}


def test_a_tagged_date_time_is_its_text() -> None:
    """Tag 0 gives the text that was written, not an object."""
    text = "2021-10-09T12:03:12Z"
    assert cbor.decode(cbor2.dumps(cbor2.CBORTag(0, text))) == text


def test_indefinite_lengths_are_read() -> None:
    """Indefinite maps, arrays and strings are read; published credentials have them."""
    assert cbor.decode(bytes.fromhex("bf6161 9f0102ff 6162 7f6163 6164ff ff")) == {
        "a": [1, 2],
        "b": "cd",
    }


def test_the_bound_on_elements_is_exact() -> None:
    """An array of MAX_ELEMENTS with itself is read, one more is not, however few bytes they take."""
    fits = cbor.MAX_ELEMENTS - 1
    assert cbor.decode(b"\x99" + fits.to_bytes(2) + b"\x01" * fits) == [1] * fits
    assert code_of(b"\x99" + (fits + 1).to_bytes(2) + b"\x01" * (fits + 1)) == Fault.CBOR_TOO_MANY
    assert code_of(b"\x9f" + b"\x01" * (fits + 1) + b"\xff") == Fault.CBOR_TOO_MANY


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_round_trip(value: object) -> None:
    """What is encoded is decoded again, unless it passes a bound."""
    try:
        assert cbor.decode(cbor.encode(value)) == value
    except HcertError as error:
        assert error.code == Fault.CBOR_TOO_DEEP  # noqa: PT017


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are decoded, or refused with an HcertError."""
    try:
        cbor.decode(data)
    except HcertError:
        pass


def assert_sorted(value: object) -> None:
    if isinstance(value, dict):
        keys = [cbor2.dumps(key) for key in value]
        assert keys == sorted(keys)
        for item in value.values():
            assert_sorted(item)
    elif isinstance(value, list):
        for item in value:
            assert_sorted(item)


@given(records)
def test_keys_are_sorted(record: VaccinationRecord) -> None:
    """In all that we write, map keys stand in the bytewise order of RFC 8949 §4.2.1."""
    mapping = claims.record_claims(
        record, uvci="A", country="VN", issuer_name="A", issued_at_s=1, expires_at_s=2
    )
    assert_sorted(cbor2.loads(cbor.encode(mapping)))
    assert_sorted(cbor2.loads(cose.encode_protected(Alg.PS256, bytes(8))))


NOT_PAIRS = [
    ("a key without its value", b"\x01"),
    ("a byte after the pairs", b"\x01\x02\x03"),
    ("an end before the end", b"\x01\x02\xff"),
    ("something after an end", b"\x01\x02\xff\x01"),
    ("an array that lacks an element", b"\x01\x82\x01"),
    ("a map that lacks a value", b"\x01\xa1\x01"),
    ("an array without an end", b"\x01\x9f\x01"),
    ("a text without an end", b"\x01\x7f\x61a"),
    ("a text that lacks a byte", b"\x01\x62a"),
    ("a tag without a content", b"\x01\xc0"),
    ("a key twice", b"\x01\x02\x01\x03"),
]


@pytest.mark.parametrize(
    "pairs", [data for _, data in NOT_PAIRS], ids=[name for name, _ in NOT_PAIRS]
)
def test_not_pairs(pairs: bytes) -> None:
    with pytest.raises(HcertError):
        cbor.decode_pairs(pairs)


@given(
    st.binary(max_size=12)
    | st.lists(st.sampled_from(b"\x01\x02\x61\x62\x82\xa1\x9f\xbf\xff\xc0a"), max_size=8).map(bytes)
)
def test_pairs_are_those_of_a_map_with_a_length(pairs: bytes) -> None:
    """Whatever is read as pairs is read the same as a map of so many pairs."""
    try:
        found = cbor.decode_pairs(pairs)
    except HcertError:
        return
    assert len(found) < 24
    stream = io.BytesIO(bytes((0xA0 + len(found),)) + pairs)
    assert repr(cbor2.CBORDecoder(stream, **cbor._STRICT).decode()) == repr(found)
    assert stream.tell() == 1 + len(pairs)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=4) | st.integers(0, 200), max_size=5))
def test_pairs(mapping: dict) -> None:
    assert cbor.decode_pairs(cbor2.dumps(mapping)[1:]) == mapping
