"""The EU's batches: one form, and every other one refused as a whole."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuing import NOW, private_key, sign_dsc, signer_of
from vaxpass_sign.check.revocation.batch import (
    MAX_BATCH_BYTES,
    Batch,
    read_batch,
    read_signed_batch,
)
from vaxpass_sign.check.revocation.hashes import HashType, Scope
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.revocation.signing import sign_batch, sign_cms

AT, END = NOW, NOW + timedelta(days=30)
HASH = base64.b64encode(bytes(range(16))).decode()
GOOD = {
    "country": "VN",
    "expires": "2027-01-31T00:00:00Z",
    "kid": base64.b64encode(bytes(range(8))).decode(),
    "hashType": "UCI",
    "entries": [{"hash": HASH}],
}


def read(**changes: object) -> Batch:
    return read_batch(json.dumps({**GOOD, **changes}).encode(), at=AT)


def test_the_good_one() -> None:
    batch = read()
    assert batch.scope == Scope(HashType.UCI, "VN", bytes(range(8)))
    assert batch.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert batch.entries == (bytes(range(16)),)
    assert read(kid="UNKNOWN_KID").scope.kid is None
    assert read(expires="2027-01-31T07:00:00.123+07:00") == batch
    assert read(country="XCL").scope.country == "XCL"
    assert len(read(entries=[{"hash": HASH}] * 1000).entries) == 1000


BAD = {
    "country: small": {"country": "vn"},
    "country: none": {"country": None},
    "country: a list": {"country": ["VN"]},
    "expires: no offset": {"expires": "2027-01-31T00:00:00"},
    "expires: a date": {"expires": "2027-01-31"},
    "expires: a number": {"expires": 1},
    "expires: no day": {"expires": "2027-02-31T00:00:00Z"},
    "expires: year 0": {"expires": "0000-01-01T00:00:00Z"},
    "expires: beyond UTC": {"expires": "9999-12-31T23:59:59-23:59"},
    "expires: offset of days": {"expires": "2027-01-31T00:00:00+99:99"},
    "expires: a newline": {"expires": "2027-01-31T00:00:00Z\n"},
    "kid: short": {"kid": base64.b64encode(bytes(7)).decode()},
    "kid: long": {"kid": base64.b64encode(bytes(9)).decode()},
    "kid: unknown": {"kid": "unknown_kid"},
    "kid: none": {"kid": None},
    "kid: a list": {"kid": []},
    "hashType: small": {"hashType": "uci"},
    "hashType: other": {"hashType": "SERIAL"},
    "hashType: a list": {"hashType": ["UCI"]},
    "hashType: an object": {"hashType": {}},
    "entries: none": {"entries": []},
    "entries: null": {"entries": None},
    "entries: an object": {"entries": {"hash": HASH}},
    "entries: 1001": {"entries": [{"hash": HASH}] * 1001},
    "entry: a text": {"entries": [HASH]},
    "entry: more names": {"entries": [{"hash": HASH, "x": "y"}]},
    "entry: another name": {"entries": [{"Hash": HASH}]},
    "entry: null": {"entries": [{"hash": None}]},
    "hash: 15 bytes": {"entries": [{"hash": base64.b64encode(bytes(15)).decode()}]},
    "hash: 32 bytes": {"entries": [{"hash": base64.b64encode(bytes(32)).decode()}]},
    "hash: no padding": {"entries": [{"hash": HASH.rstrip("=")}]},
    "hash: spare bits": {"entries": [{"hash": HASH[:-3] + chr(ord(HASH[-3]) + 1) + "=="}]},
    "hash: a newline": {"entries": [{"hash": HASH + "\n"}]},
    "hash: urlsafe": {"entries": [{"hash": "_" * 22 + "=="}]},
    "hash: not ASCII": {"entries": [{"hash": "é" + HASH[1:]}]},
    "hash: hexadecimal": {"entries": [{"hash": bytes(16).hex()}]},
    "one bad among good": {"entries": [{"hash": HASH}] * 9 + [{"hash": "x"}]},
    "a name more": {"signature": "x"},
}


@pytest.mark.parametrize("name", BAD)
def test_another_form_is_refused(name: str) -> None:
    with pytest.raises(TrustError) as caught:
        read(**BAD[name])
    assert "\n" not in str(caught.value)
    assert HASH not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_missing_name(name: str) -> None:
    with pytest.raises(TrustError, match="names"):
        read_batch(
            json.dumps({key: value for key, value in GOOD.items() if key != name}).encode(), at=AT
        )


TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.encode("utf-16"),
        TEXT.encode() + b"{}",
        TEXT.replace('"kid"', '"country": "LA", "kid"').encode(),
        TEXT.replace(f'"hash": "{HASH}"', f'"hash": "{HASH}", "hash": "{HASH}"').encode(),
        TEXT.replace('"UCI"', "NaN").encode(),
        TEXT.replace('"UCI"', "9" * 5000).encode(),
        b"[" * 200_000,
        b'{"a":' * 40_000,
        TEXT.encode() + b" " * MAX_BATCH_BYTES,
    ],
    ids=lambda text: text[:20],
)
def test_what_is_no_such_json(text: bytes) -> None:
    """A name that stands twice is refused: two readers would take different ones."""
    with pytest.raises(TrustError) as caught:
        read_batch(text, at=AT)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        read_batch(data, at=AT)


@given(st.integers(0, len(TEXT) - 1), st.integers(0, 255))
def test_any_byte_changed(at: int, value: int) -> None:
    """A batch or a TrustError; and what is read can be written and read again."""
    data = TEXT.encode()
    try:
        batch = read_batch(data[:at] + bytes([value]) + data[at + 1 :], at=AT)
    except TrustError:
        return
    assert read_batch(batch.to_json(), at=AT) == batch


def test_expiry() -> None:
    moment = datetime(2027, 1, 31, tzinfo=UTC)
    assert read_batch(TEXT.encode(), at=moment - timedelta(seconds=1))
    for at in (moment, moment.astimezone(timezone(timedelta(hours=7)))):
        with pytest.raises(TrustError, match="expired"):
            read_batch(TEXT.encode(), at=at)
    with pytest.raises(InputError):
        read_batch(TEXT.encode(), at=moment.replace(tzinfo=None))
    with pytest.raises(TrustError, match="expired"):
        read_batch(json.dumps({**GOOD, "expires": "2020-01-01T00:00:00Z"}).encode())


@given(
    st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=1000),
    st.sampled_from(HashType),
    st.none() | st.binary(min_size=8, max_size=8),
    st.datetimes(datetime(2027, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_what_is_written_is_read(entries, hash_type, kid, end) -> None:
    batch = Batch(Scope(hash_type, "VN", kid), end, tuple(entries))
    assert len(batch.to_json()) < MAX_BATCH_BYTES
    assert read_batch(batch.to_json(), at=AT) == batch


@pytest.mark.parametrize(
    ("end", "entries"),
    [
        (END, ()),
        (END, (bytes(16),) * 1001),
        (END, (bytes(15),)),
        (END.replace(tzinfo=None), (bytes(16),)),
    ],
)
def test_a_batch_is_valid_once_built(end: datetime, entries: tuple[bytes, ...]) -> None:
    with pytest.raises(InputError):
        Batch(Scope(HashType.UCI, "VN"), end, entries)


# --- signed ----------------------------------------------------------------------------------

BATCH = Batch(Scope(HashType.UCI, "VN", bytes(8)), END, (bytes(16),))
SIGNER = signer_of(private_key("upload"))
CERTIFICATE = sign_dsc("upload")


def test_a_signed_batch_is_read() -> None:
    data = sign_batch(BATCH, SIGNER, CERTIFICATE, at=NOW)
    assert read_signed_batch(data, [CERTIFICATE], at=AT) == BATCH


def test_nobody_else_may_sign_it() -> None:
    data = sign_batch(BATCH, SIGNER, CERTIFICATE, at=NOW)
    for anchors in ([], [sign_dsc("other")]):
        with pytest.raises(TrustError, match="pinned"):
            read_signed_batch(data, anchors, at=AT)


def test_another_countrys_batch_is_refused() -> None:
    """A pinned certificate speaks for its own country and revokes nobody else's credentials."""
    other = Batch(Scope(HashType.UCI, "LA", bytes(8)), END, (bytes(16),))
    data = sign_cms(other.to_json(), SIGNER, CERTIFICATE, at=NOW)
    with pytest.raises(TrustError, match="own country"):
        read_signed_batch(data, [CERTIFICATE], at=AT)


def test_an_expired_signed_batch() -> None:
    data = sign_batch(BATCH, SIGNER, CERTIFICATE, at=NOW)
    with pytest.raises(TrustError, match="expired"):
        read_signed_batch(data, [CERTIFICATE], at=END)
