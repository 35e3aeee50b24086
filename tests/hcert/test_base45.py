"""Base45 against RFC 9285's examples, the base45 package, and hostile text."""

from __future__ import annotations

import base45 as other
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import HcertError
from vaxpass_sign.hcert import base45
from vaxpass_sign.hcert.faults import Fault

RFC_9285 = [(b"AB", "BB8"), (b"Hello!!", "%69 VD92EX0"), (b"base-45", "UJCLQE7W581"), (b"", "")]


@pytest.mark.parametrize(("data", "text"), RFC_9285)
def test_rfc_9285_examples(data: bytes, text: str) -> None:
    """Encodes and decodes the examples of RFC 9285 §4.3 and §4.4."""
    assert base45.encode(data) == text
    assert base45.decode(text) == data


@given(st.binary(max_size=600))
def test_same_as_the_base45_package(data: bytes) -> None:
    """Gives the same text as an encoder that we did not write, and reads it back."""
    text = other.b45encode(data).decode()
    assert base45.encode(data) == text
    assert base45.decode(text) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("A", id="one character"),
        pytest.param("BB8A", id="one character too many"),
        pytest.param("bb8", id="lower case"),
        pytest.param("BB_", id="outside the alphabet"),
        pytest.param("GGW", id="a group of 65536"),
        pytest.param(":::", id="the largest group"),
        pytest.param("V5", id="a last pair of 256"),
        pytest.param("::", id="the largest pair"),
        pytest.param("BB8\n", id="a line feed"),
        pytest.param("BB\ud800", id="a lone surrogate"),
        pytest.param("BB\u0130", id="not ASCII"),
        pytest.param("\x00\x00\x00", id="NUL"),
    ],
)
def test_refuses(text: str) -> None:
    """Refuses what RFC 9285 §6 does not allow."""
    with pytest.raises(HcertError) as caught:
        base45.decode(text)
    assert caught.value.code == Fault.BASE45


def test_largest_values_are_read() -> None:
    """65535 and 255 are the last that are allowed."""
    assert base45.decode("FGW") == b"\xff\xff"
    assert base45.decode("U5") == b"\xff"


@given(st.text(base45.ALPHABET, max_size=30))
def test_only_the_one_text_decodes(text: str) -> None:
    """A text either is the encoding of what it decodes to, or is refused: no second spelling."""
    try:
        data = base45.decode(text)
    except HcertError:
        return
    assert base45.encode(data) == text
