"""``token csr`` writes a request that others read; ``token import-dsc`` brings its answer back."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from issuing import csca
from running import dsc_for_today
from tokens.softhsm import PIN
from vaxpass_sign.keys import certificate, open_signer
from vaxpass_sign.x509 import pem

WRONG = "wrong-pin-0815"
NAMES = ("--country", "VN", "--organisation", "Bộ Y tế", "--common-name", "DSC 1")


@pytest.fixture(autouse=True)
def _pins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOD_PIN", PIN)
    monkeypatch.setenv("BAD_PIN", WRONG)


# --- csr -----------------------------------------------------------------------------------


def csr(*arguments: object) -> tuple[object, ...]:
    return ("token", "csr", "--pin-env", "GOOD_PIN", *NAMES, *arguments)


@pytest.mark.parametrize("label", ["ec", "rsa"])
@pytest.mark.parametrize("name", ["dsc.pem", "dsc.der", None, "-"])
def test_a_request_is_written(vaxpass, softhsm, tmp_path: Path, label: str, name) -> None:
    """--out gives PEM or DER by its name; left out or -, PEM is all that goes to stdout."""
    out = () if name is None else ("--out", name if name == "-" else tmp_path / name)
    done = vaxpass(*csr(softhsm.uri(label), *out))
    assert done.code == 0
    if name in (None, "-"):
        request = x509.load_pem_x509_csr(done.out.encode())
        assert done.out.endswith("-----END CERTIFICATE REQUEST-----\n")
    else:
        assert done.out == ""
        assert f"wrote {tmp_path / name}: " in done.message
        data = (tmp_path / name).read_bytes()
        load = x509.load_der_x509_csr if name == "dsc.der" else x509.load_pem_x509_csr
        request = load(data)
    assert request.is_signature_valid
    assert request.public_key() == softhsm.keys[label].public_key()
    assert request.subject.rfc4514_string() == "CN=DSC 1,O=Bộ Y tế,C=VN"
    der = request.public_bytes(Encoding.DER)
    assert hashlib.sha256(der).hexdigest() in done.message
    assert f"key '{label}'" in done.message


def test_csr_asks_for_the_pin(terminal, softhsm, tmp_path: Path) -> None:
    """Without --pin-env and pin-source the PIN is asked for, and not shown."""
    shown = terminal(
        *("token", "csr", softhsm.uri("ec"), *NAMES, "--out", "dsc.pem"),
        answers=[(b"PIN of the token: ", PIN.encode() + b"\n")],
    )
    assert (shown.code, shown.answered) == (0, 1)
    assert (tmp_path / "dsc.pem").read_bytes().startswith(b"-----BEGIN CERTIFICATE REQUEST-----")


BAD_CSRS: dict[str, tuple[tuple[object, ...], str]] = {
    "a country of three letters": (("--country", "VNM"), "expected two capital letters"),
    "a country in small letters": (("--country", "vn"), "expected two capital letters"),
    "no organisation": (("--organisation", ""), "organisation has 0 characters"),
    "a long organisation": (("--organisation", "B" * 65), "organisation has 65 characters"),
    "a line break in the name": (("--common-name", "DSC\n1"), "common_name has 5 characters"),
    "another ending": (("--out", "dsc.csr"), "expected a name with .pem or .der"),
    "a folder that is not there": (("--out", "none/dsc.pem"), "found no folder none"),
    "a wrong PIN": (("--pin-env", "BAD_PIN"), "PIN was refused"),
}


@pytest.mark.parametrize(("options", "words"), BAD_CSRS.values(), ids=BAD_CSRS)
def test_a_request_that_can_not_be(
    vaxpass, softhsm, tmp_path: Path, monkeypatch, options: tuple[object, ...], words: str
) -> None:
    """One line says what was found, exit 2, and no file."""
    monkeypatch.chdir(tmp_path)
    done = vaxpass(*csr("--out", "dsc.pem", *options, softhsm.uri("ec")))
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert WRONG not in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_overwritten(vaxpass, softhsm, tmp_path: Path, kind: str) -> None:
    """What is there already is left as it is, and the PIN is not sent for it."""
    path = tmp_path / "dsc.pem"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nowhere")
    done = vaxpass(*csr("--pin-env", "BAD_PIN", "--out", path, softhsm.uri("ec")))
    assert (done.code, done.out) == (2, "")
    assert "is there already" in done.message
    assert list(tmp_path.iterdir()) == [path]
    if kind == "file":
        assert path.read_text() == "mine"


@pytest.mark.parametrize("command", ["csr", "import-dsc"])
def test_a_key_file_is_no_token(vaxpass, desk, command: str) -> None:
    """Both commands are for tokens: a key file is refused."""
    rest = NAMES if command == "csr" else (desk.dsc_file,)
    done = vaxpass("token", command, desk.key, *rest)
    assert (done.code, done.out) == (2, "")
    assert "starts with 'pkcs11:'" in done.message


# --- import-dsc ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare(softhsm) -> str:
    """A token with one key, and its URI."""
    softhsm.add_token("for a DSC")
    softhsm.keys["bare"] = ec.generate_private_key(ec.SECP256R1())
    softhsm.import_key(softhsm.keys["bare"], "bare", "e1", "for a DSC")
    return softhsm.uri("bare", token="for a DSC")


def test_a_dsc_is_put_beside_its_key(vaxpass, softhsm, bare: str, tmp_path: Path) -> None:
    """First put, then there already, then with another beside it; list shows both."""
    first, second = (
        dsc_for_today(name, public_key=softhsm.keys["bare"].public_key()) for name in ("1", "2")
    )
    (tmp_path / "1.pem").write_bytes(pem(first.der))
    (tmp_path / "2.der").write_bytes(second.der)
    put = ("token", "import-dsc", "--pin-env", "GOOD_PIN", bare)
    done = vaxpass(*put, tmp_path / "1.pem")
    assert (done.code, done.out) == (0, f"kid {first.kid.hex()}\n")
    assert re.match(r"put the DSC C=VN, .*CN=DSC 1, until \S+ beside key 'bare' ", done.message)
    done = vaxpass(*put, tmp_path / "1.pem")
    assert (done.code, done.out) == (0, f"kid {first.kid.hex()}\n")
    assert "already; it is this key's, nothing was changed" in done.message
    done = vaxpass(*put, tmp_path / "2.der")
    assert (done.code, done.out) == (0, f"kid {second.kid.hex()}\n")
    done_line, other = done.err.splitlines()
    assert "put the DSC" in done_line
    assert (
        f"another certificate with this key's id is there too and was left: {first.subject}"
        in other
    )
    listed = vaxpass("token", "list", "--module", softhsm.module).out
    for name, dsc in (("1", first), ("2", second)):
        line = f"    certificate 'bare', EC P-256, id e1, of 'DSC {name}', until {dsc.not_after:%Y-%m-%d}"
        assert line in listed.splitlines()
    with open_signer(bare, PIN) as signer:
        assert signer.public_key == softhsm.keys["bare"].public_key()


def certificates(vaxpass, softhsm) -> int:
    return vaxpass("token", "list", "--module", softhsm.module).out.count("    certificate ")


BAD_IMPORTS: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "another key's DSC": (pem(dsc_for_today("x").der), (), "is for another key"),
    "an RSA key's DSC": (pem(dsc_for_today("rsa").der), (), "is for another key"),
    "the CSCA": (pem(csca().der), (), "a CA's certificate"),
    "no certificate": (b"hello", (), "neither PEM nor DER"),
    "two DSCs": (2 * pem(csca().der), (), "found 2 certificates"),
    "a wrong PIN": (pem(dsc_for_today("x").der), ("--pin-env", "BAD_PIN"), "PIN was refused"),
}


@pytest.mark.parametrize(("data", "options", "words"), BAD_IMPORTS.values(), ids=BAD_IMPORTS)
def test_a_dsc_that_can_not_be_put(
    vaxpass, softhsm, tmp_path: Path, data: bytes, options: tuple[str, ...], words: str
) -> None:
    """One line says what was found, exit 2, and the token is as it was."""
    (tmp_path / "dsc.pem").write_bytes(data)
    before = certificates(vaxpass, softhsm)
    put = ("token", "import-dsc", "--pin-env", "GOOD_PIN", *options)
    done = vaxpass(*put, softhsm.uri("ec"), tmp_path / "dsc.pem")
    assert (done.code, done.out) == (2, "")
    assert words in done.message
    assert WRONG not in done.err
    assert certificates(vaxpass, softhsm) == before


def test_what_is_left_behind_is_told(
    vaxpass, softhsm, bare: str, proxied, proxy, tmp_path: Path, monkeypatch
) -> None:
    """An object that could neither be read back nor destroyed is named in the one line."""
    real, seen = certificate._certificates, []

    def once(*arguments):
        seen.append(arguments)
        return real(*arguments) if len(seen) == 1 else (False, [])

    monkeypatch.setattr(certificate, "_certificates", once)
    proxy.fail("C_DestroyObject", "CKR_DEVICE_ERROR")
    key = ec.generate_private_key(ec.SECP256R1())
    softhsm.import_key(key, "left", "e2", "for a DSC")
    dsc = dsc_for_today("left", public_key=key.public_key())
    (tmp_path / "dsc.pem").write_bytes(pem(dsc.der))
    uri = proxied.uri("left", token="for a DSC")
    put = ("token", "import-dsc", "--pin-env", "GOOD_PIN", uri)
    done = vaxpass(*put, tmp_path / "dsc.pem")
    assert (done.code, done.out) == (2, "")
    assert "does not show the DSC" in done.message
    assert "destroying what was made on token 'for a DSC'" in done.message
    assert done.message.endswith("destroy it with the token's own tool")


def test_a_dsc_file_that_is_not_there(vaxpass, softhsm, tmp_path: Path) -> None:
    """A missing file is named, before the PIN is sent."""
    put = ("token", "import-dsc", "--pin-env", "BAD_PIN", softhsm.uri("ec"))
    done = vaxpass(*put, tmp_path / "none.pem")
    assert (done.code, done.out) == (2, "")
    assert "none.pem can't be read" in done.message
