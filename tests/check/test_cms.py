"""CMS messages: what a pinned certificate signed, and nothing else."""

from __future__ import annotations

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

from fuzz.trees import der, dump_der, load_der, nested_der
from issuing import NOW, csca, private_key, sign_dsc, signer_of
from signed_lists import anchor
from signed_lists import sign_cms as sign_entry
from vaxpass_sign.check.cms import MAX_CMS_BYTES, check_cms, verify_cms, verify_cms_signer
from vaxpass_sign.errors import TrustError
from vaxpass_sign.revocation.signing import sign_cms
from work import at_most_calls

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
    with at_most_calls(10_000), pytest.raises(TrustError, match="content that is not of type data"):
        verify_cms(message, [UPLOAD])


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


def test_what_is_said_of_the_signer_is_bounded() -> None:
    """It is read before the signature, at 100 times its bytes: 12 MB of it took 20 s and 1 GB."""
    many = [{"type": "1.2.3", "values": [core.Null()]}] * 9000
    assert verify_cms(forged(attributes=standard() + many[:3000]), [UPLOAD]) == CONTENT
    with pytest.raises(TrustError, match="bytes about the signer, at most 65536"):
        verify_cms(forged(attributes=standard() + many), [UPLOAD])

    def repeat(data, signer) -> None:
        data["signer_infos"] = [signer] * 500

    with pytest.raises(TrustError, match="bytes about the signer, at most 65536"):
        verify_cms(forged(repeat), [UPLOAD])


def test_a_signature_of_a_certificate_is_bounded() -> None:
    """Its content is a certificate, so 16 MB are something else."""
    content = b"x" * 300_000
    large = sign_cms(content, signer_of(private_key("upload")), UPLOAD, at=NOW)
    assert verify_cms(large, [UPLOAD]) == content
    with pytest.raises(TrustError, match="bytes, at most 262144"):
        check_cms(large, content, [UPLOAD])


def test_an_expired_anchor_is_the_callers_matter() -> None:
    old = sign_dsc(
        "upload", not_before=NOW - timedelta(days=90), not_after=NOW - timedelta(days=60)
    )
    message = sign_cms(CONTENT, signer_of(private_key("upload")), old, at=NOW)
    assert verify_cms(message, [old]) == CONTENT


# --- the CMS of a list's entry -----------------------------------------------------------------

ENTRY = b"an entry"
ENTRY_CMS = sign_entry(ENTRY, anchor(), "list anchor")


def with_attribute(value: bytes) -> bytes:
    """The CMS with one more signed attribute, 1.2.3.4, that has this value."""
    values = load_der(ENTRY_CMS)
    info = values[0][1][1][1][0][1][-1][1][0][1]
    attributes = next(found for found in info if found[0] == 0xA0)
    attributes[1].append([0x30, der(6, bytes.fromhex("2a0304")) + der(0x31, value)])
    return dump_der(values)


def test_an_entry() -> None:
    assert check_cms(ENTRY_CMS, ENTRY, [anchor()]) == anchor()


def test_a_nested_attribute_is_not_built() -> None:
    """That would take some ten microseconds for each of its bytes."""
    bad = with_attribute(nested_der(50_000, 250))
    with at_most_calls(10_000), pytest.raises(TrustError, match="does not verify"):
        check_cms(bad, ENTRY, [anchor()])


def test_what_is_said_of_a_signer_is_short() -> None:
    """What is longer than that of any signer is not taken apart."""
    with pytest.raises(TrustError, match="bytes about the signer, at most"):
        check_cms(with_attribute(bytes(70_000)), ENTRY, [anchor()])
