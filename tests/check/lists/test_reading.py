"""Base64, certificates and what is shown of hostile values."""

from __future__ import annotations

import sys

import pytest

from issuing import dsc
from signed_lists import b64, b64url
from vaxpass_sign.check.lists.reading import (
    decode_base64,
    decode_base64url,
    is_kid_of,
    read_der,
    shown,
)
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import pem

NOT_BASE64 = (
    "AB==",
    "AAB=",
    "AA",
    "AA=",
    "A",
    "AA==\n",
    " AA==",
    "AA==AA==",
    "-_-_",
    "\u00e9A==",
    None,
    7,
)


@pytest.mark.parametrize("text", NOT_BASE64)
def test_not_canonical_base64(text: object) -> None:
    """Bits that count for nothing, line breaks, missing padding and other letters are refused."""
    with pytest.raises(TrustError, match=r"^x is"):
        decode_base64(text, "x")


@pytest.mark.parametrize("text", ["AB", "AAB", "AA==", "A", "AA\n", "+/+/", "\u00e9A", None])
def test_not_canonical_base64url(text: object) -> None:
    with pytest.raises(TrustError, match=r"^x is"):
        decode_base64url(text, "x")


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", b"\xfb\xff\xbf"])
def test_canonical(data: bytes) -> None:
    assert decode_base64(b64(data), "x") == decode_base64url(b64url(data), "x") == data


def test_a_certificate_in_pem_is_none() -> None:
    """Lists hold DER in base64; PEM in base64 could be the same certificate under another hash."""
    assert read_der(b64(dsc().der)) == dsc()
    for data in (
        pem(dsc().der),
        b"\x30\x10" + pem(dsc().der),
        b"\x30\x10\n" + pem(dsc().der) + b"\0",
    ):
        assert read_der(b64(data)) is None


def test_kids() -> None:
    assert is_kid_of(b64(dsc().kid), dsc())
    assert is_kid_of(b64url(dsc().kid), dsc())
    assert not is_kid_of(b64(dsc("another").kid), dsc())
    assert not is_kid_of(dsc().kid.hex(), dsc())


def test_shown() -> None:
    """At most 60 characters, in one line of ASCII, however deep the value is."""
    deep: list = []
    for _ in range(sys.getrecursionlimit() + 100):
        deep = [deep]
    assert shown(deep) == "an array"
    assert shown("a\n\u202e") == r"'a\n\u202e'"
    assert len(shown("a" * 1000)) == 60
