"""UVCIs: check characters, random and derived ones, person keys."""

import base64
import gzip
import hashlib
import hmac
import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaxpass_sign.errors import InputError
from vaxpass_sign.record.uvci import (
    check_character,
    check_uvci,
    derive_uvci,
    person_key,
    random_uvci,
    row_key,
    wrong_uvcis,
)

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/:"
SECRET = bytes(range(32))
PERSON = person_key(SECRET, "cccd", "019190000001")


def luhn_mod_38(text: str) -> str:
    """Luhn mod N, spelled out: from the right, every other value doubled, its two digits added."""
    total = 0
    for place, letter in enumerate(reversed(text)):
        value = ALPHABET.index(letter) * (2 if place % 2 == 0 else 1)
        total += value // 38 + value % 38
    return ALPHABET[(38 - total % 38) % 38]


@pytest.mark.parametrize(
    ("text", "character"),
    [("URN:UVCI:01:NL:187/37512422923", "Z"), ("A", "A"), ("B", "/"), ("", "A")],
    ids=["guideline's example", "zero", "one", "empty"],
)
def test_check_character(text: str, character: str) -> None:
    """The check character is Luhn mod 38 over A–Z, 0–9, / and :, prefix included."""
    assert check_character(text) == character


@given(st.text(alphabet=ALPHABET, max_size=80))
def test_check_character_by_hand(text: str) -> None:
    """The quick form gives what the spelled-out one gives."""
    assert check_character(text) == luhn_mod_38(text)


@given(st.text(alphabet=ALPHABET, min_size=1, max_size=40), st.data())
def test_one_wrong_character_is_found(text: str, data: st.DataObject) -> None:
    """No change of one character keeps the check character."""
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(ALPHABET.replace(text[at], "")))
    assert check_character(text[:at] + other + text[at + 1 :]) != check_character(text)


@pytest.mark.parametrize("text", ["urn", "A#", "A B", "É", "A\n", "Ａ", "\ud800", "A_"])
def test_check_character_refuses(text: str) -> None:
    """A character outside the alphabet is an InputError."""
    with pytest.raises(InputError, match="expected only A-Z"):
        check_character(text)


def test_published_check_characters() -> None:
    """The vectors' right check characters are found right; the count is what was measured."""
    path = Path(__file__).parents[3] / "shared" / "vectors" / "dcc_vectors_dev.jsonl.gz"
    if not path.exists() and "CI" not in os.environ:
        pytest.skip(f"no published vectors at {path}")
    right = set()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            payload = json.loads(line).get("JSON") or {}
            for entry in [e for group in "vtr" for e in payload.get(group) or []]:
                body, mark, check = str(entry.get("ci")).rpartition("#")
                if mark and re.fullmatch(r"[A-Z0-9/:]*", body) and check_character(body) == check:
                    right.add(entry["ci"])
    assert len(right) == 20


def test_random_uvci() -> None:
    """A random UVCI is one that we write, with 128 bits that differ each time."""
    made = {random_uvci("VN") for _ in range(100)}
    assert len(made) == 100
    for uvci in made:
        assert re.fullmatch(r"URN:UVCI:01:VN:[A-Z2-7]{26}#[A-Z0-9/:]", uvci)
        check_uvci(uvci)


@pytest.mark.parametrize("country", ["", "vn", "VNM", "V", "V1", "ÉÀ", "VN\n", "../"])
def test_country_refused(country: str) -> None:
    """A country that is not two capital letters is an InputError."""
    with pytest.raises(InputError, match="two capital letters"):
        random_uvci(country)
    with pytest.raises(InputError, match="two capital letters"):
        derive_uvci(SECRET, country, PERSON, "EU/1/20/1528", "2021-11-20")


def test_derived_uvci_by_hand() -> None:
    """A derived UVCI is base32 of HMAC-SHA256 over the parts, as the tables' description says."""
    message = PERSON + b"\x1fEU/1/20/1528\x1f2021-11-20\x1f3"
    digest = hmac.new(SECRET, message, hashlib.sha256).digest()[:16]
    body = "URN:UVCI:01:VN:" + base64.b32encode(digest).decode().rstrip("=")
    expected = body + "#" + luhn_mod_38(body)
    assert derive_uvci(SECRET, "VN", PERSON, "EU/1/20/1528", "2021-11-20", 3) == expected
    check_uvci(expected)


