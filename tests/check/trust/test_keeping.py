"""Keeping lists: what takes the place of the last good one, and what leaves it as it is."""

from __future__ import annotations

import json
import multiprocessing
import resource
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from check.test_policy import STRICT
from issuing import AT, NOW, csca, dsc, make_issuer, private_key, sign_csca, sign_dsc
from signed_lists import (
    LIST,
    anchor,
    did_document,
    did_entry,
    gateway_list,
    gdhcn_list,
    leaf,
    list_signer,
    sign_did,
    swedish_list,
)
from vaxpass_sign import TrustStore, verify
from vaxpass_sign.check.lists import LeftOut
from vaxpass_sign.check.trust.keeping import keep_files, keep_list
from vaxpass_sign.check.trust.kept import KeptList, read_kept
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.sample import records
from vaxpass_sign.x509 import Certificate, pem

TEXT = make_issuer().issue(records(1)[0])
DID_KEY = private_key("did").public_key()
DAY = timedelta(days=1)
TEN = [dsc(), *(dsc(f"number {number}") for number in range(9))]


def keep(folder: Path, data: bytes, *pins: Any, at=AT, **more: Any) -> KeptList:
    return keep_list(folder, "it", data, pins or None, at, **more)


def kept_file(folder: Path) -> Path:
    return folder / "it.trust.json"


