"""Software keys in PEM files."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from tokens.leaks import assert_shows_no
from vaxpass_sign.errors import InputError, PinError, TokenError, VaxpassError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.software import SoftwareSigner, raw_signature

PASSWORD = "password-60211"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
MESSAGES = [b"", b"a", b"b" * 350]


def pem(
    key: object, form: PrivateFormat = PrivateFormat.PKCS8, password: str | None = None
) -> bytes:
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, encryption)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_es256_signatures_verify(form: PrivateFormat) -> None:
    """A P-256 key signs ES256: 64 bytes r‖s that verify."""
    with SoftwareSigner.from_pem(pem(EC_KEY, form)) as signer:
        assert signer.alg is Alg.ES256
        assert signer.public_key == EC_KEY.public_key()
        signatures = signer.sign(MESSAGES)
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert len(signature) == 64
        r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
        EC_KEY.public_key().verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))


def test_ps256_signatures_verify() -> None:
    """An RSA key signs PS256: as long as the modulus, MGF1-SHA256, salt of 32 bytes."""
    with SoftwareSigner.from_pem(pem(RSA_KEY)) as signer:
        assert signer.alg is Alg.PS256
        signatures = signer.sign(MESSAGES)
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    for message, signature in zip(MESSAGES, signatures, strict=True):
        assert len(signature) == 256
        RSA_KEY.public_key().verify(signature, message, pss, SHA256())


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_raw_signature_is_what_cryptography_decodes(r: int, s: int) -> None:
    """Cutting r and s out of the DER gives the numbers that cryptography reads."""
    der = encode_dss_signature(r, s)
    assert decode_dss_signature(der) == (r, s)
    assert raw_signature(der) == r.to_bytes(32, "big") + s.to_bytes(32, "big")


@pytest.mark.parametrize("value", [1, 127, 128, 255, 2**255 - 1, 2**255, 2**256 - 1, 2**248 - 1])
def test_raw_signature_at_the_edges(value: int) -> None:
    """Short numbers are padded, and DER's sign byte is dropped."""
    expected = value.to_bytes(32, "big") + (1).to_bytes(32, "big")
    assert raw_signature(encode_dss_signature(value, 1)) == expected


@pytest.mark.parametrize("password", [PASSWORD, lambda: PASSWORD], ids=["text", "function"])
def test_an_encrypted_file_is_opened_with_its_password(tmp_path: Path, password: object) -> None:
    """An encrypted PEM file opens with the password, through open_signer as well."""
    path = tmp_path / "dsc.pem"
    path.touch(0o600)
    path.write_bytes(pem(EC_KEY, password=PASSWORD))
    with open_signer(path, password) as signer:  # type: ignore[arg-type]
        assert signer.public_key == EC_KEY.public_key()


def test_a_password_is_not_asked_for_in_vain() -> None:
    """The password function is not called for a file that is not encrypted."""
    SoftwareSigner.from_pem(pem(EC_KEY), password=lambda: pytest.fail("asked")).close()


PUBLIC = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("data", "password", "error", "words"),
    [
        pytest.param(b"", None, InputError, ["not PEM", "PRIVATE KEY"], id="empty"),
        pytest.param(b"\x30\x82\x01", None, InputError, ["not PEM"], id="DER"),
        pytest.param(
            PUBLIC, None, InputError, ["PUBLIC KEY, expected a PRIVATE KEY"], id="public key"
        ),
        pytest.param(pem(EC_KEY)[:80], None, InputError, ["can't be read"], id="cut off"),
        pytest.param(
            pem(EC_KEY, password=PASSWORD),
            None,
            PinError,
            ["encrypted", "--pin-env"],
            id="no password",
        ),
        pytest.param(
            pem(EC_KEY, password=PASSWORD),
            "x" + PASSWORD,
            PinError,
            ["check its password"],
            id="wrong",
        ),
        pytest.param(pem(EC_KEY, password=PASSWORD), "", PinError, ["empty"], id="empty password"),
        pytest.param(
            pem(ec.generate_private_key(ec.SECP384R1())),
            None,
            TokenError,
            ["secp384r1", "P-256"],
            id="P-384",
        ),
        pytest.param(
            pem(rsa.generate_private_key(65537, 1024)),
            None,
            TokenError,
            ["1024 bits", "2048"],
            id="RSA 1024",
        ),
        pytest.param(
            pem(ed25519.Ed25519PrivateKey.generate()),
            None,
            TokenError,
            ["Ed25519", "P-256"],
            id="Ed25519",
        ),
    ],
)
def test_refuses(
    tmp_path: Path, data: bytes, password: str | None, error: type[VaxpassError], words: list[str]
) -> None:
    """A file that is no key for HCERTs is one line that names the file and what it holds."""
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        open_signer(path, password)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(path), *words) if "empty" not in words else words:
        assert word in message
    assert_shows_no(caught.value, PASSWORD)


@pytest.mark.parametrize("name", ["missing.pem", "."], ids=["missing", "directory"])
def test_refuses_a_path_that_is_no_file(tmp_path: Path, name: str) -> None:
    """A missing file or a directory is an InputError that names it."""
    with pytest.raises(InputError, match="key file"):
        open_signer(str(tmp_path / name))


def test_a_readable_key_file_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key file that others may read is used, and a warning names it."""
    path = tmp_path / "key.pem"
    path.write_bytes(pem(EC_KEY))
    path.chmod(0o640)
    with caplog.at_level(logging.WARNING):
        open_signer(path).close()
    assert "chmod 600" in caplog.text
    caplog.clear()
    path.chmod(0o600)
    open_signer(path).close()
    assert caplog.text == ""


def test_a_closed_signer_does_not_sign() -> None:
    """Closing twice is harmless; signing afterwards is a TokenError."""
    signer = SoftwareSigner.from_pem(pem(EC_KEY))
    signer.close()
    signer.close()
    with pytest.raises(TokenError, match="closed"):
        signer.sign([b"a"])


def test_a_forked_child_opens_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """In another process than the one that opened it, the signer refuses to sign."""
    signer = SoftwareSigner.from_pem(pem(EC_KEY))
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(TokenError, match="forked"):
        signer.sign([b"a"])