def test_derived_uvci_stays() -> None:
    """The same parts give this UVCI for ever: credentials out there hang on it."""
    uvci = derive_uvci(SECRET, "VN", PERSON, "EU/1/20/1528", "2021-11-20")
    assert uvci == "URN:UVCI:01:VN:LPY223VTZSZT72CVVVUQAB6ZD4#R"


def test_each_part_counts() -> None:
    """A change of any part, the secret included, gives another UVCI."""
    parts = (SECRET, "VN", PERSON, "EU/1/20/1528", "2021-11-20", 0)
    others = (bytes(32), "LA", bytes(32), "BBIBP-CorV", "2021-11-21", 1)
    made = {derive_uvci(*parts)}
    for n, other in enumerate(others):
        made.add(derive_uvci(*parts[:n], other, *parts[n + 1 :]))
    assert len(made) == 7


BAD_PARTS = {
    "short secret": ((bytes(31), "VN", PERSON, "A", "2021-11-20", 0), "32 bytes"),
    "text secret": (("0" * 32, "VN", PERSON, "A", "2021-11-20", 0), "32 bytes"),
    "short person key": ((SECRET, "VN", b"", "A", "2021-11-20", 0), "person key of 0 bytes"),
    "separator": ((SECRET, "VN", PERSON, "A\x1fB", "2021-11-20", 0), r"U\+001F"),
    "no product": ((SECRET, "VN", PERSON, "", "2021-11-20", 0), "product"),
    "date written otherwise": ((SECRET, "VN", PERSON, "A", "20/11/2021", 0), "YYYY-MM-DD"),
    "date with a tail": ((SECRET, "VN", PERSON, "A", "2021-11-20\n", 0), "YYYY-MM-DD"),
    "date in other digits": ((SECRET, "VN", PERSON, "A", "٢٠٢١-11-20", 0), "YYYY-MM-DD"),
    "negative revision": ((SECRET, "VN", PERSON, "A", "2021-11-20", -1), "revision"),
    "revision true": ((SECRET, "VN", PERSON, "A", "2021-11-20", True), "revision"),
}


