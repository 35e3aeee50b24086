"""Base45 against RFC 9285's examples, the base45 package, and hostile text."""

from __future__ import annotations

import sys

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


def one_by_one(texts: list[str]) -> list[bytes | None]:
    decoded: list[bytes | None] = []
    for text in texts:
        try:
            decoded.append(base45.decode(text))
        except HcertError:
            decoded.append(None)
    return decoded


@given(st.lists(st.binary(max_size=20)))
def test_many_are_decoded_as_one(datas: list[bytes]) -> None:
    """Many texts together give the bytes that each gives alone, odd and even lengths mixed."""
    assert base45.decode_many([base45.encode(data) for data in datas]) == datas


@given(st.lists(st.text(base45.ALPHABET, max_size=7) | st.text(max_size=3), max_size=5))
def test_many_are_refused_as_one(texts: list[str]) -> None:
    """A text that is refused is None, and the others beside it are what they are."""
    assert base45.decode_many(texts) == one_by_one(texts)


@pytest.mark.parametrize(
    "bad", ["A", "bb8", "GGW", ":::", "V5", "::", "BB8V5", "BB\u0130", "\ud800"]
)
def test_a_refused_one_among_good_ones(bad: str) -> None:
    """Wherever it stands, and whatever stands after it."""
    for texts in ([bad, "QED8WEX0", "U5"], ["U5", bad, "BB8"], ["BB8", "FGW", bad]):
        assert base45.decode_many(texts) == one_by_one(texts)
        assert base45.decode_many(texts).count(None) == 1


def test_many_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra ``batch`` each is decoded alone."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert base45.decode_many(["BB8", "A", "U5", ""]) == [b"AB", None, b"\xff", b""]
