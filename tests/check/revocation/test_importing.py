"""From signed batches to a store: all of them are believed, or the old store stays."""

from __future__ import annotations

import base64
import os
from datetime import timedelta
from pathlib import Path

import pytest

from issuing import NOW, private_key, signer_of
from signed_lists import leaf
from vaxpass_sign.check.revocation import HashType, RevocationStore, Scope, importing, write_store
from vaxpass_sign.check.revocation.batch import Batch
from vaxpass_sign.check.revocation.importing import import_batches
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.revocation import sign_batch, sign_cms

END = NOW + timedelta(days=30)
UNTIL = NOW + timedelta(days=7)
VN, LA = leaf("upload"), leaf("la-upload", "LA")
KEYS = {"VN": ("upload", VN), "LA": ("la-upload", LA)}


def batch(
    country: str = "VN",
    numbers: range = range(3),
    *,
    hash_type: HashType = HashType.UCI,
    kid: bytes | None = None,
    end=END,
) -> Batch:
    return Batch(Scope(hash_type, country, kid), end, tuple(n.to_bytes(16, "big") for n in numbers))


def signed(made: Batch) -> bytes:
    key, certificate = KEYS[made.scope.country]
    return sign_batch(made, signer_of(private_key(key)), certificate, at=NOW)


@pytest.fixture
def batches(tmp_path: Path) -> Path:
    """A folder of three batches of two countries."""
    folder = tmp_path / "batches"
    folder.mkdir()
    (folder / "1.cms").write_bytes(signed(batch()))
    (folder / "2.cms").write_bytes(signed(batch("LA", range(2, 900))))
    (folder / "3.txt").write_bytes(
        base64.encodebytes(signed(batch(numbers=range(2, 5), kid=bytes(8))))
    )
    return folder


def run(folder: Path, *sources: Path, anchors=(VN, LA), at=NOW):
    return import_batches(folder / "store", sources, anchors, expires_at=UNTIL, at=at)


def test_one_store_of_all_countries(batches: Path, tmp_path: Path) -> None:
    """Scopes apart, base64 or DER, folders and files; stores and hidden files in a folder are left."""
    (batches / ".4.cms.tmp").write_bytes(b"half")
    write_store(batches / "revoked.vxrev", [], expires_at=END, created_at=NOW)
    done = run(tmp_path, batches)
    assert (done.batches, done.expired, done.entries) == (3, 0, 3 + 898 + 3)
    assert done.countries == {"LA": 1, "VN": 2}
    with RevocationStore.open(tmp_path / "store") as store:
        assert store.scopes == {
            Scope(HashType.UCI, "VN"): 3,
            Scope(HashType.UCI, "VN", bytes(8)): 3,
            Scope(HashType.UCI, "LA"): 898,
        }
        assert (store.created_at, store.expires_at) == (NOW, UNTIL)
    assert run(tmp_path, *sorted(batches.glob("[0-9]*"))) == done
    assert run(tmp_path, batches, batches / "1.cms").entries == done.entries


def test_what_has_expired_is_left_out(batches: Path, tmp_path: Path) -> None:
    """But only when it is signed."""
    expired = batch(numbers=range(50, 60), end=NOW)
    (batches / "4.cms").write_bytes(signed(expired))
    done = run(tmp_path, batches)
    assert (done.batches, done.expired) == (3, 1)
    with RevocationStore.open(tmp_path / "store") as store:
        assert not store.holds(expired.scope, expired.entries[0])
    (batches / "4.cms").write_bytes(
        sign_cms(expired.to_json(), signer_of(private_key("la-upload")), LA, at=NOW)
    )
    with pytest.raises(TrustError, match=r"4\.cms"):
        run(tmp_path, batches)


def flipped(folder: Path) -> None:
    data = bytearray((folder / "2.cms").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "2.cms").write_bytes(data)


def other_country(folder: Path) -> None:
    forged = sign_cms(batch("LA").to_json(), signer_of(private_key("upload")), VN, at=NOW)
    (folder / "2.cms").write_bytes(forged)


def nobody_pinned(folder: Path) -> None:
    certificate = leaf("stranger")
    forged = sign_batch(batch(), signer_of(private_key("stranger")), certificate, at=NOW)
    (folder / "2.cms").write_bytes(forged)


def no_batch(folder: Path) -> None:
    (folder / "2.cms").write_bytes(sign_cms(b"{}", signer_of(private_key("upload")), VN, at=NOW))


def text(folder: Path) -> None:
    (folder / "2.cms").write_text("read me\n")


def empty(folder: Path) -> None:
    (folder / "2.cms").write_bytes(b"")


def large(folder: Path) -> None:
    (folder / "2.cms").write_bytes(b"\x30" + bytes(600_000))


def inner_folder(folder: Path) -> None:
    (folder / "2.cms").unlink()
    (folder / "2.cms").mkdir()


def pipe(folder: Path) -> None:
    (folder / "2.cms").unlink()
    os.mkfifo(folder / "2.cms")


def unreadable(folder: Path) -> None:
    (folder / "2.cms").unlink()
    (folder / "2.cms").symlink_to(folder / "nowhere")


@pytest.mark.parametrize(
    "change",
    [
        *(flipped, other_country, nobody_pinned, no_batch, text, empty, large),
        *(inner_folder, pipe, unreadable),
    ],
    ids=lambda change: change.__name__,
)
def test_a_bad_batch_refuses_all(batches: Path, tmp_path: Path, change) -> None:
    """It is named, and the store that was there is as it was."""
    run(tmp_path, batches)
    before = (tmp_path / "store").read_bytes()
    change(batches)
    with pytest.raises((TrustError, InputError), match=r"2\.cms") as caught:
        run(tmp_path, batches)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "store").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["batches", "store"]


def test_a_large_file_is_not_read_on(batches: Path, tmp_path: Path) -> None:
    large(batches)
    with pytest.raises(TrustError, match=r"2\.cms: found over 524288 bytes"):
        run(tmp_path, batches)


def test_nothing_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for sources in ((), (tmp_path / "empty",)):
        with pytest.raises(InputError, match="no batch"):
            run(tmp_path, *sources)
    with pytest.raises(InputError, match="missing"):
        run(tmp_path, tmp_path / "missing")
    monkeypatch.setattr(importing, "MAX_BATCHES", 2)
    for name in "abc":
        (tmp_path / "empty" / name).write_bytes(b"")
    with pytest.raises(InputError, match="over 2"):
        run(tmp_path, tmp_path / "empty")
