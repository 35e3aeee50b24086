"""Telling formats apart, and any bytes at all."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuing import AT, dsc, private_key
from signed_lists import (
    anchor,
    did_document,
    did_entry,
    item,
    jwk,
    leaf,
    sign_cms,
    sign_did,
    sign_jws,
    swedish_payload,
)
from vaxpass_sign.check.lists import ListFormat, SignedList, detect, read_list
from vaxpass_sign.errors import TrustError
from work import at_most_calls

TA = "list anchor"
ANCHORS = [anchor(), leaf("list signer", "SE", TA), private_key("did").public_key()]

GATEWAY = json.dumps([item(dsc(), sign_cms(dsc().der, anchor(), TA))]).encode()
SWEDISH = sign_jws(json.dumps(swedish_payload(jwk(dsc()))).encode(), ANCHORS[1], "list signer")
GDHCN = json.dumps(sign_did(did_document(did_entry(dsc())), "did")).encode()

LISTS = {ListFormat.DGCG: GATEWAY, ListFormat.SWEDISH: SWEDISH, ListFormat.GDHCN: GDHCN}


def read_or_refuse(data: bytes) -> SignedList | None:
    """What a list says, None when it is refused; anything but TrustError fails the test."""
    refused = ""
    try:
        return read_list(data, ANCHORS, AT)
    except TrustError as error:
        refused = str(error)
    assert refused.isprintable()
    return None


@pytest.mark.parametrize(("list_format", "data"), LISTS.items(), ids=LISTS)
def test_each_format(list_format: ListFormat, data: bytes) -> None:
    """Each is told by its form, with blanks around it too, and read with the anchors that fit."""
    for given_data in (data, b"\n " + data + b"\r\n"):
        assert detect(given_data) is list_format
        found = read_list(given_data, ANCHORS, AT)
        assert (found.format, found.dscs) == (list_format, (dsc(),))


def test_further_arguments_reach_their_format() -> None:
    reference = sign_did(did_document("did:web:a:DSC", id="did:web:a"), "did")
    other = sign_did(did_document(did_entry(dsc()), id="did:web:a:DSC"), "did")
    documents = [json.dumps(other).encode()]
    assert read_list(json.dumps(reference).encode(), ANCHORS, AT, documents=documents).dscs
    upload = leaf("upload VN", "VN", TA)
    data = json.dumps([item(dsc(), sign_cms(dsc().der, upload, "upload VN"))]).encode()
    assert read_list(data, [], AT, uploads=[upload]).dscs == (dsc(),)


UNKNOWN = {
    "nothing": (b"", "found nothing"),
    "blanks": (b" \n", "has no form that is known"),
    "a string": (b'"eyJ"', "has no form that is known"),
    "an object": (b'{"certificates": []}', "has no form that is known"),
    "an array of something else": (b"[1]", "has no form that is known"),
    "PEM": (b"-----BEGIN CERTIFICATE-----", "has no form that is known"),
    "a byte order mark": (b"\xef\xbb\xbf[]", "has no form that is known"),
    "UTF-16": ("[]".encode("utf-16"), "has no form that is known"),
    "cut": (b'[{"rawData": ', "is not JSON in UTF-8, or was cut off"),
    "deep": (b"[" * 190_000, "is nested too deeply"),
    "wide": (b"[" + b"[]," * 300_000 + b"[]]", "objects and arrays and"),
    "many numbers": (b"[" + b"0," * 1_100_000 + b"0]", "and 1100000 commas, expected at most"),
    "many names, one twice": (
        b"{" + b"".join(b'"%d":0,' % n for n in range(300_000)) + b'"0":0}',
        "names the key '0' twice",
    ),
    "too large": (b"[" + b" " * 16 * 1024 * 1024 + b"]", "found 16777218 bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), UNKNOWN.values(), ids=UNKNOWN)
def test_no_known_form(data: bytes, words: str) -> None:
    """Refused, and soon."""
    with at_most_calls(1_000_000), pytest.raises(TrustError) as caught:
        read_list(data, ANCHORS, AT)
    assert words in str(caught.value)


@pytest.mark.parametrize("data", LISTS.values(), ids=LISTS)
def test_changed_bytes(data: bytes) -> None:
    """A list with one byte changed is refused, or says exactly what it said before."""
    whole, chance = read_list(data, ANCHORS, AT), random.Random(5)
    for _ in range(400):
        place = chance.randrange(len(data))
        changed = data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        assert read_or_refuse(changed) in (whole, None), f"byte {place}"


@pytest.mark.parametrize("data", LISTS.values(), ids=LISTS)
def test_cut_bytes(data: bytes) -> None:
    for length in random.Random(6).sample(range(len(data)), 100):
        with pytest.raises(TrustError):
            read_list(data[:length], ANCHORS, AT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(data=st.data())
def test_parts_of_another_type(data: st.DataObject) -> None:
    """A part of a list that is any other JSON value gives TrustError, or what it said before."""
    document = json.loads(data.draw(st.sampled_from([GATEWAY, GDHCN])))
    place = document
    while isinstance(place, dict | list) and place:
        key = data.draw(
            st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place)))
        )
        if data.draw(st.booleans()) or not isinstance(place[key], dict | list) or not place[key]:
            place[key] = data.draw(JSON)
            break
        place = place[key]
    found = read_or_refuse(json.dumps(document).encode())
    assert found is None or found.dscs == (dsc(),)


@given(part=JSON, name=st.sampled_from(["alg", "x5c", "typ", "crit", "b64"]))
def test_headers_of_another_type(part: object, name: str) -> None:
    payload = json.dumps(swedish_payload(jwk(dsc()))).encode()
    data = sign_jws(payload, ANCHORS[1], "list signer", **{name: part})
    found = read_or_refuse(data)
    assert found is None or found.dscs == (dsc(),)


@given(
    part=JSON, name=st.sampled_from(["iss", "iat", "exp", "dsc_trust_list", "VN", "keys", "jwk"])
)
def test_payloads_of_another_type(part: object, name: str) -> None:
    made = swedish_payload(jwk(dsc()))
    if name == "VN":
        made["dsc_trust_list"] = {"VN": part}
    elif name in ("keys", "jwk"):
        made["dsc_trust_list"] = {"VN": {"keys": part if name == "keys" else [part]}}
    else:
        made[name] = part
    data = sign_jws(json.dumps(made).encode(), ANCHORS[1], "list signer")
    found = read_or_refuse(data)
    assert found is None or found.dscs == (dsc(),)


@given(junk=st.binary(max_size=200))
def test_cms_of_any_bytes(junk: bytes) -> None:
    data = json.dumps(
        [item(dsc(), junk), item(dsc(), sign_cms(dsc().der, anchor(), TA)[:60] + junk)]
    )
    with pytest.raises(TrustError):
        read_list(data.encode(), ANCHORS, AT)
