"""CMS messages: what a pinned certificate signed, and nothing else."""

from __future__ import annotations

import time
from datetime import timedelta
from hashlib import sha256, sha512

import pytest
from asn1crypto import algos, cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.trees import dump_der, load_der, nested_der
from issuing import NOW, csca, private_key, sign_dsc, signer_of
from vaxpass_sign.check.cms import MAX_CMS_BYTES, verify_cms, verify_cms_signer
from vaxpass_sign.errors import TrustError
from vaxpass_sign.revocation.signing import sign_cms

CONTENT = b'{"country": "VN"}'
CERTIFICATES = {name: sign_dsc(name) for name in ("upload", "rsa-upload")}
MESSAGES = {
    name: sign_cms(CONTENT, signer_of(private_key(name)), certificate, at=NOW)
    for name, certificate in CERTIFICATES.items()
}
UPLOAD, MESSAGE = CERTIFICATES["upload"], MESSAGES["upload"]


def forged(
    change=None,
    *,
    key: str = "upload",
    attributes=None,
    signed: bytes | None = None,
    hash_class=hashes.SHA256,
) -> bytes:
    """A message taken apart, changed, and signed again by its own key."""
    info = cms.ContentInfo.load(MESSAGE).copy()
    signer = info["content"]["signer_infos"][0]
    if attributes is not None:
        signer["signed_attrs"] = cms.CMSAttributes(attributes)
    if change:
        change(info["content"], signer)
    data = signer["signed_attrs"].untag().dump() if signed is None else signed
    signer["signature"] = private_key(key).sign(data, ec.ECDSA(hash_class()))
    return info.dump(force=True)


def standard(content: bytes = CONTENT) -> list:
    return [
        {"type": "content_type", "values": ["data"]},
        {"type": "message_digest", "values": [sha256(content).digest()]},
    ]


@pytest.mark.parametrize("name", MESSAGES)
def test_what_was_signed_is_read(name: str) -> None:
    anchors = list(CERTIFICATES.values())
    assert verify_cms(MESSAGES[name], anchors) == CONTENT
    assert verify_cms_signer(MESSAGES[name], anchors) == (CONTENT, CERTIFICATES[name])
    assert verify_cms(forged(), anchors) == CONTENT
    assert verify_cms(forged(attributes=standard()), anchors) == CONTENT


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("hash_class", [hashes.SHA256, hashes.SHA384, hashes.SHA512])
def test_messages_of_another_program(name: str, hash_class) -> None:
    """Those that cryptography makes, of each hash; RSA with PKCS #1 v1.5 and with PSS."""
    certificate = x509.load_der_x509_certificate(CERTIFICATES[name].der)
    ways = (
        [None]
        if name == "upload"
        else [padding.PKCS1v15(), padding.PSS(padding.MGF1(hash_class()), 32)]
    )
    for way in ways:
        builder = pkcs7.PKCS7SignatureBuilder().set_data(CONTENT)
        builder = builder.add_signer(certificate, private_key(name), hash_class(), rsa_padding=way)
        data = builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])
        assert verify_cms(data, [CERTIFICATES[name]]) == CONTENT


def test_the_message_need_not_hold_the_certificate() -> None:
    """And one that it holds is never believed: a stranger's message carries its own."""

    def without(content, signer) -> None:
        content["certificates"] = []

    assert verify_cms(forged(without), [UPLOAD]) == CONTENT
    stranger = sign_cms(CONTENT, signer_of(private_key("stranger")), sign_dsc("stranger"), at=NOW)
    for anchors in ([], [UPLOAD], [csca()]):
        with pytest.raises(TrustError, match="not pinned"):
            verify_cms(stranger, anchors)


def test_a_key_identifier_names_the_signer_too() -> None:
    def by_ski(content, signer) -> None:
        signer["sid"] = cms.SignerIdentifier({"subject_key_identifier": UPLOAD.ski})
        signer["version"] = "v3"

    assert verify_cms(forged(by_ski), [UPLOAD]) == CONTENT
    with pytest.raises(TrustError, match="not pinned"):
        verify_cms(forged(by_ski), [sign_dsc("stranger")])


