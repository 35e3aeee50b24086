"""Kept lists: their file, strictly read, whatever it holds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from check.test_policy import STRICT
from issuing import AT, NOW, csca, dsc, make_issuer, private_key
from signed_lists import b64, list_signer
from vaxpass_sign import TrustStore, verify
from vaxpass_sign.check.lists import LeftOut
from vaxpass_sign.check.trust import kept as kept_module
from vaxpass_sign.check.trust.kept import (
    KeptList,
    check_name,
    kept_path,
    parse_kept,
    read_kept,
    write_kept,
)
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.sample import records

TEXT = make_issuer().issue(records(1)[0])
KEPT = KeptList(
    name="eu",
    format="dsc-tl",
    signed_by="C=SE, CN=List signer",
    issued_at=NOW + timedelta(microseconds=5),
    expires_at=NOW + timedelta(days=60),
    added_at=AT,
    sha256="0f" * 32,
    max_age=timedelta(days=30),
    anchors=(list_signer(), private_key("did").public_key()),
    pinned_cscas=(csca().der,),
    listed_cscas=(csca().der,),
    anchored=(dsc().der,),
    not_anchored=(dsc("another").der,),
    left_out={LeftOut.OTHER_USE: 3},
    refused={dsc("third").kid: "not its CSCA's"},
)


def data_of(kept: KeptList, folder: Path) -> bytes:
    path = kept_path(folder, kept.name)
    write_kept(path, kept)
    return path.read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return data_of(KEPT, tmp_path_factory.mktemp("kept"))


def test_what_is_written_is_read(tmp_path: Path, good: bytes) -> None:
    assert parse_kept(good, "eu") == KEPT
    bare = KeptList(
        name="a-1.b_C", format="files", signed_by=None, issued_at=None, expires_at=None,
        added_at=AT, sha256="00" * 32, max_age=None, anchors=(), anchored=(), not_anchored=(),
    )  # fmt: skip
    assert parse_kept(data_of(bare, tmp_path), "a-1.b_C") == bare


def test_a_store_of_it(tmp_path: Path, good: bytes) -> None:
    """Loaded alone or with its folder, each DSC is anchored or not as the file says."""
    path = tmp_path / "eu.trust.json"
    path.write_bytes(good)
    for source in (path, tmp_path):
        store = TrustStore.load(source, at=AT)
        assert len(store) == 2
        assert [store.is_anchored(d) for d in (dsc(), dsc("another"))] == [True, False]
        assert store.candidates(dsc().kid) == (dsc(),)
        assert store.candidates(dsc().kid)[0] is store.candidates(dsc().kid)[0]
        assert store.why_refused(dsc("third").kid) == "not its CSCA's"
        assert verify(TEXT, store, AT, STRICT)
        both = store | TrustStore([dsc()])
        assert verify(TEXT, both, AT, STRICT)
        assert len(both) == 2
    assert list(TrustStore.load(tmp_path, [csca()], at=AT)) == [dsc(), dsc("another")]
    assert TrustStore.load(tmp_path, [csca()], at=AT).anchored
    (tmp_path / "more.pem").write_bytes(dsc("rsa dsc").der)
    assert len(TrustStore.load(tmp_path, at=AT)) == 3


def test_age() -> None:
    """A list is stale when it is older than allowed, or has expired; age counts from its issue."""
    assert KEPT.age(AT) == timedelta(days=30) - timedelta(microseconds=5)
    assert KEPT.stale(AT) is None
    assert "is 30.1 days old, expected at most 30 days" in KEPT.stale(AT + timedelta(seconds=1))
    assert "is 31 days old, expected at most 30 days" in KEPT.stale(AT + timedelta(days=1))
    assert "expired 2026-03-16" in KEPT.stale(NOW + timedelta(days=61))
    undated = replace(KEPT, issued_at=None, expires_at=None)
    assert undated.age(AT + timedelta(days=2)) == timedelta(days=2)
    assert undated.stale(AT + timedelta(days=30)) is None
    assert undated.stale(AT + timedelta(days=31))
    assert undated.age(AT - timedelta(days=2)) == timedelta(0)
    assert replace(undated, max_age=None).stale(AT + timedelta(days=9999)) is None


def test_a_store_tells_of_stale_lists(tmp_path: Path, good: bytes) -> None:
    (tmp_path / "eu.trust.json").write_bytes(good)
    late = AT + timedelta(days=1)
    store = TrustStore.load(tmp_path, at=late)
    assert TrustStore.load(tmp_path, at=AT).stale == ()
    [line] = store.stale
    assert "'eu' is 31 days old" in line
    assert (store | store | TrustStore([])).stale == (line,)
    assert TrustStore.load(tmp_path, [csca()], at=late).stale == (line,)


NAMES = ["", ".", "..", ".eu", "-eu", "a/b", "a\\b", "a b", "é", "a\n", "a" * 65, "a\0"]


@pytest.mark.parametrize("name", NAMES)
def test_names(tmp_path: Path, name: str) -> None:
    """A name never leads out of the folder, and hides no file."""
    with pytest.raises(InputError, match="--name"):
        kept_path(tmp_path, name)
    assert check_name("a" * 64) == "a" * 64


CHANGES = {
    "another name": {"name": "who"},
    "a version to come": {"version": 2},
    "a version that is true": {"version": True},
    "a version that is a float": {"version": 1.0},
    "an unknown format": {"format": "pem"},
    "a format that is an array": {"format": []},
    "no time": {"added_at": None},
    "a time without an offset": {"added_at": "2026-01-15T12:00:00"},
    "another offset": {"added_at": "2026-01-15T12:00:00+07:00"},
    "a time in another form": {"issued_at": "20260115T120000+0000"},
    "Z": {"issued_at": "2026-01-15T12:00:00Z"},
    "a time that is none": {"expires_at": "soon"},
    "a time that is a number": {"expires_at": 1700000000},
    "no hash": {"sha256": "00"},
    "a hash that is a number": {"sha256": 7},
    "an age of 0": {"max_age_days": 0},
    "an age below 0": {"max_age_days": -1},
    "an age without end": {"max_age_days": 1e9},
    "an age that is true": {"max_age_days": True},
    "an age in words": {"max_age_days": "30"},
    "a signer that is a number": {"signed_by": 7},
    "a signer of many words": {"signed_by": "x" * 2001},
    "anchors that are none": {"anchors": [{"certificate": "AA=="}]},
    "an object of anchors": {"anchors": {}},
    "too many anchors": {"anchors": [{}] * 1001},
    "a DSC that is a number": {"anchored": [7]},
    "a DSC that is not base64": {"not_anchored": ["-----BEGIN"]},
    "base64 in another form": {"not_anchored": [b64(dsc().der) + "\n"]},
    "DSCs in an object": {"anchored": {}},
    "an unknown reason": {"left_out": {"because": 1}},
    "a count of 0": {"left_out": {"not a DSC": 0}},
    "a count that is true": {"left_out": {"not a DSC": True}},
    "a kid that is none": {"refused": {"zz": "why"}},
    "a kid in capitals": {"refused": {"AB" * 8: "why"}},
    "a refusal that is a number": {"refused": {"ab" * 8: 7}},
    "a name that is not known": {"more": 1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_forms_that_are_refused(tmp_path: Path, good: bytes, change: dict) -> None:
    """What is not of exactly this form is a TrustError that names the file, in one line."""
    path = tmp_path / "eu.trust.json"
    path.write_text(json.dumps(json.loads(good) | change))
    for load in (read_kept, TrustStore.load):
        with pytest.raises(TrustError, match="eu") as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()


def test_every_name_is_needed(good: bytes) -> None:
    for name in json.loads(good):
        less = {key: value for key, value in json.loads(good).items() if key != name}
        with pytest.raises(TrustError, match=f"has no '{name}'"):
            parse_kept(json.dumps(less).encode(), "eu")


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, good: bytes) -> None:
    path = tmp_path / "eu.trust.json"
    path.write_bytes(good)
    monkeypatch.setattr(kept_module, "MAX_KEPT_BYTES", len(good) - 1)
    with pytest.raises(TrustError, match="more than"):
        read_kept(path)
    with pytest.raises(TrustError, match="bytes"):
        write_kept(path, KEPT)
    assert path.read_bytes() == good


def test_what_is_no_certificate_is_left_out(tmp_path: Path, good: bytes, caplog) -> None:
    """It is found when somebody asks for it; the other DSCs are believed."""
    path = tmp_path / "eu.trust.json"
    bad = dsc("another").der[:-1]
    path.write_text(json.dumps(json.loads(good) | {"not_anchored": [b64(bad)]}))
    store = TrustStore.load(path, at=AT)
    assert list(store) == [dsc()]
    assert "left out: these bytes are no readable X.509 certificate" in caplog.text
    assert verify(TEXT, store, AT)
    assert list(store | store) == [dsc()]


@given(st.data())
@settings(max_examples=300)
def test_any_bytes_changed(good: bytes, data: st.DataObject) -> None:
    """A changed file gives a kept list or a TrustError, and a store that can be asked."""
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(bad) - 1))
        bad[at] = data.draw(st.integers(0, 255))
    read_and_ask(bytes(bad[: data.draw(st.integers(len(bad) - 3, len(bad)))]))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.just(b64(dsc().der)) | st.just("2026-01-15T12:00:00+00:00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@given(st.data())
@settings(max_examples=300)
def test_any_values_changed(good: bytes, data: st.DataObject) -> None:
    value = json.loads(good)
    for name in data.draw(st.lists(st.sampled_from(sorted(value)), min_size=1, max_size=3)):
        value[name] = data.draw(_JSON)
    read_and_ask(json.dumps(value).encode())


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        parse_kept(data, "eu")


def read_and_ask(data: bytes) -> None:
    refused = ""
    try:
        kept = parse_kept(data, "eu")
    except TrustError as error:
        refused = str(error)
    assert refused.isprintable()
    if refused:
        return
    store = TrustStore.of_kept(kept, AT)
    verify(TEXT, store, AT, STRICT)
    assert len(list(store)) <= len(store)
