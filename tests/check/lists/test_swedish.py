"""The Swedish DSC-TL: whose signature is believed, when, and which keys are taken."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key

from issuing import AT, NOW, csca, dsc
from signed_lists import anchor, b64, b64url, jwk, leaf, sign_jws, sign_raw, swedish_payload
from vaxpass_sign.check.lists import LeftOut, ListFormat, SignedList, read_list, read_swedish
from vaxpass_sign.errors import InputError, TrustError
from vaxpass_sign.x509 import Certificate

TA = "list anchor"


def signer() -> Certificate:
    return leaf("list signer", "SE", TA)


def payload(*keys: dict, **changes) -> bytes:
    return json.dumps(
        swedish_payload(*(keys or (jwk(dsc()), jwk(dsc("rsa dsc")))), **changes)
    ).encode()


def signed(data: bytes | None = None, alg: str = "ES256", **header) -> bytes:
    return sign_jws(payload() if data is None else data, signer(), "list signer", alg, **header)


def read(data: bytes, *anchors: Certificate, at=AT) -> SignedList:
    return read_swedish(data, anchors or [signer()], at)


def test_the_list() -> None:
    """A list that the pinned certificate signed: DSCs, times and who signed."""
    found = read(signed())
    assert found.dscs == (dsc(), dsc("rsa dsc"))
    assert found.format is ListFormat.SWEDISH
    assert found.issued_at == NOW
    assert found.expires_at == NOW + timedelta(days=60)
    assert found.signed_by == f"{signer().subject} (iss 'XS Trust Point')"
    assert found.left_out == {}
    assert read_list(b" " + signed() + b"\n", [signer()], AT).dscs == found.dscs


def test_a_signer_that_the_anchor_issued() -> None:
    """Instead of the signer its issuer may be pinned; certificates after the first count for nothing."""
    assert read(signed(x5c=[b64(signer().der), b64(csca().der), "no certificate"]), anchor()).dscs


@pytest.mark.parametrize("oid", ["1.3.6.1.4.1.1847.2021.1.2", "1.3.6.1.4.1.0.1847.2021.1.1"])
def test_a_dsc_is_no_signer(oid: str) -> None:
    """Where a CSCA is pinned by mistake, what says that it is a DSC signs no list all the same."""
    held = leaf("held", extended=oid)
    data = sign_jws(payload(), held, "held")
    with pytest.raises(
        TrustError, match="none of the 1 certificates among the anchors, nor issued by one"
    ):
        read(data, csca())
    assert read(data, held).dscs
    other = leaf("held for other use", extended="1.3.6.1.5.5.7.3.36")
    assert read(sign_jws(payload(), other, "held for other use"), csca()).dscs


@pytest.mark.parametrize("alg", ["PS256", "RS256"])
def test_rsa(alg: str) -> None:
    """An RSA key may sign in both paddings, as the header says."""
    rsa_signer = leaf("rsa list signer", "SE", TA)
    data = sign_jws(payload(), rsa_signer, "rsa list signer", alg)
    assert read(data, rsa_signer).dscs == (dsc(), dsc("rsa dsc"))


def test_the_same_dsc_for_two_countries_counts_once() -> None:
    lists = {
        "VN": {"keys": [jwk(dsc())]},
        "DE": {"eku": {}, "keys": [jwk(dsc()), jwk(dsc("another"))]},
    }
    assert read(signed(payload(dsc_trust_list=lists))).dscs == (dsc(), dsc("another"))


def forge(
    header: dict | None = None, body: bytes | None = None, signature: bytes | None = None
) -> bytes:
    """The list with parts replaced after it was signed."""
    parts = signed().split(b".")
    if header is not None:
        parts[0] = b64url(json.dumps(header).encode()).encode()
    if body is not None:
        parts[1] = b64url(body).encode()
    if signature is not None:
        parts[2] = b64url(signature).encode()
    return b".".join(parts)


def stranger() -> bytes:
    return sign_jws(
        payload(), leaf("stranger list signer", "SE", "another anchor"), "stranger list signer"
    )


def other_alg(alg: object) -> bytes:
    """The header names an alg, and the signer's key signed the header."""
    message = f"{b64url(json.dumps({'alg': alg, 'x5c': [b64(signer().der)]}).encode())}.{b64url(payload())}"
    return f"{message}.{b64url(sign_raw(message.encode(), 'list signer', 'ES256'))}".encode()