def test_a_name_is_not_enough() -> None:
    """A signer that calls itself by an anchor's issuer and serial number has not its key."""
    with pytest.raises(TrustError, match="not the pinned"):
        verify_cms(forged(key="stranger"), [UPLOAD])


def test_an_anchor_that_may_not_sign() -> None:
    """A CSCA signs certificates and no batches, though its key could."""
    signer = signer_of(private_key("csca"))
    attributes = cms.CMSAttributes(standard())
    loaded = asn1_x509.Certificate.load(csca().der)

    def as_csca(content, info) -> None:
        info["sid"] = cms.SignerIdentifier(
            {
                "issuer_and_serial_number": {
                    "issuer": loaded.issuer,
                    "serial_number": loaded.serial_number,
                }
            }
        )

    assert signer.alg.name == "ES256"
    with pytest.raises(TrustError, match="not pinned"):
        verify_cms(forged(as_csca, key="csca", attributes=attributes), [csca()])


def no_attributes(content, signer) -> None:
    del signer["signed_attrs"]


def two_signers(content, signer) -> None:
    content["signer_infos"].append(content["signer_infos"][0].copy())


def no_signer(content, signer) -> None:
    content["signer_infos"] = []


def other_content(content, signer) -> None:
    content["encap_content_info"] = {"content_type": "data", "content": b"other"}


def no_content(content, signer) -> None:
    content["encap_content_info"] = {"content_type": "data"}


def sha1(content, signer) -> None:
    signer["digest_algorithm"] = algos.DigestAlgorithm({"algorithm": "sha1"})


def two_hashes(content, signer) -> None:
    signer["digest_algorithm"] = algos.DigestAlgorithm({"algorithm": "sha512"})


def as_rsa(content, signer) -> None:
    signer["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": "sha256_rsa"})


@pytest.mark.parametrize(
    "change",
    [two_signers, no_signer, other_content, no_content, sha1, two_hashes, as_rsa],
    ids=lambda f: f.__name__,
)
def test_forms_that_are_refused(change) -> None:
    """Signed by the pinned key itself, and yet not what this reads."""
    with pytest.raises(TrustError) as caught:
        verify_cms(forged(change), [UPLOAD])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("last", [2, 3, 5, 0x63])
def test_content_of_another_type(last: int) -> None:
    """The signature does not cover the content's type: only the attribute is signed."""
    data = bytes.fromhex("06092a864886f70d010701")
    assert MESSAGE.count(data) == 2
    changed = MESSAGE.replace(data, data[:-1] + bytes([last]), 1)
    with pytest.raises(TrustError):
        verify_cms(changed, [UPLOAD])


def test_the_signature_names_the_digests_hash() -> None:
    """A SHA-512 digest and signature that call themselves SHA-256 are refused, though they fit."""

    def change(content, signer) -> None:
        signer["digest_algorithm"] = algos.DigestAlgorithm({"algorithm": "sha512"})
        signer["signature_algorithm"] = algos.SignedDigestAlgorithm({"algorithm": f"{named}_ecdsa"})

    attributes = [standard()[0], {"type": "message_digest", "values": [sha512(CONTENT).digest()]}]
    for named in ("sha512", "sha256"):
        message = forged(change, attributes=attributes, hash_class=hashes.SHA512)
        if named == "sha512":
            assert verify_cms(message, [UPLOAD]) == CONTENT
            continue
        with pytest.raises(TrustError):
            verify_cms(message, [UPLOAD])


def test_attributes_can_not_pass_for_content() -> None:
    """The signed bytes of a message, presented as the content of one without attributes."""
    attributes = cms.ContentInfo.load(MESSAGE)["content"]["signer_infos"][0]["signed_attrs"]
    stolen = attributes.untag().dump()

    def as_content(content, signer) -> None:
        no_attributes(content, signer)
        content["encap_content_info"] = {"content_type": "data", "content": stolen}

    with pytest.raises(TrustError, match="signed attributes"):
        verify_cms(forged(as_content, signed=stolen), [UPLOAD])
    with pytest.raises(TrustError, match="signed attributes"):
        verify_cms(forged(no_attributes, signed=CONTENT), [UPLOAD])


