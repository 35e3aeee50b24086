"""Anchors: what an operator may pin, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from issuing import csca, dsc, private_key
from signed_lists import did_document, did_entry, gdhcn_list
from vaxpass_sign.check.trust import anchors as anchors_module
from vaxpass_sign.check.trust.anchors import (
    anchor_from_json,
    anchor_to_json,
    parse_anchors,
    read_anchors,
)
from vaxpass_sign.errors import TrustError
from vaxpass_sign.x509 import pem


def key_pem(key: object) -> bytes:
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


KEYS = [private_key(name).public_key() for name in ("did", "rsa did")]
DID_KEYS = json.dumps(did_document(did_entry(dsc()), did_entry(dsc("rsa dsc")))).encode()
GOOD = {
    "a certificate in PEM": (pem(csca().der), [csca()]),
    "a certificate in DER": (csca().der, [csca()]),
    "two certificates": (pem(csca().der) + pem(dsc().der), [csca(), dsc()]),
    "a public key": (key_pem(KEYS[0]), KEYS[:1]),
    "keys and a certificate": (
        key_pem(KEYS[0]) + pem(csca().der) + key_pem(KEYS[1]),
        [*KEYS, csca()],
    ),
    "a DID document of keys": (DID_KEYS, [dsc().public_key, dsc("rsa dsc").public_key]),
}


@pytest.mark.parametrize(("data", "expected"), GOOD.values(), ids=GOOD)
def test_forms(tmp_path: Path, data: bytes, expected: list) -> None:
    """Each form is read, from bytes and from a file, and comes back from a kept list's JSON."""
    path = tmp_path / "anchor"
    path.write_bytes(data)
    assert parse_anchors(data) == read_anchors(path) == read_anchors([path]) == expected
    for anchor in expected:
        assert anchor_from_json(json.loads(json.dumps(anchor_to_json(anchor)))) == anchor


def private_pem() -> bytes:
    return private_key("did").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


BAD = {
    "nothing": (b"", "found nothing"),
    "text": (b"trust me", "neither PEM nor DER"),
    "a private key": (private_pem(), "found other PEM blocks"),
    "an Ed25519 key": (
        key_pem(ed25519.Ed25519PrivateKey.generate().public_key()),
        "neither EC nor RSA",
    ),
    "a key that is cut": (key_pem(KEYS[0])[:-20], "has no end"),
    "a key that is none": (
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "can't be read",
    ),
    "a trust list": (gdhcn_list(dsc()), "a DID document with a proof, which is a trust list"),
    "a DID document without keys": (json.dumps(did_document()).encode(), "holds no key"),
    "JSON": (b"{}", "verificationMethod"),
}


@pytest.mark.parametrize(("data", "words"), BAD.values(), ids=BAD)
def test_what_is_no_anchor(tmp_path: Path, data: bytes, words: str) -> None:
    """The file is named, in one line, and nothing of a private key is shown."""
    path = tmp_path / "anchor"
    path.write_bytes(data)
    with pytest.raises(TrustError) as caught:
        read_anchors([csca(), path])
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_folder(tmp_path: Path) -> None:
    """Of a folder the certificate files are read, as for DSCs."""
    (tmp_path / "a.pem").write_bytes(pem(csca().der))
    (tmp_path / "b.pem").write_bytes(key_pem(KEYS[0]))
    (tmp_path / "note.txt").write_bytes(b"not read")
    assert read_anchors(tmp_path) == [csca(), KEYS[0]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrustError, match="at least one anchor"):
        read_anchors(tmp_path / "empty")


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchors_module, "MAX_ANCHORS", 2)
    with pytest.raises(TrustError, match="more than 2 anchors"):
        read_anchors([csca()] * 3)


@pytest.mark.parametrize(
    "value", [None, [], {}, {"key": "AA=="}, {"certificate": "AA=="}, {"public_key": "AA=="},
              {"certificate": 7}, anchor_to_json(csca()) | {"public_key": "AA=="}]
)  # fmt: skip
def test_not_json_of_an_anchor(value: object) -> None:
    with pytest.raises(TrustError):
        anchor_from_json(value)


@given(st.binary(max_size=200), st.sampled_from([b"", b"{", b"-----BEGIN PUBLIC KEY-----"]))
def test_any_bytes(data: bytes, start: bytes) -> None:
    with pytest.raises(TrustError):
        parse_anchors(start + data)


@pytest.mark.parametrize("anchors", ["", [""]])
def test_an_empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anchors) -> None:
    """It would be the folder that we are in, and whatever certificates lie there."""
    (tmp_path / "csca.pem").write_bytes(pem(csca().der))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrustError, match="found an empty path, expected a file or folder of anch"):
        read_anchors(anchors)
