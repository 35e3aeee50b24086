"""The CMS of a list's entry: however it is nested, it is refused at once."""

from __future__ import annotations

import time

import pytest

from fuzz.trees import der, dump_der, load_der, nested_der
from signed_lists import anchor, sign_cms
from vaxpass_sign.check.lists.cms import MAX_SIGNATURE_BYTES, check_cms
from vaxpass_sign.errors import TrustError

CONTENT = b"an entry"
CMS = sign_cms(CONTENT, anchor(), "list anchor")


def with_attribute(value: bytes) -> bytes:
    """The CMS with one more signed attribute, 1.2.3.4, that has this value."""
    values = load_der(CMS)
    info = values[0][1][1][1][0][1][-1][1][0][1]
    attributes = next(found for found in info if found[0] == 0xA0)
    attributes[1].append([0x30, der(6, bytes.fromhex("2a0304")) + der(0x31, value)])
    return dump_der(values)


def test_the_good_one() -> None:
    assert check_cms(CMS, CONTENT, [anchor()]) == anchor()


def test_a_nested_attribute_is_not_built() -> None:
    """That would take some ten microseconds for each of its bytes."""
    bad = with_attribute(nested_der(MAX_SIGNATURE_BYTES - 5000, 250))
    started = time.perf_counter()
    with pytest.raises(TrustError, match="does not verify"):
        check_cms(bad, CONTENT, [anchor()])
    assert time.perf_counter() - started < 0.3


def test_a_long_one() -> None:
    """What is longer than any signature is not taken apart."""
    with pytest.raises(TrustError, match="can't be read"):
        check_cms(with_attribute(bytes(MAX_SIGNATURE_BYTES)), CONTENT, [anchor()])
