"""Plain payloads: ours are; what is read of one is what the decoder reads."""

from __future__ import annotations

from dataclasses import replace

import cbor2
import pytest
from hypothesis import given

from issuing import RECORD
from strategies import records
from vaxpass_sign import sample
from vaxpass_sign.check.plain import PERSONAL, keep_schema, read_plain
from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import claims
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.record.model import VaccinationRecord

VALUES = ("URN:UVCI:01:VN:A#B", "1987-04-12", "1.3.0", "Nguyễn", "Khai", "NGUYEN", "KHAI")


def payload_of(record: VaccinationRecord, uvci: str = "URN:UVCI:01:VN:ABCDEFGHIJKL#M") -> bytes:
    return claims.encode_claims(
        claims.record_claims(
            record,
            uvci=uvci,
            country="VN",
            issuer_name="Bộ Y tế",
            issued_at_s=1_768_478_400,
            expires_at_s=1_800_014_400,
        )
    )


@pytest.mark.parametrize(
    "record", [RECORD, replace(RECORD, given_name="", gnt=""), *sample.records(40)]
)
def test_ours_are_plain(record: VaccinationRecord) -> None:
    """A payload of ours, a mononym's too, is plain, and its values keep the schema."""
    plain = read_plain(payload_of(record))
    assert plain
    assert keep_schema([plain.values])
    assert plain.warnings == ()


@given(records)
def test_the_same_claims_in_the_same_order(record: VaccinationRecord) -> None:
    """What is read is what the decoder gives, in its order; the values are what they are named."""
    payload = payload_of(record)
    plain = read_plain(payload)
    assert plain
    decoded = claims.decode_claims(payload)
    assert repr(plain.claims()) == repr(decoded)
    dcc = decoded[-260][1]
    flat = dcc | {"gn": "", "gnt": ""} | dcc["nam"] | dcc["v"][0]
    assert plain.values == tuple(flat[field] for field in PERSONAL)
    assert payload.startswith(plain.head + b"\x39\x01\x03")


def test_a_short_uvci_is_not_plain() -> None:
    """A text whose head is one byte is read by the decoder; none of ours is that short."""
    assert read_plain(payload_of(RECORD, uvci="A")) is None


def test_empty_given_names_are_not_plain() -> None:
    """A mononym leaves them out; who writes them says something else."""
    found = claims.decode_claims(payload_of(RECORD))
    for gn, gnt, plain in (("", "", False), ("", "KHAI", True), ("Khai", "", True)):
        found[-260][1]["nam"] |= {"gn": gn, "gnt": gnt}
        read = read_plain(claims.encode_claims(found))
        assert (read is not None) is plain
        assert read is None or read.claims() == found


@pytest.mark.parametrize("nam", [True, None, 2, 1.5, "an", b"an", [], ["fn", "fnt"], {}])
def test_names_that_are_no_map_are_not_plain(nam: object) -> None:
    """Whatever stands in the names' place: the numbered steps say what is wrong with it."""
    found = claims.decode_claims(payload_of(RECORD))
    found[-260][1]["nam"] = nam
    assert read_plain(claims.encode_claims(found)) is None


@pytest.mark.parametrize("field", ["dob", "ver", "fn", "gn", "fnt", "gnt"])
@pytest.mark.parametrize(
    "value", [1, None, b"A", [[[[[[[[[[[[[1]]]]]]]]]]]]], {1.5: "A"}, [0] * 2048]
)
def test_values_that_are_no_texts_are_not_plain(field: str, value: object) -> None:
    """The decoder may refuse the whole for them, which has them deeper inside and counts them."""
    found = claims.decode_claims(payload_of(RECORD))
    inside = found[-260][1]
    (inside if field in inside else inside["nam"])[field] = value
    assert read_plain(claims.encode_claims(found)) is None


def test_more_elements_than_the_decoder_takes_are_not_plain() -> None:
    """Each part has few enough, and the whole too many."""
    found = claims.decode_claims(payload_of(RECORD))
    payload = cbor2.dumps({1: "VN", 2: [0] * 2030, -260: found[-260]})
    assert read_plain(payload) is None
    with pytest.raises(HcertError) as caught:
        claims.decode_claims(payload)
    assert caught.value.code == Fault.CBOR_TOO_MANY
    assert read_plain(cbor2.dumps({1: "VN", 2: [0] * 1000, -260: found[-260]}))


@pytest.mark.parametrize("field", PERSONAL)
@pytest.mark.parametrize("value", [1, 1.0, True, None, b"A", [], {}, "a" * 81])
def test_each_value_counts(field: str, value: object) -> None:
    """One value of another type or form, and the rows do not keep the schema."""
    changed = tuple(
        value if name == field else kept for name, kept in zip(PERSONAL, VALUES, strict=True)
    )
    assert keep_schema([VALUES])
    assert not keep_schema([changed])
    assert not keep_schema([VALUES, changed, VALUES])


def test_no_rows_keep_the_schema() -> None:
    """Nothing breaks nothing."""
    assert keep_schema([])


def test_what_recurs_is_judged_by_its_bytes() -> None:
    """1 and true are equal in Python and not in CBOR: neither is taken for the other."""
    good = payload_of(RECORD)
    bad = good.replace(b"\x62dn\x02", b"\x62dn\xf5").replace(b"\x62sd\x02", b"\x62sd\xf5")
    one = good.replace(b"\x62dn\x02", b"\x62dn\x01").replace(b"\x62sd\x02", b"\x62sd\x01")
    assert cbor2.loads(bad) == cbor2.loads(one)
    for _ in range(2):
        assert read_plain(one)
        assert read_plain(bad) is None
