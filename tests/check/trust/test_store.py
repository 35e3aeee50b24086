"""Trust stores: folders, bundles and lists, anchors, and what can't be loaded."""

from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from check.test_policy import STRICT
from issuing import AT, NOW, csca, dsc, make_issuer, private_key, sign_csca, sign_dsc, signer_of
from signed_lists import (
    LIST,
    anchor,
    b64,
    did_document,
    did_entry,
    gateway_list,
    gdhcn_list,
    jwk,
    leaf,
    list_signer,
    sign_did,
    sign_jws,
    swedish_list,
    swedish_payload,
)
from vaxpass_sign import TrustStore, VaccinationRecord, verify
from vaxpass_sign.check import NotChecked
from vaxpass_sign.check.many import verify_texts
from vaxpass_sign.check.trust import files as files_module
from vaxpass_sign.errors import InputError, TrustError
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
    """Stores are added up with |; each DSC stays anchored or not."""
    one, two = TrustStore([dsc()], anchored=True), TrustStore([dsc(), dsc("another")])
    for both in (one | two, two | one):
        assert len(both) == 2
        assert not both.anchored
        assert both.is_anchored(dsc())
        assert not both.is_anchored(dsc("another"))
    assert (one | one).anchored
    assert not TrustStore([]).anchored
    some = TrustStore([dsc(), dsc("another")], anchored=[dsc("another")])
    assert [some.is_anchored(d) for d in (dsc(), dsc("another"))] == [False, True]


def test_issued_by(caplog) -> None:
    """Only what one of the CSCAs issued stays, and all of it is anchored."""
    other = leaf("of another", issuer="another csca")
    store = TrustStore([dsc(), other]).issued_by([csca()])
    assert list(store) == [dsc()]
    assert store.anchored
    assert "expected one of the 1 CSCAs" in store.why_refused(other.kid)
    assert other.kid.hex() in caplog.text
    assert list((store | TrustStore([other])).candidates(other.kid)) == [other]
    assert (store | TrustStore([other])).why_refused(other.kid) is None


# --- signed lists --------------------------------------------------------------------------

DID_KEY = private_key("did").public_key()
LISTS = {
    "dgcg": (gateway_list(dsc()), anchor()),
    "dgcg with its CSCA": (gateway_list(dsc(), cscas=(csca(),)), anchor()),
    "dsc-tl": (swedish_list(dsc(), issued=AT), list_signer()),
    "gdhcn": (gdhcn_list(dsc()), DID_KEY),
    "gdhcn with its CSCA": (gdhcn_list(dsc(), cscas=(csca(),)), DID_KEY),
}


@pytest.mark.parametrize("name", LISTS)
def test_signed_lists(tmp_path: Path, name: str) -> None:
    """Each format is loaded with its anchor, and what a listed DSC signed is valid.

    A DSC is anchored when the list has its CSCA, which the same signature covers.
    """
    data, pin = LISTS[name]
    path = tmp_path / "list"
    path.write_bytes(data)
    store = TrustStore.load(path, [pin], at=AT)
    verdict = verify(TEXT, store, at=AT)
    assert verdict.valid
    with_csca = "CSCA" in name
    assert store.is_anchored(dsc()) == with_csca
    assert (NotChecked.CSCA in verdict.not_checked) != with_csca
    assert verify(TEXT, store, AT, STRICT).valid == with_csca


@pytest.mark.parametrize("name", LISTS)
def test_a_signed_list_needs_an_anchor(tmp_path: Path, name: str) -> None:
    """Without one nothing of it is believed, and neither with a stranger's."""
    path = tmp_path / "list"
    path.write_bytes(LISTS[name][0])
    with pytest.raises(TrustError, match="is a signed list and no anchor was given: give --anchor"):
        TrustStore.load(path, at=AT)
    for strangers in ([], [leaf("stranger")], [private_key("stranger").public_key()]):
        with pytest.raises(TrustError, match=str(path)):
            TrustStore.load(path, strangers, at=AT)


