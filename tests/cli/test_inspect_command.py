"""``inspect``: what a credential says, and that nothing of it was checked."""

from __future__ import annotations

import zlib
from pathlib import Path

import base45
import cbor2
import pytest

from vaxpass_sign import inspect as decode

COMMON = {"tg": "840539006", "co": "VN", "is": "Bộ Y tế", "ci": "URN:UVCI:01:VN:TEST#A"}
ENTRIES = {
    "v": (
        {"vp": "1119349007", "mp": "EU/1/20/1528", "ma": "ORG-100030215", "dn": 2, "sd": 2}
        | {"dt": "2021-11-20"},
        ["vaccinated    2021-11-20 in Viet Nam, dose 2 of 2", "Comirnaty", "COVID-19"],
    ),
    "t": (
        {"tt": "LP6464-4", "tr": "260415000", "sc": "2021-11-20T08:00:00Z"},
        ["tested        2021-11-20T08:00:00Z in Viet Nam", "result        Not detected"],
    ),
    "r": (
        {"fr": "2021-11-20", "df": "2021-12-01", "du": "2022-05-20"},
        ["first positive 2021-11-20 in Viet Nam", "2021-12-01 to 2022-05-20"],
    ),
}


def unsigned(claims: object) -> str:
    """A text with these claims and no signature worth the name."""
    message = cbor2.dumps([cbor2.dumps({1: -7, 4: bytes(8)}), {}, cbor2.dumps(claims), bytes(64)])
    return "HC1:" + base45.b45encode(zlib.compress(b"\xd2" + message)).decode()


def dcc(**groups: object) -> dict:
    names = {"fn": "Nguyễn", "fnt": "NGUYEN"}
    return {"ver": "1.3.0", "nam": names, "dob": "1987", **groups}


def test_a_person_reads_that_nothing_was_checked_and_then_what_it_says(vaxpass, desk) -> None:
    """The first lines say that nothing was checked; then come the holder and the rest."""
    done = vaxpass("inspect", desk.payload)
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert lines[0] == f"NOT CHECKED  {desk.payload}, line 1"
    assert "could have written" in lines[1]
    assert lines[2].endswith("Nguyễn Thị Thí Dụ (NGUYEN<<THI<THI<DU)")
    assert lines[-1].endswith(f"kid {desk.dsc.kid.hex()}, alg ES256")


@pytest.mark.parametrize(("kind", "entry", "words"), [(k, *v) for k, v in ENTRIES.items()])
def test_every_kind_of_entry_is_shown(vaxpass, kind: str, entry: dict, words: list[str]) -> None:
    """Vaccinations, tests and recoveries are told in words, codes by their displays."""
    done = vaxpass("inspect", unsigned({1: "VN", -260: {1: dcc(**{kind: [COMMON | entry]})}}))
    assert done.code == 0
    assert all(word in done.out for word in words)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({1: "VN"}, id="no DCC"),
        pytest.param({}, id="no claims"),
        pytest.param({1: "VN", 4: float("nan"), 6: 1e300, -260: {1: {}}}, id="times from nowhere"),
        pytest.param({-260: {1: dcc(v=[])}}, id="no entry"),
        pytest.param({-260: {1: dcc(v={"a": 1}, t=[1, None], r=[{}])}}, id="other types"),
        pytest.param({-260: {1: {"nam": 7, "dob": [1], "v": [{"dn": {"a": b"x"}}]}}}, id="types"),
        pytest.param({-260: {1: dcc(v=[{"dn": 2**64 - 1, "ci": "x" * 5000}])}}, id="large"),
        pytest.param({b"x": cbor2.undefined, 3: cbor2.CBORSimpleValue(99)}, id="odd CBOR"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for a person", "as JSON"])
def test_whatever_can_be_decoded_can_be_shown(vaxpass, claims: dict, options: list[str]) -> None:
    """What no schema allows is shown all the same, without a fault."""
    done = vaxpass("inspect", *options, unsigned(claims))
    assert (done.code, done.err) == (0, "")
    assert len(done.out) < 20_000


def test_json_says_that_nothing_was_checked(vaxpass, desk) -> None:
    """The object has the payload as it is, and checked is false."""
    [found] = vaxpass("inspect", "--json", desk.payload).objects
    assert found["checked"] is False
    assert found["payload"] == decode(desk.text).payload
    assert (found["issuer"], found["alg"]) == ("VN", "ES256")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["for a person", "as JSON"])
def test_what_can_not_be_decoded_is_exit_1(vaxpass, desk, options: list[str]) -> None:
    """A text that is no HCERT gives exit 1 and its reason on stdout."""
    done = vaxpass("inspect", *options, desk.text, "HC1:NO!", desk.text)
    assert (done.code, done.err) == (1, "")
    assert "base45" in done.out
    if options:
        assert [o.get("error") for o in done.objects] == [None, "base45", None]


def test_what_can_not_be_read_is_exit_2(vaxpass, desk, tmp_path: Path) -> None:
    """A missing file gives exit 2 and a line on stderr, and under --json an object too."""
    missing = tmp_path / "missing.txt"
    done = vaxpass("inspect", missing, desk.payload)
    assert done.code == 2
    assert str(missing) in done.message
    assert done.out.startswith("NOT CHECKED")
    done = vaxpass("inspect", "--json", missing)
    assert [o["error"] for o in done.objects] == [done.message]
