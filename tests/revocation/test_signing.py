"""Batches signed by software keys and on a token, verified by OpenSSL."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import cms

from issuing import NOW, csca, private_key, sign_dsc, signer_of
from tokens.softhsm import SoftHsm
from vaxpass_sign.check.cms import verify_cms
from vaxpass_sign.check.revocation import HashType, Scope
from vaxpass_sign.check.revocation.batch import Batch, read_signed_batch
from vaxpass_sign.errors import CertificateError, InputError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.revocation import sign_batch, sign_cms
from vaxpass_sign.x509 import Certificate, pem

END = NOW + timedelta(days=30)
BATCH = Batch(Scope(HashType.UCI, "VN", bytes(8)), END, tuple(bytes([n]) * 16 for n in range(200)))


def openssl_verifies(folder: Path, message: bytes, certificate: Certificate) -> bytes:
    """The content that `openssl cms -verify` gives, the chain to the CSCA included."""
    if shutil.which("openssl") is None:
        if os.environ.get("CI"):
            pytest.fail("openssl is not installed")
        pytest.skip("openssl is not installed")
    (folder / "m.der").write_bytes(message)
    (folder / "csca.pem").write_bytes(pem(csca().der))
    done = subprocess.run(
        [
            *("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "m.der"),
            *(
                "-CAfile",
                folder / "csca.pem",
                "-purpose",
                "any",
                "-attime",
                str(int(NOW.timestamp())),
            ),
            *("-out", folder / "content", "-signer", folder / "signer.pem"),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    assert Certificate.from_bytes((folder / "signer.pem").read_bytes()) == certificate
    return (folder / "content").read_bytes()


@pytest.mark.parametrize("name", ["upload", "rsa-upload"])
def test_openssl_verifies_a_batch(tmp_path: Path, name: str) -> None:
    certificate = sign_dsc(name)
    message = sign_batch(BATCH, signer_of(private_key(name)), certificate, at=NOW)
    assert openssl_verifies(tmp_path, message, certificate) == BATCH.to_json()
    changed = message.replace(b"UCI", b"UCJ")
    assert changed != message
    with pytest.raises(AssertionError, match=r"[Vv]erification failure"):
        openssl_verifies(tmp_path, changed, certificate)


@pytest.mark.parametrize("name", ["ec", "rsa"])
def test_a_token_signs_a_batch(softhsm: SoftHsm, tmp_path: Path, name: str) -> None:
    """Through PKCS#11, as it signs credentials."""
    certificate = sign_dsc(name, public_key=softhsm.keys[name].public_key())
    with open_signer(softhsm.uri(name), pin=softhsm.pin) as signer:
        message = sign_batch(BATCH, signer, certificate, at=NOW)
    assert openssl_verifies(tmp_path, message, certificate) == BATCH.to_json()
    assert read_signed_batch(message, [certificate], at=NOW) == BATCH


def test_what_is_in_the_message() -> None:
    """DER, three attributes, and the time of signing in the form of its year."""
    certificate, signer = sign_dsc("upload"), signer_of(private_key("upload"))
    for at, form in ((NOW, "utc_time"), (datetime(2050, 1, 1, tzinfo=UTC), "generalized_time")):
        message = sign_cms(b"x", signer, certificate, at=at)
        parsed = cms.ContentInfo.load(message)
        assert parsed.copy().dump(force=True) == message
        [info] = parsed["content"]["signer_infos"]
        found = {
            attribute["type"].native: attribute["values"][0] for attribute in info["signed_attrs"]
        }
        assert set(found) == {"content_type", "message_digest", "signing_time"}
        assert found["signing_time"].name == form
        assert found["signing_time"].native == at
        assert [c.chosen.dump() for c in parsed["content"]["certificates"]] == [certificate.der]


def test_content_of_any_kind() -> None:
    certificate, signer = sign_dsc("upload"), signer_of(private_key("upload"))
    for content in (b"", bytes(100_000), b"\x30\x00"):
        assert verify_cms(sign_cms(content, signer, certificate), [certificate]) == content


@pytest.mark.parametrize("name", ["other", "rsa-other"])
def test_another_keys_certificate_is_refused(name: str) -> None:
    """Nothing comes out that would not verify."""
    with pytest.raises(CertificateError):
        sign_cms(b"x", signer_of(private_key("upload")), sign_dsc(name), at=NOW)


def test_a_certificate_that_may_not_sign() -> None:
    with pytest.raises(CertificateError, match="digitalSignature"):
        sign_cms(b"x", signer_of(private_key("csca")), csca(), at=NOW)


def test_another_countrys_certificate() -> None:
    batch = Batch(Scope(HashType.UCI, "LA"), END, (bytes(16),))
    with pytest.raises(CertificateError, match="country"):
        sign_batch(batch, signer_of(private_key("upload")), sign_dsc("upload"), at=NOW)


def test_a_time_without_an_offset() -> None:
    with pytest.raises(InputError):
        sign_cms(
            b"x", signer_of(private_key("upload")), sign_dsc("upload"), at=NOW.replace(tzinfo=None)
        )
