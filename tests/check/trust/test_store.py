"""Trust stores: folders and bundles, anchors, and what can't be loaded."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from issuing import AT, NOW, csca, dsc, make_issuer, private_key, sign_csca, sign_dsc, signer_of
from vaxpass_sign import TrustStore, VaccinationRecord, verify
from vaxpass_sign.check.trust import files as files_module
from vaxpass_sign.errors import TrustError
from vaxpass_sign.sample import records
from vaxpass_sign.x509 import Certificate, Subject, dsc_to_sign, pem

TEXT = make_issuer().issue(records(1)[0])


def test_a_folder_of_every_form(tmp_path: Path) -> None:
    """A folder may hold PEM and DER files and bundles; other files are passed over."""
    (tmp_path / "one.pem").write_bytes(pem(dsc().der))
    (tmp_path / "two.DER").write_bytes(dsc("another").der)
    (tmp_path / "three.cer").write_bytes(pem(dsc("rsa dsc").der) + pem(csca().der))
    (tmp_path / "README.txt").write_text("not a certificate")
    store = TrustStore.load(tmp_path)
    assert len(store) == 4
    assert {c.der for c in store} == {
        c.der for c in (dsc(), dsc("another"), dsc("rsa dsc"), csca())
    }
    assert verify(TEXT, store, at=AT)


def test_a_bundle(tmp_path: Path) -> None:
    """One file may hold many; text between the certificates is passed over."""
    path = tmp_path / "bundle"
    path.write_bytes(b"# ours\n" + pem(dsc().der) + b"\n# theirs\n" + pem(dsc("another").der))
    assert len(TrustStore.load(str(path))) == 2


def test_adding_up() -> None:
    """Stores are added up with |; the sum is anchored only when both are."""
    one, two = TrustStore([dsc()], anchored=True), TrustStore([dsc(), dsc("another")])
    assert len(one | two) == 2
    assert not (one | two).anchored
    assert (one | one).anchored


def test_anchors_keep_out_what_they_did_not_issue(tmp_path: Path, caplog) -> None:
    """With anchors only the DSCs that they issued are taken; the log names the others by kid."""
    stranger_csca = sign_csca("stranger csca")
    signer = signer_of(private_key("stranger csca"))
    draft = dsc_to_sign(
        private_key("stranger").public_key(),
        Subject("VN", "Stranger", "DSC"),
        csca=stranger_csca,
        not_before=NOW,
        not_after=NOW + timedelta(days=100),
    )
    stranger = Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))
    (tmp_path / "a.pem").write_bytes(pem(dsc().der) + pem(stranger.der))
    (tmp_path / "csca").write_bytes(pem(csca().der))
    store = TrustStore.load(tmp_path / "a.pem", anchors=tmp_path / "csca")
    assert list(store) == [dsc()]
    assert store.anchored
    assert stranger.kid.hex() in caplog.text
    with pytest.raises(TrustError, match="none issued by one of the 1 anchors"):
        TrustStore.load(tmp_path / "a.pem", anchors=[sign_csca("third csca")])


def garbage(folder: Path) -> Path:
    (folder / "x.pem").write_bytes(
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    return folder


def cut(folder: Path) -> Path:
    (folder / "x.der").write_bytes(dsc().der[:-10])
    return folder / "x.der"


def private(folder: Path) -> Path:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = private_key("dsc").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "x.pem").write_bytes(key)
    return folder


def empty(folder: Path) -> Path:
    (folder / "x.pem").write_bytes(b"")
    return folder


def huge(folder: Path) -> Path:
    with (folder / "x.pem").open("wb") as file:
        file.truncate(files_module.MAX_FILE_BYTES + 1)
    return folder / "x.pem"


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "x.pem")
    return folder


def nul(folder: Path) -> str:
    return f"{folder}/a\0b"


def named_as_a_file(folder: Path) -> Path:
    (folder / "x.pem").mkdir()
    return folder


BAD = [
    ("nothing there", lambda folder: folder / "missing", "can't be read"),
    ("an empty folder", lambda folder: folder, "found no .pem"),
    ("garbage", garbage, "x.pem"),
    ("a file cut short", cut, "x.der"),
    ("a private key", private, "x.pem"),
    ("an empty file", empty, "x.pem"),
    ("too large a file", huge, "split"),
    ("a pipe", pipe, "not a regular file"),
    ("a folder named as a file", named_as_a_file, "a directory"),
    ("a path with NUL", nul, "can't be read"),
    ("an empty path", lambda folder: "", "empty path"),
]


@pytest.mark.parametrize(("make", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_be_loaded(tmp_path: Path, make, words: str) -> None:
    """What can't be loaded is a TrustError that names the file; nothing is half believed."""
    with pytest.raises(TrustError, match=words):
        TrustStore.load(make(tmp_path))


def test_no_trust_at_all() -> None:
    """An empty store knows no kid."""
    assert verify(TEXT, TrustStore([]), at=AT).reason == "unknown_kid"


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with more files than the bound is refused before one is read."""
    monkeypatch.setattr(files_module, "MAX_FILES", 2)
    for number in range(3):
        (tmp_path / f"{number}.pem").write_bytes(b"not read")
    with pytest.raises(TrustError, match="found 3 files, expected at most 2"):
        TrustStore.load(tmp_path)


def test_a_broken_link(tmp_path: Path) -> None:
    """A link to nowhere is named."""
    (tmp_path / "x.pem").symlink_to(tmp_path / "gone")
    with pytest.raises(TrustError, match=r"x\.pem"):
        TrustStore.load(tmp_path)


def test_a_later_copy_changes_nothing(tmp_path: Path) -> None:
    """The same DSC in two files is one DSC."""
    (tmp_path / "a.pem").write_bytes(pem(dsc().der))
    shutil.copy(tmp_path / "a.pem", tmp_path / "b.pem")
    assert len(TrustStore.load(tmp_path)) == 1


def test_dsc_cases_share_nothing() -> None:
    """Two DSCs of one key have two kids."""
    assert sign_dsc().kid != sign_dsc().kid
    assert VaccinationRecord is not None
