"""Signatures: the DER that cryptography takes, and many of one key as one at a time."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from issuing import private_key, signer_of
from vaxpass_sign.hcert.signature import der_signature, verify_signature, verify_signatures

numbers = st.integers(0, 2**256 - 1) | st.sampled_from(
    [0, 1, 0x7F, 0x80, 2**248 - 1, 2**248, 2**255 - 1, 2**255, 2**256 - 1]
)


@given(numbers, numbers)
def test_der(r: int, s: int) -> None:
    """The DER is cryptography's own, with and without leading zeros and top bits."""
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert der_signature(raw) == encode_dss_signature(r, s)


@pytest.mark.parametrize("key", ["dsc", "rsa dsc"])
def test_many_of_one_key(key: str) -> None:
    """Each signature is judged on its own, wherever it stands."""
    messages = [b"a", b"b", b"", b"c" * 1000]
    signer, public_key = signer_of(private_key(key)), private_key(key).public_key()
    signatures = signer.sign(messages)
    assert verify_signatures(public_key, messages, signatures) == [True] * 4
    assert verify_signatures(public_key, [], []) == []
    for place, bad in enumerate([b"", signatures[1][:-1], signatures[3], signatures[3] + b"\0"]):
        changed = [*signatures[:place], bad, *signatures[place + 1 :]]
        expected = [number != place for number in range(4)]
        assert verify_signatures(public_key, messages, changed) == expected
        assert not verify_signature(public_key, messages[place], bad)


def test_a_signature_is_written_in_one_way() -> None:
    """PS256: without its leading zeros it is none, or its holder could escape its SIGNATURE hash."""
    signer, public_key = signer_of(private_key("rsa dsc")), private_key("rsa dsc").public_key()
    # One in 256 begins with a zero.
    made = (signer.sign([b"m"])[0] for _ in range(20_000))
    signature = next(signature for signature in made if signature[0] == 0)
    assert len(signature) == 256
    assert verify_signature(public_key, b"m", signature)
    for other in (signature[1:], b"\0" + signature):
        assert not verify_signature(public_key, b"m", other)
        assert verify_signatures(public_key, [b"m"], [other]) == [False]


def test_another_kind_of_key() -> None:
    """A key that signs no HCERT: nothing is its."""
    key = ed25519.Ed25519PrivateKey.generate()
    signature = key.sign(b"m")
    assert verify_signatures(key.public_key(), [b"m"] * 2, [signature] * 2) == [False, False]
    assert not verify_signature(None, b"m", signature)