HEAD = {"typ": "JOSE", "alg": "ES256", "x5c": [b64(signer().der)]}
FORGED = {
    "another payload": (forge(body=payload(jwk(dsc("another")))), "does not verify with the key of C=SE"),
    "another header": (forge(header=HEAD | {"kid": "x"}), "does not verify"),
    "no signature": (forge(signature=b""), "does not verify"),
    "r and s of 0": (forge(signature=bytes(64)), "does not verify"),
    "alg none": (forge(header=HEAD | {"alg": "none"}, signature=b""), "names the alg 'none', expected ES256 for"),
    "alg none, signed": (other_alg("none"), "names the alg 'none', expected ES256 for the signer's key, EC secp256r1"),
    "alg swapped": (other_alg("PS256"), "names the alg 'PS256', expected ES256 for"),
    "alg HS256": (other_alg("HS256"), "names the alg 'HS256', expected ES256 for"),
    "alg in lower case": (other_alg("es256"), "names the alg 'es256'"),
    "no alg": (signed(alg=None), "names the alg None"),
    "alg that is a list": (other_alg(["ES256"]), "names the alg ['ES256']"),
    "another signer": (stranger(), "is none of the 1 certificates among the anchors, nor issued by one"),
    "the anchor's certificate, another key": (
        sign_jws(payload(), signer(), "stranger"),
        "does not verify with the key of C=SE",
    ),
    "no x5c": (signed(x5c=None), "x5c in the header of the DSC-TL is missing or null, expected an array"),
    "an empty x5c": (signed(x5c=[]), "does not begin with a certificate"),
    "x5c that is no certificate": (signed(x5c=["AAAA"]), "does not begin with a certificate"),
    "x5c in PEM": (signed(x5c=[b64(b"-----BEGIN CERTIFICATE-----")]), "does not begin with a certificate"),
    "crit": (signed(crit=["exp"]), "has 'crit', which is not understood here"),
    "b64": (signed(b64=False), "has 'b64', which is not understood here"),
    "a header that is a list": (forge(header=[]), "the header of the DSC-TL is an array, expected an object"),
    "two parts": (signed().rpartition(b".")[0], "has 2 parts, expected the three"),
    "four parts": (signed() + b".AA", "has 4 parts, expected the three"),
    "cut": (signed()[:-2], "does not verify"),
    "padding": (signed() + b"==", "the signature of the DSC-TL is not canonical base64"),
    "bytes that are no ASCII": (signed() + b"\xff", "is not canonical base64"),
    "nothing": (b"", "found nothing, expected 1 to"),
    "a payload that is cut": (signed(payload()[:-1]), "the payload of the DSC-TL is not JSON in UTF-8, or was cut"),
    "a payload that is no UTF-8": (signed(b'{"a": "\xff"}'), "is not JSON in UTF-8"),
    "a payload that is a list": (signed(b"[]"), "the payload is an array, expected an object"),
    "a key twice": (signed(payload()[:-1] + b', "exp": 4102444800}'), "names the key 'exp' twice in one object"),
    "nested deeply": (signed(b"[" * 100_000 + b"]" * 100_000), "is nested too deeply"),
    "too many brackets": (signed(b"[" + b"{},{}," * 150_000 + b"{}]"), "objects and arrays and"),
    "too many keys": (
        signed(payload(dsc_trust_list={"VN": {"keys": [{}] * 10_001}})),
        "has 10001 entries, expected at most 10000",
    ),
    "too many keys in two countries": (
        signed(payload(dsc_trust_list={c: {"keys": [{}] * 6000} for c in ("VN", "DE")})),
        "has 12000 entries, expected at most 10000",
    ),
    "NaN": (signed(payload(exp=float("nan"))), "is not JSON"),
    "exp that is a float": (signed(payload(exp=4e9)), "exp of the DSC-TL is 4000000000.0, expected seconds"),
    "exp that is true": (signed(payload(exp=True)), "exp of the DSC-TL is True"),
    "exp far off": (signed(payload(exp=2**63)), "exp of the DSC-TL is 9223372036854775808"),
    "exp of many digits": (signed(payload().replace(b'"exp": ', b'"exp": ' + b"9" * 5000)), "is not JSON"),
    "no exp": (signed(payload(exp=None)), "exp of the DSC-TL is None"),
    "no iat": (signed(payload(iat=None)), "iat of the DSC-TL is None"),
    "no iss": (signed(payload(iss=None)), "iss of the DSC-TL is missing or null, expected a string"),
    "no list": (signed(payload(dsc_trust_list=None)), "dsc_trust_list of the DSC-TL is missing or null"),
    "a list without keys": (signed(payload(dsc_trust_list={"VN": {}})), "keys of 'VN' in the DSC-TL is missing"),
    "a country's name that breaks lines": (
        signed(payload(dsc_trust_list={"V\n\x1b[31mN": {}})),
        r"keys of 'V\n\x1b[31mN' in the DSC-TL is missing",
    ),
    "half a surrogate pair": (
        signed(payload(dsc_trust_list={"\ud800": {}})),
        r"keys of '\ud800' in the DSC-TL is missing",
    ),
    "keys that are strings": (signed(payload(dsc_trust_list={"VN": {"keys": ["a"]}})), "is a string, expected an object"),
    "no usable DSC": (signed(payload({"kty": "EC"})), "holds no DSC that can be used"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), FORGED.values(), ids=FORGED)
def test_what_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(TrustError) as caught:
        read(data)
    message = str(caught.value)
    assert words in message
    assert message.isprintable()


def test_too_large() -> None:
    with pytest.raises(TrustError, match="found 16777217 bytes, expected 1 to 16777216"):
        read(b"e" * (16 * 1024 * 1024 + 1))


