"""A request for a DSC, signed on a token: openssl and cryptography read it and verify it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from pkcs11.constants import Attribute, ObjectClass

from tokens.softhsm import SoftHsm
from vaxpass_sign.errors import CertificateError, TokenError
from vaxpass_sign.keys import open_signer
from vaxpass_sign.keys.csr import _is_valid, signed_csr
from vaxpass_sign.keys.objects import objects
from vaxpass_sign.keys.session import open_session
from vaxpass_sign.keys.software import SoftwareSigner
from vaxpass_sign.keys.uri import Pkcs11Uri
from vaxpass_sign.x509 import Subject, pem

SUBJECT = Subject("VN", "Bộ Y tế", "DSC 1")
VACCINATION = "1.3.6.1.4.1.1847.2021.1.2"
MADE_BY_TOKEN = {
    "ec": ["Signature Algorithm: ecdsa-with-SHA256"],
    "rsa": [
        "Signature Algorithm: rsassaPss",
        "Hash Algorithm: sha256",
        "Mask Algorithm: mgf1 with sha256",
        "Salt Length: 0x20",
    ],
}


@pytest.mark.parametrize("label", MADE_BY_TOKEN)
def test_others_read_what_a_token_signed(softhsm: SoftHsm, tmp_path: Path, label: str) -> None:
    """openssl verifies it; cryptography finds the subject, the key and what a DSC must have."""
    with open_signer(softhsm.uri(label), softhsm.pin) as signer:
        der = signed_csr(signer, SUBJECT)
    (tmp_path / "dsc.pem").write_bytes(pem(der, "CERTIFICATE REQUEST"))
    command = ["openssl", "req", "-in", tmp_path / "dsc.pem", "-noout", "-verify", "-text"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "verify OK" in shown.stdout + shown.stderr
    for line in MADE_BY_TOKEN[label]:
        assert line in shown.stdout
    request = x509.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert request.public_key() == softhsm.keys[label].public_key()
    assert [(a.oid, a.value, a._type) for a in request.subject] == [
        (NameOID.COUNTRY_NAME, "VN", _ASN1Type.PrintableString),
        (NameOID.ORGANIZATION_NAME, "Bộ Y tế", _ASN1Type.UTF8String),
        (NameOID.COMMON_NAME, "DSC 1", _ASN1Type.UTF8String),
    ]
    usage, extended = request.extensions
    assert usage.critical
    assert usage.value == x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    assert [oid.dotted_string for oid in extended.value] == [VACCINATION]


def test_a_key_without_its_public_half(softhsm: SoftHsm) -> None:
    """Where the token shows no public half there is no request, and a line says what is missing."""
    softhsm.add_token("no public half")
    softhsm.import_key(ec.generate_private_key(ec.SECP256R1()), "alone", "0a", "no public half")
    uri = softhsm.uri("alone", token="no public half")
    with open_session(Pkcs11Uri.parse(uri), softhsm.pin, writable=True) as session:
        [public] = objects(session, ObjectClass.PUBLIC_KEY)
        public.destroy()
    with (
        open_signer(uri, softhsm.pin) as signer,
        pytest.raises(TokenError, match=r"'alone' \(id 0a\) .* no public half"),
    ):
        signed_csr(signer, SUBJECT)


def test_a_token_with_another_keys_public_half(softhsm: SoftHsm) -> None:
    """When the public key object is another key's, nothing comes out."""
    softhsm.add_token("mixed up")
    for label, ident in (("mine", "0b"), ("other", "0c")):
        softhsm.import_key(ec.generate_private_key(ec.SECP256R1()), label, ident, "mixed up")
    uri = softhsm.uri("mine", token="mixed up")
    with open_session(Pkcs11Uri.parse(uri), softhsm.pin, writable=True) as session:
        [mine] = objects(session, ObjectClass.PUBLIC_KEY, label="mine")
        mine.destroy()
        [other] = objects(session, ObjectClass.PUBLIC_KEY, label="other")
        other[Attribute.ID] = b"\x0b"
    with (
        open_signer(uri, softhsm.pin) as signer,
        pytest.raises(CertificateError, match="the signature does not verify"),
    ):
        signed_csr(signer, SUBJECT)


EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
BUILDER = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))


def pss(salt: int, mgf_hash: SHA256 | SHA384) -> padding.PSS:
    return padding.PSS(padding.MGF1(mgf_hash), salt)


REQUESTS = {
    "EC": (BUILDER.sign(EC_KEY, SHA256()), EC_KEY, True),
    "another EC key": (
        BUILDER.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()),
        EC_KEY,
        False,
    ),
    "EC with SHA-384": (BUILDER.sign(EC_KEY, SHA384()), EC_KEY, False),
    "PSS": (BUILDER.sign(RSA_KEY, SHA256(), rsa_padding=pss(32, SHA256())), RSA_KEY, True),
    "PSS, salt of 20": (
        BUILDER.sign(RSA_KEY, SHA256(), rsa_padding=pss(20, SHA256())),
        RSA_KEY,
        False,
    ),
    "PSS, SHA-384": (
        BUILDER.sign(RSA_KEY, SHA384(), rsa_padding=pss(32, SHA384())),
        RSA_KEY,
        False,
    ),
    "PKCS#1 v1.5": (BUILDER.sign(RSA_KEY, SHA256()), RSA_KEY, False),
}


@pytest.mark.parametrize(("request_", "key", "valid"), REQUESTS.values(), ids=REQUESTS)
def test_what_is_let_out(request_: x509.CertificateSigningRequest, key, valid: bool) -> None:
    """A request is valid with its own key and our algorithms alone, and with every byte in place."""
    der = request_.public_bytes(Encoding.DER)
    assert _is_valid(der, key.public_key()) is valid
    for at in (0, len(der) // 3, len(der) - 1):
        assert not _is_valid(der[:at] + bytes([der[at] ^ 1]) + der[at + 1 :], key.public_key())


def test_a_request_that_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be read again is an error and no request."""
    monkeypatch.setattr("vaxpass_sign.x509.draft.ToBeSigned.finish", lambda *_: b"\x30\x00")
    with pytest.raises(TokenError, match="nothing was written"):
        signed_csr(SoftwareSigner(EC_KEY, "a test key"), SUBJECT)
