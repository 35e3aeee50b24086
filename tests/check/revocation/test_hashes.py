"""What of a credential is hashed; and what a holder or a thief can do about it."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from issuing import AT, RECORD, make_issuer, private_key, signer_of, trust
from vaxpass_sign import inspect, verify
from vaxpass_sign.check.revocation.hashes import (
    HashType,
    Scope,
    all_hashes,
    hash_allowed,
    hash_country_uci,
    hash_signature,
    hash_uci,
    hash_whole_signature,
    hashes_of,
)
from vaxpass_sign.errors import InputError
from vaxpass_sign.hcert import claims as claims_module
from vaxpass_sign.hcert import codec, cose

CI = "URN:UVCI:01:VN:ABCDEF#1"
HCERT = inspect(make_issuer().issue(RECORD, uvci=CI))
N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def with_claims(**dcc: object) -> codec.Hcert:
    return replace(HCERT, claims={1: "VN", -260: {1: dcc}})


def turned(hcert: codec.Hcert) -> str:
    """The text with (r, n-s) in the place of (r, s)."""
    sign1 = hcert.sign1
    s = N_P256 - int.from_bytes(sign1.signature[32:], "big")
    signature = sign1.signature[:32] + s.to_bytes(32, "big")
    return codec.encode(sign1.protected, sign1.payload, signature)


def test_the_hashes_are_sha256_cut() -> None:
    """Each by hashlib alone."""
    raw = bytes(range(64))
    assert hash_uci("é") == sha256("é".encode()).digest()[:16]
    assert hash_country_uci("VN", CI) == sha256(f"VN{CI}".encode()).digest()[:16]
    assert hash_signature(raw) == sha256(raw[:32]).digest()[:16]
    assert hash_whole_signature(raw) == sha256(raw).digest()[:16]
    pss = bytes(256)
    assert hash_signature(pss) == hash_whole_signature(pss) == sha256(pss).digest()[:16]


def test_an_issued_credential_has_them() -> None:
    signature = HCERT.sign1.signature
    assert hashes_of(HCERT, HashType.UCI) == [hash_uci(CI)]
    assert hashes_of(HCERT, HashType.COUNTRYCODEUCI) == [hash_country_uci("VN", CI)]
    assert hashes_of(HCERT, HashType.SIGNATURE) == [
        hash_signature(signature),
        hash_whole_signature(signature),
    ]
    rsa = inspect(make_issuer("rsa").issue(RECORD))
    assert hashes_of(rsa, HashType.SIGNATURE) == [hash_whole_signature(rsa.sign1.signature)]


def test_the_other_s_dodges_the_whole_and_nothing_else() -> None:
    """(r, n-s) is valid; the hash of the whole signature misses it, r and UCI don't."""
    text = turned(HCERT)
    assert verify(text, trust(), AT).valid
    other = inspect(text)
    assert hash_whole_signature(HCERT.sign1.signature) not in hashes_of(other, HashType.SIGNATURE)
    assert hash_signature(HCERT.sign1.signature) in hashes_of(other, HashType.SIGNATURE)
    assert hashes_of(other, HashType.UCI) == hashes_of(HCERT, HashType.UCI)


def test_an_allowed_hash_is_of_one_message_and_one_signature() -> None:
    """Another message, or another signature of the same one, has another hash."""
    sign1 = HCERT.sign1
    assert hash_allowed(sign1) == sha256(sign1.sig_structure + sign1.signature).digest()
    assert hash_allowed(inspect(turned(HCERT)).sign1) != hash_allowed(sign1)
    payload = claims_module.encode_claims(HCERT.claims | {4: HCERT.claims[4] - 60})
    (signature,) = signer_of(private_key("dsc")).sign(
        [cose.sig_structure(sign1.protected, payload)]
    )
    text = codec.encode(sign1.protected, payload, signature)
    assert verify(text, trust(), AT).valid
    forged = inspect(text)
    assert hash_allowed(forged.sign1) != hash_allowed(sign1)
    # As a thief could, with the nonce of the honest signature: the same r.
    same_r = forged.sign1._replace(signature=sign1.signature[:32] + signature[32:])
    assert hash_signature(same_r.signature) == hash_signature(sign1.signature)
    assert hash_allowed(same_r) != hash_allowed(sign1)


@pytest.mark.parametrize(
    ("dcc", "uci", "country"),
    [
        ({}, [], []),
        ({"v": None}, [], []),
        ({"v": {"ci": CI}}, [], []),
        ({"v": [7, None, {}, {"ci": 7}, {"ci": b"x"}]}, [], []),
        ({"v": [{"ci": "a"}]}, ["a"], ["VNa"]),
        ({"v": [{"ci": "a", "co": ["x"]}]}, ["a"], ["VNa"]),
        ({"v": [{"ci": "a", "co": "VN"}]}, ["a"], ["VNa"]),
        ({"v": [{"ci": "a", "co": "LA"}]}, ["a"], ["VNa", "LAa"]),
        (
            {"v": [{"ci": "a"}], "t": [{"ci": "b"}], "r": [{"ci": "c"}]},
            list("abc"),
            ["VNa", "VNb", "VNc"],
        ),
        ({"v": [{"ci": "\ud800"}]}, ["\ud800"], ["VN\ud800"]),
    ],
)
def test_whatever_the_claims_are(dcc: dict, uci: list[str], country: list[str]) -> None:
    """Every ci of every group, and no exception."""
    hcert = with_claims(**dcc)
    assert hashes_of(hcert, HashType.UCI) == [hash_uci(text) for text in uci]
    assert hashes_of(hcert, HashType.COUNTRYCODEUCI) == [hash_uci(text) for text in country]


def test_what_nothing_asks_for_is_left_out() -> None:
    """All at once is each by itself, in the order in which they are asked."""
    found = all_hashes(HCERT)
    assert found == tuple(hashes_of(HCERT, hash_type) for hash_type in HashType)
    assert all_hashes(HCERT, country_uci=False) == (found[0], [], found[2])


def test_no_payload_and_no_issuer() -> None:
    assert hashes_of(replace(HCERT, claims={}), HashType.UCI) == []
    bare = replace(HCERT, claims={-260: {1: {"v": [{"ci": "a"}]}}})
    assert hashes_of(bare, HashType.COUNTRYCODEUCI) == []


@pytest.mark.parametrize(
    ("country", "kid"),
    [
        ("", None),
        ("vn", None),
        ("VN ", None),
        ("V", None),
        ("ABCD", None),
        ("ÄÖ", None),
        ("VN", b""),
        ("VN", bytes(7)),
    ],
)
def test_a_scope_is_valid_once_built(country: str, kid: bytes | None) -> None:
    with pytest.raises(InputError):
        Scope(HashType.UCI, country, kid)