SKEW = timedelta(minutes=5)
TIMES = {
    "before iat": (
        NOW - SKEW - timedelta(seconds=1),
        "was issued 2026-01-15T12:00:00Z, expected no later than",
    ),
    "at iat, by a slow clock": (NOW - SKEW, None),
    "at the end, by a fast clock": (NOW + timedelta(days=60) + SKEW - timedelta(seconds=1), None),
    "expired": (
        NOW + timedelta(days=60) + SKEW,
        "expired 2026-03-16T12:00:00Z, expected later than",
    ),
}


@pytest.mark.parametrize(("at", "words"), TIMES.values(), ids=TIMES)
def test_times(at, words: str | None) -> None:
    """iat and exp are judged, each with five minutes for a clock that is wrong."""
    if words is None:
        assert read(signed(), at=at).dscs
    else:
        with pytest.raises(TrustError, match=words):
            read(signed(), at=at)


def test_the_signers_validity_and_use() -> None:
    """A pinned signer that has expired, or whose key is not for signatures, signs nothing."""
    short = leaf("short list signer", "SE", TA, days=3)
    with pytest.raises(
        TrustError, match="is valid 2025-12-16 to 2026-01-18, expected at 2026-02-14"
    ):
        read(sign_jws(payload(), short, "short list signer"), short)
    other = leaf("other use", "SE", TA, usage=False)
    with pytest.raises(
        TrustError, match="has the key usage keyEncipherment, expected digitalSignature"
    ):
        read(sign_jws(payload(), other, "other use"), other)


def test_a_curve_that_signs_no_list() -> None:
    """A key that is neither P-256 nor RSA of 2048 to 4096 bits fits no alg."""
    made = leaf("list signer", "SE", TA, public_key=generate_private_key(SECP384R1()).public_key())
    with pytest.raises(TrustError, match="expected none for the signer's key, EC secp384r1"):
        read(sign_jws(payload(), made, "list signer"), made)


LEFT_OUT = {
    "no x5c": (jwk(dsc("another"), x5c=None), LeftOut.NO_CERTIFICATE),
    "an empty x5c": (jwk(dsc("another"), x5c=[]), LeftOut.NO_CERTIFICATE),
    "x5c that is no base64": (jwk(dsc("another"), x5c=["%"]), LeftOut.UNREADABLE),
    "x5c that is no string": (jwk(dsc("another"), x5c=[7]), LeftOut.UNREADABLE),
    "x5c that is cut": (jwk(dsc("another"), x5c=[b64(dsc("another").der[:-1])]), LeftOut.UNREADABLE),
    "another's kid": (jwk(dsc("another"), kid=b64(dsc().kid)), LeftOut.OTHER_KID),
    "a kid that is cut": (jwk(dsc("another"), kid=b64(dsc("another").kid[:7])), LeftOut.OTHER_KID),
    "no kid": (jwk(dsc("another"), kid=None), LeftOut.OTHER_KID),
    "another's numbers": (jwk(dsc("another"), x=jwk(dsc())["x"], y=jwk(dsc())["y"]), LeftOut.OTHER_KEY),
    "another's certificate": (
        jwk(dsc(), x5c=[b64(dsc("another").der)], kid=b64(dsc("another").kid)),
        LeftOut.OTHER_KEY,
    ),
    "no point": (jwk(dsc("another"), x=b64url(bytes(32))), LeftOut.OTHER_KEY),
    "a number of 33 bytes": (jwk(dsc("another"), x=b64url(b"\1" * 33)), LeftOut.OTHER_KEY),
    "another kty": (jwk(dsc("another"), kty="RSA"), LeftOut.OTHER_KEY),
}  # fmt: skip


@pytest.mark.parametrize(("odd", "why"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_is_left_out(odd: dict, why: LeftOut) -> None:
    """A key that can't be used costs the others nothing; it is counted."""
    found = read(signed(payload(odd, jwk(dsc()), odd)))
    assert found.dscs == (dsc(),)
    assert found.left_out == {why: 2}


def test_one_kid_for_two_keys() -> None:
    """Of two entries with one kid the one whose certificate has it is taken."""
    found = read(signed(payload(jwk(dsc()), jwk(dsc("another"), kid=b64(dsc().kid)))))
    assert found.dscs == (dsc(),)
    assert found.left_out == {LeftOut.OTHER_KID: 1}


def test_forms_of_a_jwk() -> None:
    """A kid in base64url, numbers with a leading zero, and no numbers at all are read."""
    kid = b64url(dsc().kid)
    zero = {
        n: b64url(b"\0" + dsc().public_key.public_numbers().__getattribute__(n).to_bytes(32, "big"))
        for n in "xy"
    }
    for key in (jwk(dsc(), kid=kid), jwk(dsc(), **zero), jwk(dsc(), x=None, y=None)):
        assert read(signed(payload(key))).dscs == (dsc(),)


def test_no_anchor() -> None:
    with pytest.raises(TrustError, match="which is none of the 0 certificates among the anchors"):
        read_swedish(signed(), [], AT)


def test_a_moment_without_an_offset() -> None:
    with pytest.raises(InputError, match="UTC offset"):
        read(signed(), at=AT.replace(tzinfo=None))
