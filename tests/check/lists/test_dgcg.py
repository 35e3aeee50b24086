"""The EU gateway's list: what is believed, what is left out, and what refuses the whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from foreign import missing
from issuing import AT, csca, dsc, private_key
from signed_lists import anchor, b64, item, leaf, sign_cms
from vaxpass_sign.check.lists import LeftOut, ListFormat, SignedList, read_dgcg, read_list
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.x509 import Certificate, pem

TA = "list anchor"


def upload(country: str = "VN") -> Certificate:
    return leaf(f"upload {country}", country, TA)


def by_anchor(certificate: Certificate, kind: str, **changes) -> dict:
    return item(certificate, sign_cms(certificate.der, anchor(), TA), kind, **changes)


def by_upload(certificate: Certificate, by: str = "VN", kind: str = "DSC", **changes) -> dict:
    signature = sign_cms(certificate.der, upload(by), f"upload {by}")
    return item(certificate, signature, kind, **changes)


def whole_list() -> list[dict]:
    return [
        by_anchor(csca(), "CSCA"),
        by_anchor(upload(), "UPLOAD"),
        by_upload(dsc()),
        by_upload(dsc("rsa dsc")),
    ]


def read(items: object, anchors=None, **more) -> SignedList:
    data = items if isinstance(items, bytes) else json.dumps(items).encode()
    return read_dgcg(data, [anchor()] if anchors is None else anchors, AT, **more)


def test_the_gateways_list() -> None:
    """Upload certificates that the anchor signed may sign DSCs; CSCAs come apart from these."""
    found = read(whole_list())
    assert found.dscs == (dsc(), dsc("rsa dsc"))
    assert found.cscas == (csca(),)
    assert found.signed_by == f"{anchor().subject}; {upload().subject}"
    assert found.format is ListFormat.DGCG
    assert found.issued_at is None
    assert found.left_out == {LeftOut.OTHER_USE: 1}
    assert read_list(json.dumps(whole_list()).encode(), [anchor()], AT) == found


def test_the_order_of_items_is_nothing() -> None:
    """A DSC may stand before the upload certificate that vouches for it; the same one counts once."""
    items = whole_list()[::-1]
    assert set(read(items + items).dscs) == {dsc(), dsc("rsa dsc")}


def test_a_list_of_dscs_with_pinned_upload_certificates() -> None:
    """With upload certificates pinned no anchor is needed."""
    assert read([by_upload(dsc())], [], uploads=[upload()]).dscs == (dsc(),)


MAKERS = {
    "detached": {},
    "with its content": {"enclosed": dsc().der},
    "without attributes": {"attributes": False},
    "SHA-384": {"digest": "sha384"},
    "by key identifier": {"by_key_id": True},
}


@pytest.mark.parametrize("kwargs", MAKERS.values(), ids=MAKERS)
def test_forms_of_cms(kwargs: dict) -> None:
    """All the forms of RFC 5652 that makers write are read."""
    assert read([item(dsc(), sign_cms(dsc().der, anchor(), TA, **kwargs))]).dscs == (dsc(),)


@pytest.mark.parametrize("pss", [False, True], ids=["PKCS #1 v1.5", "PSS"])
def test_rsa(pss: bool) -> None:
    """RSA keys sign in both paddings."""
    signer = leaf("rsa upload")
    signature = sign_cms(dsc().der, signer, "rsa upload", pss=pss)
    assert read([item(dsc(), signature)], [], uploads=[signer]).dscs == (dsc(),)


OPENSSL = {
    "detached": [],
    "with its content": ["-nodetach"],
    "streamed, so in BER": ["-nodetach", "-stream"],
    "without attributes": ["-noattr"],
    "by key identifier": ["-keyid"],
    "SHA-512": ["-md", "sha512"],
}


@pytest.mark.parametrize("key_name", ["upload VN", "rsa upload"])
@pytest.mark.parametrize("options", OPENSSL.values(), ids=OPENSSL)
def test_openssl_signs(tmp_path: Path, key_name: str, options: list[str]) -> None:
    """What another maker signs is read: openssl cms."""
    if shutil.which("openssl") is None:
        missing("the program openssl")
    signer = leaf(key_name, "VN", TA)
    files = {name: tmp_path / name for name in ("key", "signer", "content")}
    form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files["key"].write_bytes(private_key(key_name).private_bytes(*form))
    files["signer"].write_bytes(pem(signer.der))
    files["content"].write_bytes(dsc().der)
    command = ["openssl", "cms", "-sign", "-binary", "-outform", "DER", "-md", "sha256", *options]
    command += ["-in", files["content"], "-signer", files["signer"], "-inkey", files["key"]]
    pss = "rsa" in key_name and "-stream" not in options  # OpenSSL 3.0 can't do both
    for padding in ([], ["-keyopt", "rsa_padding_mode:pss"]) if pss else ([],):
        made = subprocess.run([*command, *padding], check=True, capture_output=True).stdout
        assert (made[1] == 0x80) == ("-stream" in options)
        assert read([item(dsc(), made)], [], uploads=[signer]).dscs == (dsc(),)
        other = dsc("another")
        with pytest.raises(TrustError, match=r"made over other bytes|does not verify"):
            read([item(other, made)], [], uploads=[signer])


ALTERED = {
    "changed rawData": (
        by_upload(dsc()) | {"rawData": b64(dsc("another").der)},
        "item 1 of the gateway's list: the CMS signature was made over other bytes",
    ),
    "the whole of another entry but its signature": (
        item(dsc("another"), sign_cms(dsc().der, upload(), "upload VN")),
        "made over other bytes than those that it comes with (another message digest)",
    ),
    "the same with the content enclosed": (
        item(dsc("another"), sign_cms(dsc().der, upload(), "upload VN", enclosed=dsc().der)),
        "made over other bytes than those that it comes with (the content inside)",
    ),
    "without attributes, over another certificate": (
        item(dsc("another"), sign_cms(dsc().der, upload(), "upload VN", attributes=False)),
        "does not verify with the key of C=VN",
    ),
    "another key in the signer's name": (
        item(dsc(), sign_cms(dsc().der, upload(), "stranger")),
        "does not verify with the key of C=VN",
    ),
    "the right digest beside the wrong content": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", enclosed=dsc("another").der)),
        "made over other bytes",
    ),
    "attributes without a digest": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", leave_out="message_digest")),
        "can't be read or uses something else",
    ),
    "attributes without a content type": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", leave_out="content_type")),
        "can't be read or uses something else",
    ),
    "two digests": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", repeat="message_digest")),
        "can't be read or uses something else",
    ),
    "attributes of another content type": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", attribute_type="signed_data")),
        "can't be read or uses something else",
    ),
    "another content type": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", content_type="enveloped_data")),
        "can't be read or uses something else",
    ),
    "SHA-1": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", digest="sha1")),
        "can't be read or uses something else",
    ),
    "two different hashes": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", algorithm="sha384_ecdsa")),
        "can't be read or uses something else",
    ),
    "an RSA algorithm for an EC key": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN", algorithm="sha256_rsa")),
        "can't be read or uses something else",
    ),
    "a CMS that is cut": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN")[:-1]),
        "can't be read or uses something else",
    ),
    "a CMS that something follows": (
        item(dsc(), sign_cms(dsc().der, upload(), "upload VN") + b"\0"),
        "can't be read or uses something else",
    ),
    "another kid": (by_upload(dsc(), kid=b64(dsc("another").kid)), "has the kid '"),
    "no kid": (by_upload(dsc(), kid=None), "has the kid None, expected that of its rawData"),
    "another thumbprint": (by_upload(dsc(), thumbprint="00" * 32), "has the thumbprint '0000"),
    "no thumbprint": (by_upload(dsc(), thumbprint=None), "thumbprint of item 1"),
    "rawData with a line break": (
        by_upload(dsc(), rawData=b64(dsc().der)[:64] + "\n" + b64(dsc().der)[64:]),
        "rawData of item 1 of the gateway's list is not canonical base64",
    ),
    "rawData that is a number": (by_upload(dsc(), rawData=7), "is a number, expected a string"),
    "a signature without padding": (
        by_upload(dsc()) | {"signature": "AA"},
        "signature of item 1 of the gateway's list is not canonical base64",
    ),
    "a type that is no string": (
        by_upload(dsc(), certificateType=["DSC"]),
        "certificateType of item 1",
    ),
}


@pytest.mark.parametrize(("forged", "words"), ALTERED.values(), ids=ALTERED)
def test_an_altered_item_refuses_the_list(forged: dict, words: str) -> None:
    """Nothing of a list is believed when one item of a known signer was altered."""
    good = by_anchor(upload(), "UPLOAD")
    with pytest.raises(TrustError) as caught:
        read([good, forged, by_upload(dsc("rsa dsc"))])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


LEFT_OUT = {
    "signed by a stranger": (
        item(dsc(), sign_cms(dsc().der, leaf("stranger"), "stranger")),
        LeftOut.UNKNOWN_SIGNER,
    ),
    "signed by a stranger, over other bytes and with SHA-1": (
        item(dsc(), sign_cms(dsc("another").der, leaf("stranger"), "stranger", digest="sha1")),
        LeftOut.UNKNOWN_SIGNER,
    ),
    "another country's upload key": (by_upload(dsc(), "DE"), LeftOut.UNKNOWN_SIGNER),
    "another country's, labelled as this": (
        by_upload(dsc(), "DE", country="DE"),
        LeftOut.UNKNOWN_SIGNER,
    ),
    "a CSCA labelled as a DSC": (by_anchor(csca(), "DSC"), LeftOut.OTHER_USE),
    "a TLS key labelled as a DSC": (
        by_anchor(leaf("tls", extended="1.3.6.1.5.5.7.3.2"), "DSC"),
        LeftOut.OTHER_USE,
    ),
    "a DSC labelled as a CSCA": (by_anchor(dsc(), "CSCA"), LeftOut.OTHER_USE),
    "an upload key's DSC labelled as a CSCA": (
        by_upload(dsc(), kind="CSCA"),
        LeftOut.UNKNOWN_SIGNER,
    ),
    "a type that is not known": (by_anchor(dsc(), "AUTHENTICATION"), LeftOut.OTHER_USE),
    "no certificate": (
        item(
            dsc(),
            sign_cms(b"\x30\x03abc", anchor(), TA),
            rawData=b64(b"\x30\x03abc"),
            thumbprint="d9e4d1b3d2b4d8e2",
        ),
        LeftOut.UNREADABLE,
    ),
}


@pytest.mark.parametrize(("odd", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out(odd: dict, why: LeftOut) -> None:
    """Such an item costs the others nothing; it is counted."""
    if why is LeftOut.UNREADABLE:
        import hashlib

        odd = odd | {"thumbprint": hashlib.sha256(b"\x30\x03abc").hexdigest()}
    good = [
        by_anchor(upload(), "UPLOAD"),
        by_anchor(upload("DE"), "UPLOAD"),
        by_upload(dsc("rsa dsc")),
    ]
    found = read([*good, odd])
    assert found.dscs == (dsc("rsa dsc"),)
    assert found.cscas == ()
    assert found.left_out[why] == 1 + (2 if why is LeftOut.OTHER_USE else 0)


def test_a_dsc_is_no_upload_certificate() -> None:
    """A DSC, labelled as an upload certificate, vouches for nothing: only the anchor makes these."""
    stolen = item(dsc("another"), sign_cms(dsc("another").der, dsc(), "dsc"))
    with pytest.raises(TrustError, match="2 items of a signer that is not known"):
        read([by_upload(dsc(), kind="UPLOAD"), stolen], [anchor()], uploads=[upload()])


def test_a_tls_key_is_no_upload_certificate() -> None:
    """The anchor signs TLS certificates too; such a one, labelled as UPLOAD, vouches for nothing."""
    tls = leaf("tls", issuer=TA, extended="1.3.6.1.5.5.7.3.2")
    stolen = item(dsc("another"), sign_cms(dsc("another").der, tls, "tls"))
    found = read([*whole_list(), by_anchor(tls, "UPLOAD"), stolen])
    assert found.dscs == (dsc(), dsc("rsa dsc"))
    assert found.left_out == {LeftOut.OTHER_USE: 2, LeftOut.UNKNOWN_SIGNER: 1}


def test_items_said_over_and_over_take_no_longer() -> None:
    """Copies of an upload certificate are one: else a list of a few MB would take minutes."""
    vouching, listed = by_anchor(upload(), "UPLOAD"), by_upload(dsc())
    begun = time.monotonic()
    read([vouching] + [listed] * 1999)
    once = time.monotonic() - begun
    assert read([vouching] * 1000 + [listed] * 1000).dscs == (dsc(),)
    assert time.monotonic() - begun - once < 2 * once + 1


def test_the_wrong_anchor() -> None:
    """A list of which no item can be believed is refused."""
    with pytest.raises(
        TrustError, match="found 2 items of type DSC, and 4 items of a signer that is not"
    ):
        read(whole_list(), [anchor("another anchor")])


def test_no_anchor() -> None:
    """Without an anchor nothing is believed; a bare key is none here, since a CMS names certificates."""
    for anchors in ([], [private_key(TA).public_key()]):
        with pytest.raises(TrustError, match="no anchor was given"):
            read(whole_list(), anchors)


def test_a_moment_without_an_offset() -> None:
    with pytest.raises(InputError, match="UTC offset"):
        read_dgcg(b"[]", [anchor()], AT.replace(tzinfo=None))