def unsigned_gateway() -> bytes:
    items = json.loads(gateway_list(dsc()))
    return json.dumps([i | {"signature": ""} for i in items]).encode()


def swapped_gateway() -> bytes:
    items = json.loads(gateway_list(dsc()))
    return json.dumps([*items[:-1], items[-1] | {"rawData": b64(dsc("another").der)}]).encode()


def swapped_swedish() -> bytes:
    head, _, signature = swedish_list(dsc(), issued=AT).split(b".")
    return b".".join([head, swedish_list(dsc("another"), issued=AT).split(b".")[1], signature])


def swapped_gdhcn() -> bytes:
    return gdhcn_list(dsc()).replace(b64(dsc().der).encode(), b64(dsc("another").der).encode())


FORGED = {
    "the gateway's, unsigned": (unsigned_gateway(), anchor()),
    "the gateway's, an entry swapped": (swapped_gateway(), anchor()),
    "a DSC-TL, its payload swapped": (swapped_swedish(), list_signer()),
    "a DSC-TL of another key": (swedish_list(dsc(), issued=AT, key="stranger"), list_signer()),
    "GDHCN, an entry swapped": (swapped_gdhcn(), DID_KEY),
    "GDHCN, without its proof": (
        json.dumps(did_document(did_entry(dsc()))).encode(),
        DID_KEY,
    ),
    "JSON with a certificate in it": (b'[{"rawData": "' + pem(dsc().der) + b'"}]', anchor()),
    "a JWS with a certificate after it": (b"ey.\n" + pem(dsc().der), list_signer()),
}


@pytest.mark.parametrize("name", FORGED)
def test_forged_lists(tmp_path: Path, name: str) -> None:
    """One that its anchor did not sign as it stands gives no DSC at all."""
    data, pin = FORGED[name]
    path = tmp_path / "list"
    path.write_bytes(data)
    with pytest.raises(TrustError, match=str(path)):
        TrustStore.load(path, [pin], at=AT)


def test_json_is_never_a_file_of_certificates(tmp_path: Path) -> None:
    """Else a list without its signature, with a PEM block in it, would be a local file."""
    path = tmp_path / "list.pem"
    for start in (b"[", b" \n{"):
        path.write_bytes(start + pem(dsc().der))
        with pytest.raises(TrustError, match="signed list"):
            TrustStore.load(path)


def test_a_list_is_judged_for_the_moment(tmp_path: Path) -> None:
    """``at`` is the moment of checking; left out, it is now."""
    path = tmp_path / "list"
    path.write_bytes(swedish_list(dsc()))
    assert TrustStore.load(path, [list_signer()], at=AT)
    with pytest.raises(TrustError, match="expired"):
        TrustStore.load(path, [list_signer()], at=AT + timedelta(days=60))
    with pytest.raises(TrustError, match="expected no later than the moment"):
        TrustStore.load(path, [list_signer()], at=NOW - timedelta(days=1))
    with pytest.raises(InputError, match="UTC offset"):
        TrustStore.load(path, [list_signer()], at=AT.replace(tzinfo=None))


@pytest.mark.parametrize("extended", [None, "1.3.6.1.4.1.1847.2021.1.1"])
def test_a_dsc_signs_no_list(tmp_path: Path, extended: str | None) -> None:
    """Whoever delivers the DSCs and holds the key of one could else make a list of his own of them."""
    held = leaf("held", extended=extended)
    payload = json.dumps(swedish_payload(jwk(leaf("made up", issuer="another csca"))))
    path = tmp_path / "dsc.pem"
    path.write_bytes(sign_jws(payload.encode(), held, "held"))
    with pytest.raises(
        TrustError, match="is none of the 1 certificates among the anchors: pin the publisher"
    ):
        TrustStore.load(path, [csca()], at=AT)


