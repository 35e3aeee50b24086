"""COSE_Sign1: the plain form is read as any other is; the Sig_structure."""

from __future__ import annotations

from itertools import product

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import cose

PROTECTED = cbor2.dumps({1: -7, 4: bytes(range(8))})
MESSAGE = cose.encode_sign1(PROTECTED, bytes(range(250)), bytes(64))

HEADERS = [b"\x40", b"\x41a", b"\x57" + b"\xa0" * 23, b"\x58\x17" + b"\xa0" * 23]
HEADERS += [b"\x58\x18" + b"\xa0" * 24, b"\x5f\x41a\xff", b"\x61a", b"\x3f", b"\xf6", b""]
MAPS = [b"\xa0", b"\xa1\x01\x26", b"\xbf\xff", b"\x80", b"\xf6", b"\xb8\0"]
STRINGS = [b"\x40", b"\x41a", b"\x58\x01a", b"\x58\x18" + bytes(24), b"\x59\0\x01a", b"\x58\0"]
STRINGS += [b"\x59\x01\x02" + bytes(258), b"\x5a\0\0\0\x01a", b"\x5f\x41a\xff", b"\x78\x01a"]
STRINGS += [b"\x58", b"\x59", b"\x59\0", b"\x58\x02a", b"\xf6", b""]


def by_the_decoder(message: bytes) -> tuple | None:
    """What :func:`cose.parse_parts` gives when there is an empty unprotected header."""
    try:
        protected, unprotected, payload, signature = cose.parse_parts(message)
    except HcertError:
        return None
    return None if unprotected else (protected, payload, signature)


def test_the_plain_form_is_what_the_decoder_reads() -> None:
    """Of all these forms, those that are plain are what the decoder reads, and some are plain."""
    plain = 0
    beginnings = (b"\xd2\x84", b"\x84", b"\xd2\x85", b"\xd2\x83", b"\xd2\x9f", b"\xd8\x3d\xd2\x84")
    for parts in product(beginnings[:1], HEADERS, MAPS, STRINGS, STRINGS, (b"", b"\0")):
        message = b"".join(parts)
        found = cose._plain_parts(message)
        assert found is None or found == by_the_decoder(message)
        plain += found is not None
    assert plain == 3 * 5 * (5 + 3)  # three that are cut are made whole by the zero after them
    for beginning in beginnings[1:]:
        assert cose._plain_parts(beginning + MESSAGE[2:]) is None


def test_changed_bytes() -> None:
    """A whole message with any byte set to any value, left out, doubled; and cut anywhere."""
    assert cose._plain_parts(MESSAGE) == (PROTECTED, bytes(range(250)), bytes(64))
    changed = [MESSAGE[:end] for end in range(len(MESSAGE))]
    for place in range(30):  # all of the heads but the signature's
        before, after = MESSAGE[:place], MESSAGE[place + 1 :]
        changed += [before + bytes((value,)) + after for value in range(256)]
    for place in range(len(MESSAGE)):
        before, after = MESSAGE[:place], MESSAGE[place + 1 :]
        changed += [before + after, before + MESSAGE[place : place + 1] * 2 + after]
    for message in changed:
        found = cose._plain_parts(message)
        assert found is None or found == by_the_decoder(message)


def test_no_place_is_counted_from_the_end() -> None:
    """A first byte that would put the unprotected header before the beginning."""
    message = bytearray(b"\xd2\x84\0" + bytes(77))
    message[80 - 61 : 80 - 58] = b"\xa0\x58\x3d"
    message[3:5] = b"\x58\x4b"
    assert cose._plain_parts(bytes(message)) is None
    assert by_the_decoder(bytes(message)) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({1: -7, 4: b"kid"}, (-7, b"kid", True)),
        ({1: -7}, (-7, None, False)),
        ({4: b"kid"}, (None, b"kid", True)),
        ({}, (None, None, False)),
    ],
)
def test_headers_of_the_plain_form(header: dict, expected: tuple) -> None:
    """alg, kid, and whether the kid is protected."""
    message = cose.encode_sign1(cbor2.dumps(header), bytes(30), bytes(64))
    assert cose._plain_parts(message)
    sign1 = cose.parse(message)
    assert (sign1.alg, sign1.kid, sign1.kid_protected) == expected


@given(st.binary(max_size=300), st.binary(max_size=70_000))
def test_sig_structure(protected: bytes, payload: bytes) -> None:
    """The bytes to sign are RFC 9052 §4.4's array, by another encoder."""
    expected = cbor2.dumps(["Signature1", protected, b"", payload])
    assert cose.sig_structure(protected, payload) == expected
    assert cose.Sign1(protected, payload, b"", None, None, False).sig_structure == expected