FORMATS = {
    "dgcg": (gateway_list(dsc(), cscas=(csca(),)), anchor(), True),
    "dsc-tl": (swedish_list(dsc()), list_signer(), False),
    "gdhcn": (gdhcn_list(dsc(), cscas=(csca(),)), DID_KEY, True),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format(tmp_path: Path, name: str) -> None:
    """What a kept list's DSC signed is valid, and anchored when the list has its CSCA."""
    data, pin, is_anchored = FORMATS[name]
    kept = keep(tmp_path / "new" / "store", data, pin)
    assert (kept.format, kept.anchors) == (name, (pin,))
    assert read_kept(kept_file(tmp_path / "new" / "store")) == kept
    store = TrustStore.load(tmp_path / "new" / "store", at=AT)
    assert verify(TEXT, store, AT)
    assert verify(TEXT, store, AT, STRICT).valid == is_anchored
    assert kept_file(tmp_path / "new" / "store").stat().st_mode & 0o777 == 0o600


def test_anchors_are_remembered(tmp_path: Path) -> None:
    """The first list needs its anchors; later ones need none, or give others for the next."""
    with pytest.raises(TrustError, match="no anchor was given and none is remembered"):
        keep(tmp_path, swedish_list(dsc()))
    assert not kept_file(tmp_path).exists()
    keep(tmp_path, swedish_list(dsc()), list_signer())
    kept = keep(tmp_path, swedish_list(dsc(), dsc("another"), issued=NOW + DAY))
    assert kept.anchors == (list_signer(),)
    assert len(kept.not_anchored) == 2
    assert keep(tmp_path, swedish_list(dsc(), dsc("another"), issued=AT), anchor()).anchors == (
        anchor(),
    )


def test_a_bare_key_and_a_file_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "signer.pem"
    path.write_bytes(pem(leaf("did").der))
    assert keep(tmp_path, gdhcn_list(dsc()), path).anchors == (leaf("did"),)
    keep(tmp_path, gdhcn_list(dsc()), DID_KEY)
    path.unlink()
    assert keep(tmp_path, gdhcn_list(dsc())).anchors == (DID_KEY,)


# --- what is refused -----------------------------------------------------------------------

LAST = gdhcn_list(*TEN)
REFUSED: dict[str, tuple[Callable[[], bytes], dict[str, Any], str]] = {
    "signed by a stranger": (
        lambda: gdhcn_list(*TEN, issued=AT, key="stranger"), {}, "does not verify",
    ),
    "changed": (
        lambda: gdhcn_list(*TEN, issued=AT).replace(b"JsonWebKey2020", b"JsonWebKey2021", 1), {}, "",
    ),
    "cut": (lambda: gdhcn_list(*TEN, issued=AT)[:-1], {}, "not JSON"),
    "empty": (lambda: b"", {}, "found nothing"),
    "another's anchor": (lambda: gdhcn_list(*TEN), {"anchors": [anchor()]}, "does not verify"),
    "of another format": (
        lambda: gateway_list(*TEN), {"anchors": [anchor()]},
        "found the format dgcg, expected gdhcn as before: give it another --name",
    ),
    "older than the last good one": (
        lambda: gdhcn_list(*TEN, issued=NOW - timedelta(seconds=1)), {"at": AT - DAY},
        "it was issued 2026-01-15T11:59:59Z, before the last good one (2026-01-15T12:00:00Z)",
    ),
    "older than allowed": (
        lambda: gdhcn_list(*TEN), {"at": AT + timedelta(seconds=1)},
        "30.1 days ago, expected at most 30 days: get a newer one, or accept it with --max-age",
    ),
    "older than is asked": (lambda: gdhcn_list(*TEN), {"max_age": DAY}, "expected at most 1 day"),
    "from the future": (lambda: gdhcn_list(*TEN, issued=AT + DAY), {}, "set this machine's clock"),
    "smaller": (
        lambda: gdhcn_list(*TEN[:7], issued=AT), {},
        "lacks 3 of the 10 DSCs that are still valid, expected at most 20%: ask its publisher, or "
        "accept it with --max-shrink",
    ),
    "as large, with other DSCs": (
        lambda: gdhcn_list(*TEN[:7], *(dsc(f"new {n}") for n in range(3)), issued=AT), {}, "lacks 3 of",
    ),
    "smaller than is asked": (
        lambda: gdhcn_list(*TEN[:9], issued=AT), {"max_shrink": 0}, "lacks 1 of the 10",
    ),
    "with a CSCA that disowns them": (
        lambda: gdhcn_list(*TEN, issued=AT), {"cscas": [sign_csca("third csca")]},
        "no DSC that can be used",
    ),
    "with a CSCA that disowns some": (
        lambda: gdhcn_list(*TEN[:2], leaf("x", issuer="another csca"), issued=AT),
        {"cscas": [anchor("another csca")]}, "lacks 10 of the 10",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(tmp_path: Path, name: str) -> None:
    """The last good one stays, byte for byte, and the error says so and how old it is."""
    make, more, words = REFUSED[name]
    keep(tmp_path, LAST, DID_KEY)
    before = kept_file(tmp_path).read_bytes()
    stat = kept_file(tmp_path).stat()
    anchors = more.get("anchors", [])
    with pytest.raises(TrustError) as caught:
        keep(tmp_path, make(), *anchors, **{k: v for k, v in more.items() if k != "anchors"})
    assert words in str(caught.value)
    assert str(caught.value).startswith("'it' is not replaced: ")
    assert str(caught.value).endswith(" days old, stays")
    assert str(caught.value).isprintable()
    assert kept_file(tmp_path).read_bytes() == before
    assert kept_file(tmp_path).stat() == stat
    assert {path.name for path in tmp_path.iterdir()} == {"it.trust.json", ".it.lock"}


ACCEPTED: dict[str, tuple[Callable[[], bytes], dict[str, Any]]] = {
    "the same once more": (lambda: LAST, {}),
    "of the same second": (lambda: gdhcn_list(*TEN, dsc("one more")), {}),
    "as old as allowed": (lambda: gdhcn_list(*TEN), {"at": AT}),
    "older, as is asked": (lambda: gdhcn_list(*TEN), {"at": AT + 9 * DAY, "max_age": 40 * DAY}),
    "smaller by the share": (lambda: gdhcn_list(*TEN[:8], issued=AT), {}),
    "smaller, as is asked": (lambda: gdhcn_list(*TEN[:1], issued=AT), {"max_shrink": 0.9}),
    "smaller by those that have expired": (
        lambda: gdhcn_list(dsc("new"), issued=AT + 900 * DAY), {"at": AT + 900 * DAY},
    ),
    "with the CSCA": (lambda: gdhcn_list(*TEN, issued=AT), {"cscas": [csca()]}),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_accepted(tmp_path: Path, name: str) -> None:
    make, more = ACCEPTED[name]
    keep(tmp_path, LAST, DID_KEY)
    kept = keep(tmp_path, make(), **more)
    assert read_kept(kept_file(tmp_path)) == kept
    assert kept.added_at == more.get("at", AT)


def test_the_first_list_may_be_too_old(tmp_path: Path) -> None:
    """There is no last good one to stay; the option is named all the same, and nothing is written."""
    with pytest.raises(TrustError, match=r"'it' is not added: it was issued .*--max-age DAYS$"):
        keep(tmp_path, LAST, DID_KEY, at=AT + DAY)
    assert not kept_file(tmp_path).exists()
    keep(tmp_path, LAST, DID_KEY, at=AT + DAY, max_age=40 * DAY)
    assert keep(tmp_path, LAST, at=AT + 2 * DAY).max_age == 40 * DAY


def test_what_was_accepted_once_is_asked_for_again(tmp_path: Path) -> None:
    """max_shrink is for one list; the next one is guarded as before."""
    keep(tmp_path, LAST, DID_KEY)
    keep(tmp_path, gdhcn_list(*TEN[:5], issued=AT), max_shrink=1)
    with pytest.raises(TrustError, match="lacks 3 of the 5"):
        keep(tmp_path, gdhcn_list(*TEN[:2], issued=AT))


def test_a_format_without_a_signed_time(tmp_path: Path) -> None:
    """The gateway's list is judged by its size alone; its age counts from when it was added."""
    data = gateway_list(*TEN)
    keep(tmp_path, data, anchor())
    kept = keep(tmp_path, data, at=AT + 100 * DAY)
    assert kept.issued_at is None
    assert kept.stale(AT + 130 * DAY) is None
    assert "30.1 days old" in kept.stale(AT + 130 * DAY + timedelta(seconds=1))
    with pytest.raises(TrustError, match="lacks 9 of the 10"):
        keep(tmp_path, gateway_list(dsc()))


def test_cscas_that_are_left_out(tmp_path: Path) -> None:
    """Whoever delivers the gateway's list could else take the CSCA's word from each of the DSCs."""
    keep(tmp_path, gateway_list(*TEN, cscas=(csca(),)), anchor())
    with pytest.raises(
        TrustError, match=r"lacks 0 of the 10 .* valid and the CSCA of 10 more, exp"
    ):
        keep(tmp_path, gateway_list(*TEN))
    with pytest.raises(TrustError, match=r"lacks 1 of the 10 .* valid and the CSCA of 9 more, exp"):
        keep(tmp_path, gateway_list(*TEN[1:]))
    assert verify(TEXT, TrustStore.load(tmp_path, at=AT), AT, STRICT)
    assert len(keep(tmp_path, gateway_list(*TEN), max_shrink=1).not_anchored) == 10
    keep(tmp_path, gateway_list(*TEN))


def test_an_expired_list(tmp_path: Path) -> None:
    keep(tmp_path, swedish_list(dsc()), list_signer())
    before = kept_file(tmp_path).read_bytes()
    with pytest.raises(TrustError, match=r"expired .* the last good one, 60\.1 days old, stays"):
        keep(
            tmp_path,
            swedish_list(dsc()),
            at=NOW + 60 * DAY + timedelta(minutes=6),
            max_age=90 * DAY,
        )
    assert kept_file(tmp_path).read_bytes() == before


# --- CSCAs ---------------------------------------------------------------------------------


def test_cscas_that_are_given_are_remembered(tmp_path: Path) -> None:
    """Of a list without CSCAs only those DSCs are kept that the given ones issued."""
    foreign = leaf("of another", issuer="another csca")
    data = swedish_list(dsc(), foreign)
    kept = keep(tmp_path, data, list_signer(), cscas=[csca()])
    assert (kept.anchored, kept.not_anchored) == ((dsc().der,), ())
    assert "another csca" in kept.refused[foreign.kid]
    assert keep(tmp_path, data) == kept
    assert TrustStore.load(tmp_path, at=AT).why_refused(foreign.kid) == kept.refused[foreign.kid]
    kept = keep(tmp_path, data, cscas=[csca(), anchor("another csca")])
    assert kept.anchored == (dsc().der, foreign.der)
    with pytest.raises(TrustError, match="no certificate among the anchors"):
        keep(tmp_path, data, cscas=[DID_KEY])


def test_the_lists_own_cscas(tmp_path: Path) -> None:
    """They speak for the DSCs that name them; the file keeps them, and what was left out."""
    foreign = leaf("of another", issuer="another csca")
    upload = did_entry(dsc("upload"), "UP")
    methods = [upload, did_entry(dsc()), did_entry(foreign), did_entry(csca(), "SCA")]
    data = json.dumps(sign_did(did_document(*methods), "did")).encode()
    kept = keep(tmp_path, data, DID_KEY)
    assert (kept.anchored, kept.not_anchored) == ((dsc().der,), (foreign.der,))
    assert kept.listed_cscas == (csca().der,)
    assert read_kept(kept_file(tmp_path)).left_out == {LeftOut.OTHER_USE: 1}


def test_references(tmp_path: Path) -> None:
    top = did_document(f"{LIST}:DSC", id=f"{LIST}:top")
    data = json.dumps(sign_did(top, "did")).encode()
    other = json.dumps(sign_did(did_document(did_entry(dsc())), "did")).encode()
    assert keep(tmp_path, data, DID_KEY, documents=[other]).not_anchored == (dsc().der,)


# --- certificate files ---------------------------------------------------------------------


def folder_of(folder: Path, *dscs: Certificate) -> Path:
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for number, found in enumerate(dscs):
        (folder / f"{number}.pem").write_bytes(pem(found.der))
    return folder


def test_certificate_files(tmp_path: Path) -> None:
    """They are copied, unsigned; their age is not judged, a shrink is."""
    source, store = tmp_path / "source", tmp_path / "store"
    kept = keep_files(store, "ours", folder_of(source, *TEN, dsc()), AT)
    assert (kept.format, kept.signed_by, len(kept.not_anchored)) == ("files", None, 10)
    assert kept.stale(AT + 9999 * DAY) is None
    assert verify(TEXT, TrustStore.load(store, at=AT), AT)
    with pytest.raises(TrustError, match="lacks 9 of the 10"):
        keep_files(store, "ours", folder_of(source, dsc()), AT)
    kept = keep_files(
        store, "ours", source / "0.pem", AT, max_shrink=1, cscas=[csca()], max_age=DAY
    )
    assert (kept.anchored, kept.max_age) == ((dsc().der,), DAY)


def test_files_do_not_replace_a_signed_list(tmp_path: Path) -> None:
    """Nor the other way round: that would be another source under the same name."""
    source = folder_of(tmp_path / "source", *TEN)
    keep(tmp_path, LAST, DID_KEY)
    before = kept_file(tmp_path).read_bytes()
    with pytest.raises(TrustError, match="found the format files, expected gdhcn"):
        keep_files(tmp_path, "it", source, AT)
    assert kept_file(tmp_path).read_bytes() == before
    keep_files(tmp_path, "ours", source, AT)
    with pytest.raises(TrustError, match="no anchor was given"):
        keep_list(tmp_path, "ours", LAST, None, AT)
    with pytest.raises(TrustError, match="found the format gdhcn, expected files"):
        keep_list(tmp_path, "ours", LAST, [DID_KEY], AT)


def test_a_list_is_not_certificate_files(tmp_path: Path) -> None:
    keep(tmp_path, LAST, DID_KEY)
    (tmp_path / "list.json").write_bytes(LAST)
    for source in (tmp_path / "list.json", tmp_path, kept_file(tmp_path)):
        with pytest.raises(TrustError, match="found a trust list, expected certificate files"):
            keep_files(tmp_path / "store", "ours", source, AT)


# --- arguments and places ------------------------------------------------------------------

BAD = [{"max_age": timedelta(0)}, {"max_age": -DAY}, {"max_age": timedelta.max},
       {"max_shrink": -0.1}, {"max_shrink": 1.1}, {"max_shrink": float("nan")},
       {"at": AT.replace(tzinfo=None)}]  # fmt: skip


@pytest.mark.parametrize("more", BAD, ids=map(str, BAD))
def test_arguments(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        keep(tmp_path / "new", LAST, DID_KEY, **more)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("damage", ["all", "a CSCA"])
def test_a_damaged_kept_list_is_not_replaced(tmp_path: Path, damage: str) -> None:
    """It holds the anchors, so whoever looks after it must decide; the error says between what."""
    keep(tmp_path, LAST, DID_KEY, cscas=[csca()])
    value = json.loads(kept_file(tmp_path).read_bytes())
    value["pinned_cscas"] = ["AAAA"]
    damaged = b"{}" if damage == "all" else json.dumps(value).encode()
    kept_file(tmp_path).write_bytes(damaged)
    with pytest.raises(
        TrustError, match=r"it\.trust\.json can't be replaced, .* remove it and add"
    ):
        keep(tmp_path, LAST, DID_KEY)
    assert kept_file(tmp_path).read_bytes() == damaged


def test_a_place_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="can't be"):
        keep(tmp_path / "file", LAST, DID_KEY)
    (tmp_path / ".it.lock").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        keep(tmp_path, LAST, DID_KEY)


def test_what_a_killed_writer_left(tmp_path: Path) -> None:
    """A half-written temporary file is nobody's: it is not read, and taken over."""
    (tmp_path / ".it.trust.json.tmp").write_bytes(b'{"version": 1, "na')
    kept = keep(tmp_path, LAST, DID_KEY)
    assert read_kept(kept_file(tmp_path)) == kept
    assert len(TrustStore.load(tmp_path, at=AT)) == 10


def add_some(folder: Path, number: int) -> None:
    """One process of several: adds lists, each a day later than the others', over and over."""
    for turn in range(5):
        data = gdhcn_list(*TEN, issued=NOW + timedelta(hours=turn * 10 + number))
        refused = "before the last good one"
        try:
            keep_list(folder, "it", data, None, AT)
        except TrustError as error:
            refused = str(error)
        assert "before the last good one" in refused


def test_processes_at_once(tmp_path: Path) -> None:
    """Every one is judged beside the one before it; the newest is what stays, and it is whole."""
    keep(tmp_path, LAST, DID_KEY)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_some, args=(tmp_path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert read_kept(kept_file(tmp_path)).issued_at == NOW + timedelta(hours=43)


def test_a_full_disk(tmp_path: Path) -> None:
    """A file that can't be written to its end is none: the last good one stays."""
    keep(tmp_path, LAST, DID_KEY)
    before = kept_file(tmp_path).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match="can't be written"):
            keep(tmp_path, gdhcn_list(*TEN, issued=AT), DID_KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert kept_file(tmp_path).read_bytes() == before
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_list_of_nothing_but_expired_dscs(tmp_path: Path) -> None:
    """They are kept all the same: whether a DSC is valid is judged for each credential."""
    old = sign_dsc("old", not_before=NOW - 90 * DAY, not_after=NOW - DAY)
    keep(tmp_path, gdhcn_list(old), DID_KEY)
    assert keep(tmp_path, gdhcn_list(dsc(), issued=AT)).not_anchored == (dsc().der,)