def test_the_age_of_a_list_shows(tmp_path: Path) -> None:
    """Else a list from before its publisher withdrew a DSC could be delivered for ever."""
    path = tmp_path / "list"
    for data, pin in ((gdhcn_list(dsc()), DID_KEY), (swedish_list(dsc(), days=99), list_signer())):
        path.write_bytes(data)
        assert TrustStore.load(path, [pin], at=AT).stale == ()
        old = TrustStore.load(path, [pin], at=AT + timedelta(seconds=1)) | TrustStore()
        assert old.stale == (
            f"{path} was issued 30.1 days ago, expected at most 30 days: get a newer one",
        )


def test_references_of_a_list(tmp_path: Path) -> None:
    """Documents are handed on."""
    path = tmp_path / "list"
    top = did_document(f"{LIST}:DSC", id=f"{LIST}:top")
    path.write_bytes(json.dumps(sign_did(top, "did")).encode())
    other = json.dumps(sign_did(did_document(did_entry(dsc())), "did")).encode()
    assert list(TrustStore.load(path, [DID_KEY], at=AT, documents=[other])) == [dsc()]


def forged_dsc() -> Certificate:
    """A DSC that names the CSCA as its issuer, and its key too, signed by another key."""
    read = x509.load_der_x509_certificate(dsc("another").der)
    built = x509.CertificateBuilder(
        read.issuer,
        read.subject,
        read.public_key(),
        read.serial_number,
        read.not_valid_before_utc,
        read.not_valid_after_utc,
        list(read.extensions),
    ).sign(private_key("stranger"), hashes.SHA256())
    return Certificate.from_bytes(built.public_bytes(Encoding.DER))


def test_a_listed_csca_speaks_for_its_own_dscs(tmp_path: Path) -> None:
    """A DSC that names a listed CSCA must be of it; one that names none is kept, not anchored."""
    forged, foreign = forged_dsc(), leaf("of another", issuer="another csca")
    path = tmp_path / "list"
    path.write_bytes(gdhcn_list(dsc(), forged, foreign, cscas=(csca(),)))
    store = TrustStore.load(path, [DID_KEY], at=AT)
    assert set(store) == {dsc(), foreign}
    assert [store.is_anchored(d) for d in (dsc(), foreign)] == [True, False]
    assert not store.anchored
    assert "was not signed by the key of C=VN" in store.why_refused(forged.kid)
    path.write_bytes(gdhcn_list(forged, cscas=(csca(),)))
    with pytest.raises(TrustError, match="found no DSC that can be used"):
        TrustStore.load(path, [DID_KEY], at=AT)


def test_strict_takes_anchored_dscs_of_a_mixed_store() -> None:
    """A store that holds others too costs an anchored DSC nothing, and gives the others nothing."""
    mixed = TrustStore([dsc()], anchored=True) | TrustStore([dsc("another")])
    another = make_issuer("another").issue(records(1)[0])
    strict = STRICT
    texts = [TEXT, another]
    assert [v.reason for v in verify_texts(texts, mixed, AT, strict)] == ["valid", "dsc_untrusted"]
    assert [verify(text, mixed, AT, strict).reason for text in texts] == ["valid", "dsc_untrusted"]
    verdicts = verify_texts(texts, mixed, AT)
    assert [NotChecked.CSCA in verdict.not_checked for verdict in verdicts] == [False, True]
    assert verdicts == [verify(text, mixed, AT) for text in texts]


def test_bare_keys_are_no_cscas(tmp_path: Path) -> None:
    path = tmp_path / "dsc.pem"
    path.write_bytes(pem(dsc().der))
    with pytest.raises(TrustError, match="no certificate among the anchors"):
        TrustStore.load(path, [DID_KEY])
    assert TrustStore.load(path, [DID_KEY, csca()]).anchored


# --- certificate files ---------------------------------------------------------------------


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