DIGEST = sha256(CONTENT).digest()
ATTRIBUTES = {
    "no digest": [standard()[0]],
    "no type": [standard()[1]],
    "another digest": standard(b"other"),
    "two digests": [*standard(), {"type": "message_digest", "values": [bytes(32)]}],
    "the same twice": [*standard(), standard()[1]],
    "two values": [standard()[0], {"type": "message_digest", "values": [DIGEST, bytes(32)]}],
    "no value": [standard()[0], {"type": "message_digest", "values": []}],
    "another type": [{"type": "content_type", "values": ["signed_data"]}, standard()[1]],
    "none": [],
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes(name: str) -> None:
    with pytest.raises(TrustError):
        verify_cms(forged(attributes=ATTRIBUTES[name]), [UPLOAD])


def test_cut_grown_and_large() -> None:
    for length in range(0, len(MESSAGE), 7):
        with pytest.raises(TrustError):
            verify_cms(MESSAGE[:length], [UPLOAD])
    with pytest.raises(TrustError):
        verify_cms(MESSAGE + b"\0", [UPLOAD])
    with pytest.raises(TrustError, match="at most"):
        verify_cms(bytes(MAX_CMS_BYTES + 1), [UPLOAD])


def test_a_nested_content_of_another_type_is_refused_at_once() -> None:
    """Nothing of it is built: that would take some ten microseconds for each of its bytes."""
    values = load_der(MESSAGE)
    encapsulated = values[0][1][1][1][0][1][2][1]
    encapsulated[0][1] = bytes.fromhex("2a0304")  # 1.2.3.4, of which nothing is known
    encapsulated[1][1] = nested_der(MAX_CMS_BYTES - 20_000, 200)
    message = dump_der(values)
    started = time.perf_counter()
    with pytest.raises(TrustError, match="no content of type data"):
        verify_cms(message, [UPLOAD])
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("name", MESSAGES)
def test_every_byte_changed(name: str) -> None:
    """The signed content comes out, or a TrustError: never another content, never another error."""
    anchors, message = list(CERTIFICATES.values()), MESSAGES[name]
    for at in range(len(message)):
        bad = bytearray(message)
        bad[at] ^= 1 << at % 8
        message_of_error = ""
        try:
            assert verify_cms(bytes(bad), anchors) == CONTENT
        except TrustError as error:
            message_of_error = str(error)
        assert "\n" not in message_of_error


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(TrustError):
        verify_cms(data, [UPLOAD])


@given(st.data())
@settings(max_examples=300)
def test_any_bytes_changed(data: st.DataObject) -> None:
    bad = bytearray(MESSAGE)
    for at in data.draw(st.lists(st.integers(0, len(MESSAGE) - 1), min_size=1, max_size=5)):
        bad[at] = data.draw(st.integers(0, 255))
    try:
        assert verify_cms(bytes(bad), [UPLOAD]) == CONTENT
    except TrustError:
        pass


def test_deep_nesting() -> None:
    """Thousands of values within values end with a TrustError, soon."""
    for head in (b"\x30\x80", b"\x24\x80", b"\xa0\x80"):
        with pytest.raises(TrustError):
            verify_cms(head * 100_000, [UPLOAD])
    inner = b""
    for _ in range(3000):
        inner = core.Sequence(contents=inner).dump()
    with pytest.raises(TrustError):
        verify_cms(inner, [UPLOAD])


def test_an_expired_anchor_is_the_callers_matter() -> None:
    old = sign_dsc(
        "upload", not_before=NOW - timedelta(days=90), not_after=NOW - timedelta(days=60)
    )
    message = sign_cms(CONTENT, signer_of(private_key("upload")), old, at=NOW)
    assert verify_cms(message, [old]) == CONTENT