@pytest.mark.parametrize(("parts", "message"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
def test_derive_refuses(parts: tuple, message: str) -> None:
    """A part out of shape is an InputError, so that it can't make an ambiguous UVCI."""
    with pytest.raises(InputError, match=message):
        derive_uvci(*parts)


def test_person_key_by_hand() -> None:
    """A person key is HMAC-SHA256 of kind and number, joined by U+001F."""
    message = b"cccd\x1f019190000001"
    assert hmac.new(SECRET, message, hashlib.sha256).digest() == PERSON


def test_row_key_is_a_person_key() -> None:
    """row_key is person_key of the kind row, and no pair of ids looks like another."""
    assert row_key(SECRET, "F1", "R1") == person_key(SECRET, "row", "F1\x1fR1")
    assert row_key(SECRET, "F1", "1R1") != row_key(SECRET, "F11", "R1")
    assert row_key(SECRET, "", "R1") != row_key(SECRET, "R1", "R1")


BAD_NUMBERS = {
    "unknown kind": ("ssn", "1", "unknown kind"),
    "no number": ("cccd", "", "empty number"),
    "separator": ("passport", "A\x1fB", r"U\+001F"),
    "row without a separator": ("row", "R1", "row_key"),
    "row with two": ("row", "F1\x1fR1\x1fX", r"U\+001F"),
    "row without a record_id": ("row", "F1\x1f", "empty record_id"),
}


@pytest.mark.parametrize(("kind", "number", "message"), BAD_NUMBERS.values(), ids=BAD_NUMBERS)
def test_person_key_refuses(kind: str, number: str, message: str) -> None:
    """A number that is no number, or could be read in two ways, is an InputError."""
    with pytest.raises(InputError, match=message) as caught:
        person_key(SECRET, kind, number)
    assert "R1" not in str(caught.value)


GOOD_BODY = "URN:UVCI:01:NL:187/37512422923"
BAD_UVCIS = {
    "wrong check character": (GOOD_BODY + "#Y", "wrong check character"),
    "two check characters": (GOOD_BODY + "#ZZ", "wrong check character"),
    "no check character": (GOOD_BODY, "no check character"),
    "empty check character": (GOOD_BODY + "#", "wrong check character"),
    "lower-case prefix": ("urn:uvci:01:NL:187#Z", "another prefix"),
    "other version": ("URN:UVCI:02:NL:187#Z", "another prefix"),
    "no prefix": ("01:NL:187#Z", "another prefix"),
    "no country": ("URN:UVCI:01:187/3#Z", "no country"),
    "long country": ("URN:UVCI:01:NLD:187#Z", "no country"),
    "no identifier": ("URN:UVCI:01:NL:#Z", "nothing after the country"),
    "no colon": ("URN:UVCI:01:NL#Z", "no country"),
    "lower case": ("URN:UVCI:01:NL:abc#Z", r"character 16 of 18 is U\+0061"),
    "two marks": ("URN:UVCI:01:NL:A#B#Z", r"U\+0023"),
    "line end": (GOOD_BODY + "#Z\n", "wrong check character"),
    "too long": ("URN:UVCI:01:NL:" + "A" * 64 + "#Z", "81 characters"),
    "no text": (None, "not a text"),
}


@pytest.mark.parametrize(("uvci", "message"), BAD_UVCIS.values(), ids=BAD_UVCIS.keys())
def test_check_uvci_refuses(uvci: str, message: str) -> None:
    """What we would not write is an InputError that doesn't repeat the UVCI."""
    with pytest.raises(InputError, match=message) as caught:
        check_uvci(uvci)
    assert "187" not in str(caught.value)


def test_check_uvci_takes() -> None:
    """The guideline's example and one of 80 characters may be written."""
    check_uvci(GOOD_BODY + "#Z")
    body = "URN:UVCI:01:NL:" + "A" * 63
    check_uvci(f"{body}#{check_character(body)}")


@given(st.text(max_size=90))
def test_check_uvci_any_text(text: str) -> None:
    """Any text is taken or an InputError."""
    for uvci in (text, "URN:UVCI:01:NL:" + text):
        try:
            check_uvci(uvci)
        except InputError:
            continue
        assert uvci.endswith("#" + luhn_mod_38(uvci[:-2]))


# --- many at once --------------------------------------------------------------------------

RIGHT = [derive_uvci(bytes(32), "VN", bytes([n]) * 32, "p", "2021-01-01") for n in range(5)]
ODD = [
    *("", "URN:UVCI:01:VN:A#", "URN:UVCI:01:VN:#X", "URN:UVCI:01:Vn:AB#1", "URN:UVCI:01:VN:ÄB#1"),
    *(None, 5, b"URN:UVCI:01:VN:AB#1", "x" * 43, "URN:UVCI:01:VN:A" * 20),
]


def refused_one_by_one(uvcis: list) -> dict[int, str]:
    wrong = {}
    for place, uvci in enumerate(uvcis):
        try:
            check_uvci(uvci)
        except InputError as error:
            wrong[place] = str(error)
    return wrong


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_a_column_is_judged_as_its_uvcis_are(odd: object) -> None:
    """Whatever stands among right ones, the same places are refused for the same reasons."""
    for uvcis in (RIGHT, [*RIGHT, odd], [odd], [odd, *RIGHT, odd], []):
        assert wrong_uvcis(uvcis) == refused_one_by_one(uvcis)


@given(
    place=st.integers(0, 42), letter=st.sampled_from("ABCZ019/:#az é"), length=st.integers(0, 43)
)
def test_a_changed_character_is_found_in_a_column(place: int, letter: str, length: int) -> None:
    """One changed character, or one cut off, is judged as by check_uvci."""
    changed = RIGHT[0][:place] + letter + RIGHT[0][place + 1 :]
    for column in ([RIGHT[1], changed], [u[:length] for u in RIGHT], [changed] * 3):
        assert wrong_uvcis(column) == refused_one_by_one(column)
