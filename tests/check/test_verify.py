"""From text to Verdict: one forged input for every reason, and no other way to be valid."""

from __future__ import annotations

import math
import random
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import base45 as other
import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from issuing import AT, NOW, RECORD, csca, dsc, make_issuer, private_key, sign_dsc, signer_of, trust
from vaxpass_sign import inspect, verify
from vaxpass_sign.check import NotChecked, Reason, Step, TrustStore
from vaxpass_sign.check.verdict import STEP_OF
from vaxpass_sign.errors import CertificateError, InputError
from vaxpass_sign.hcert import cose
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.hcert.faults import Fault
from vaxpass_sign.x509 import Certificate

TEXT = make_issuer().issue(RECORD)
CLAIMS = inspect(TEXT).claims
N_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def text_of(message: bytes) -> str:
    return "HC1:" + other.b45encode(zlib.compress(message)).decode()


def signed(
    claims: object = None,
    key: str = "dsc",
    protected: object = None,
    unprotected: object = None,
    certificate: Certificate | None = None,
) -> str:
    """A text whose signature is right, over whatever is asked for."""
    signer = signer_of(private_key(key))
    kid = (certificate or dsc(key)).kid
    header = {1: int(signer.alg), 4: kid} if protected is None else protected
    header = cbor2.dumps(header) if header else b""
    payload = cbor2.dumps(CLAIMS if claims is None else claims)
    (signature,) = signer.sign([cose.sig_structure(header, payload)])
    return text_of(b"\xd2" + cbor2.dumps([header, unprotected or {}, payload, signature]))


def with_signature(change) -> str:
    """The good text with another signature."""
    sign1 = inspect(TEXT).sign1
    r, s = sign1.signature[:32], sign1.signature[32:]
    return text_of(cose.encode_sign1(sign1.protected, sign1.payload, change(r, s)))


def dcc(**changes: object) -> dict:
    return CLAIMS | {-260: {1: CLAIMS[-260][1] | changes}}


def entry(**changes: object) -> dict:
    return dcc(v=[CLAIMS[-260][1]["v"][0] | changes])


def without(field: str) -> dict:
    values = dict(CLAIMS[-260][1])
    del values[field]
    return CLAIMS | {-260: {1: values}}


TEST_ENTRY = {
    "tg": "840539006", "tt": "LP6464-4", "sc": "2021-10-09T12:03:12Z", "tr": "260415000",
    "co": "VN", "is": "Bộ Y tế", "ci": "URN:UVCI:01:VN:A#B",
}  # fmt: skip
RECOVERY_ENTRY = {
    "tg": "840539006", "fr": "2021-10-09", "co": "VN", "is": "Bộ Y tế",
    "df": "2021-10-20", "du": "2022-04-09", "ci": "URN:UVCI:01:VN:A#B",
}  # fmt: skip


def as_kind(kind: str, value: dict) -> dict:
    values = {k: v for k, v in CLAIMS[-260][1].items() if k != "v"} | {kind: [value]}
    return CLAIMS | {-260: {1: values}}


def test_a_good_one() -> None:
    """A good text is valid; the Verdict names the DSC, the time, and what was not checked."""
    verdict = verify(TEXT, trust(), at=AT)
    assert verdict.valid
    assert bool(verdict) is True
    assert (verdict.reason, verdict.step, verdict.at) == (Reason.VALID, Step.DONE, AT)
    assert verdict.dsc == dsc()
    assert verdict.hcert.payload == CLAIMS[-260][1]
    assert set(verdict.not_checked) == {
        NotChecked.HOLDER, NotChecked.REVOCATION, NotChecked.RULES, NotChecked.CSCA,
    }  # fmt: skip
    assert verdict.warnings == ()


def test_anchored_trust_has_checked_the_csca() -> None:
    """With anchored DSCs the CSCA is no longer among what was not checked."""
    verdict = verify(TEXT, TrustStore([dsc()], anchored=True), at=AT)
    assert NotChecked.CSCA not in verdict.not_checked


ES_AS_PS = cbor2.dumps({1: -37, 4: dsc().kid})
FORGED = [
    # Steps 1 to 4: the table of tests/hcert holds every fault; these show how they come through.
    ("too long", "HC1:" + "0" * 5000, Reason.TOO_LONG),
    ("no HC1", "HC2:" + TEXT[4:], Reason.NOT_HC1),
    ("a character outside base45", TEXT[:50] + "a" + TEXT[51:], Reason.BASE45),
    ("not compressed", "HC1:" + other.b45encode(b"\xd2\x84").decode(), Reason.NOT_COMPRESSED),
    ("cut short", TEXT[: len(TEXT) // 6 * 3 + 1], Reason.INFLATE),
    ("a bomb", text_of(bytes(1 << 20)), Reason.INFLATED_TOO_LARGE),
    ("not CBOR", text_of(b"\xff\xff"), Reason.CBOR),
    ("too deep", text_of(b"\x81" * 20_000), Reason.CBOR_TOO_DEEP),
    ("too many", text_of(b"\x99\x20\x00" + bytes(0x2000)), Reason.CBOR_TOO_MANY),
    ("shared references", signed(protected=None, claims=cbor2.CBORTag(28, [1])), Reason.CBOR_TAG),
    ("a second -260", text_of(b"\xd2" + cbor2.dumps([b"", {}, bytes.fromhex("a2390103a0390103a0"), b""])), Reason.CBOR_DUPLICATE_KEY),
    ("no COSE", text_of(b"\xa0"), Reason.COSE),
    ("critical header", signed(protected={1: -7, 2: [42], 4: dsc().kid}), Reason.COSE_CRITICAL),
    ("claims of another type", signed([1]), Reason.CLAIMS),
    # Step 5.
    ("no kid", signed(protected={1: -7}), Reason.NO_KID),
    ("another's kid", signed(protected={1: -7, 4: bytes(8)}), Reason.UNKNOWN_KID),
    ("right kid unprotected, wrong one protected", signed(protected={1: -7, 4: bytes(8)}, unprotected={4: dsc().kid}), Reason.UNKNOWN_KID),
    ("a DSC that is not trusted", signed(key="another"), Reason.UNKNOWN_KID),
    # Step 6.
    ("no alg", signed(protected={4: dsc().kid}), Reason.NO_ALG),
    ("alg none", signed(protected={1: 0, 4: dsc().kid}), Reason.ALG_UNKNOWN),
    ("RS256", signed(protected={1: -257, 4: dsc().kid}), Reason.ALG_UNKNOWN),
    ("EdDSA", signed(protected={1: -8, 4: dsc().kid}), Reason.ALG_UNKNOWN),
    ("alg swapped", signed(protected={1: -37, 4: dsc().kid}), Reason.ALG_MISMATCH),
    ("right alg unprotected, wrong one protected", signed(protected={1: -37, 4: dsc().kid}, unprotected={1: -7}), Reason.ALG_MISMATCH),
    # Step 7.
    ("signed by another key under this kid", signed(key="another", protected={1: -7, 4: dsc().kid}), Reason.SIGNATURE),
    ("r is 0", with_signature(lambda r, s: bytes(32) + s), Reason.SIGNATURE),
    ("s is 0", with_signature(lambda r, s: r + bytes(32)), Reason.SIGNATURE),
    ("r is n", with_signature(lambda r, s: N_P256.to_bytes(32) + s), Reason.SIGNATURE),
    ("s is s + n where it fits", with_signature(lambda r, s: r + (N_P256 + 5).to_bytes(32)), Reason.SIGNATURE),
    ("all ones", with_signature(lambda r, s: b"\xff" * 64), Reason.SIGNATURE),
    ("DER instead of raw", with_signature(lambda r, s: b"\x30\x44\x02\x20" + r + b"\x02\x20" + s), Reason.SIGNATURE),
    ("empty", with_signature(lambda r, s: b""), Reason.SIGNATURE),
    ("a byte longer", with_signature(lambda r, s: r + s + b"\0"), Reason.SIGNATURE),
    ("a byte longer in the middle", with_signature(lambda r, s: r + b"\0" + s), Reason.SIGNATURE),
    # Step 8.
    ("no exp", signed({k: v for k, v in CLAIMS.items() if k != 4}), Reason.NO_EXPIRY),
    ("exp is NaN", signed(CLAIMS | {4: math.nan}), Reason.TIME_UNREADABLE),
    ("exp is infinite", signed(CLAIMS | {4: math.inf}), Reason.TIME_UNREADABLE),
    ("iat is NaN", signed(CLAIMS | {6: math.nan}), Reason.TIME_UNREADABLE),
    ("exp beyond all calendars", signed(CLAIMS | {4: 2**60}), Reason.TIME_UNREADABLE),
    ("issued in the future", signed(CLAIMS | {6: int(AT.timestamp()) + 1}), Reason.NOT_YET_VALID),
    ("expired a second ago", signed(CLAIMS | {4: int(AT.timestamp()) - 1}), Reason.EXPIRED),
    # Step 10.
    ("no DCC", signed(CLAIMS | {-260: {3: {}}}), Reason.NO_EU_DCC),
    ("no -260", signed({k: v for k, v in CLAIMS.items() if k != -260}), Reason.NO_EU_DCC),
    ("no entry", signed(without("v")), Reason.SCHEMA),
    ("two entries", signed(dcc(v=CLAIMS[-260][1]["v"] * 2)), Reason.SCHEMA),
    ("no birth date", signed(without("dob")), Reason.SCHEMA),
    ("dose 0", signed(entry(dn=0)), Reason.SCHEMA),
    ("dose true", signed(entry(dn=True)), Reason.SCHEMA),
    ("a date that is none", signed(entry(dt="2021-02-30")), Reason.SCHEMA),
    ("names that are no map", signed(dcc(nam=True)), Reason.SCHEMA),
    ("a name in small letters", signed(dcc(nam={"fnt": "nguyen"})), Reason.SCHEMA),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [f[1:] for f in FORGED], ids=[f[0] for f in FORGED])
def test_forged(text: str, reason: Reason) -> None:
    """Each forged text is not valid, with its own reason."""
    verdict = verify(text, trust(), at=AT)
    assert not verdict
    assert verdict.reason is reason
    assert verdict.step == STEP_OF[reason]
    assert verdict.detail


def dsc_cases() -> list[tuple[str, Certificate, str, Reason]]:
    soon, late = AT + timedelta(days=1), AT - timedelta(days=1)
    return [
        ("DSC not valid yet", sign_dsc(not_before=soon), "v", Reason.DSC_NOT_YET_VALID),
        ("DSC expired", sign_dsc(not_after=late), "v", Reason.DSC_EXPIRED),
        ("DSC for tests, a vaccination", sign_dsc(kinds=("t",)), "v", Reason.DSC_ENTRY_KIND),
        ("DSC for vaccinations, a test", sign_dsc(), "t", Reason.DSC_ENTRY_KIND),
        ("DSC for vaccinations, a recovery", sign_dsc(), "r", Reason.DSC_ENTRY_KIND),
        ("DSC for all", sign_dsc(kinds=("v", "t", "r")), "r", Reason.VALID),
        ("DSC for all, a test", sign_dsc(kinds=("v", "t", "r")), "t", Reason.VALID),
    ]


@pytest.mark.parametrize(
    ("certificate", "kind", "reason"),
    [c[1:] for c in dsc_cases()],
    ids=[c[0] for c in dsc_cases()],
)
def test_what_the_dsc_allows(certificate: Certificate, kind: str, reason: Reason) -> None:
    """The DSC's validity and key usage bind what it signed."""
    claims = {"v": CLAIMS, "t": as_kind("t", TEST_ENTRY), "r": as_kind("r", RECOVERY_ENTRY)}[kind]
    verdict = verify(signed(claims, certificate=certificate), trust(certificate), at=AT)
    assert verdict.reason is reason


def test_a_csca_signs_no_hcert() -> None:
    """An HCERT signed by a trusted CSCA's own key is not valid."""
    verdict = verify(signed(key="csca", certificate=csca()), trust(csca()), at=AT)
    assert verdict.reason is Reason.DSC_KEY_USAGE


def odd_certificate(key_name: str, *extensions: object, public_key: object = None) -> Certificate:
    """A certificate as the building code would never make it, by cryptography."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key or private_key(key_name).public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=900))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signed_by = builder.sign(private_key("csca"), SHA256())
    return Certificate.from_bytes(signed_by.public_bytes(Encoding.DER))


def odd_dscs() -> list[tuple[str, Certificate]]:
    from cryptography import x509

    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
         "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"), False,
    )  # fmt: skip
    return [
        ("a CA without key usage", odd_certificate("dsc", x509.BasicConstraints(True, None))),
        (
            "a CA that may sign",
            odd_certificate(
                "dsc",
                x509.BasicConstraints(True, None),
                x509.KeyUsage(**usage | {"digital_signature": True, "key_cert_sign": True}),
            ),
        ),
        (
            "no CA and no digitalSignature",
            odd_certificate("dsc", x509.KeyUsage(**usage | {"key_agreement": True})),
        ),
    ]


@pytest.mark.parametrize("certificate", [c[1] for c in odd_dscs()], ids=[c[0] for c in odd_dscs()])
def test_certificates_that_are_no_dsc(certificate: Certificate) -> None:
    """A CA, or a certificate that may not sign, neither issues nor verifies an HCERT."""
    verdict = verify(signed(certificate=certificate), trust(certificate), at=AT)
    assert verdict.reason is Reason.DSC_KEY_USAGE
    with pytest.raises(CertificateError, match="is no DSC"):
        make_issuer(dsc=certificate)


def test_a_pss_salt_of_another_length() -> None:
    """A PSS signature with a salt of 20 bytes is not PS256 (RFC 8230 §2)."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    sign1 = inspect(signed(key="rsa dsc")).sign1
    for salt, valid in ((32, True), (20, False), (0, False)):
        pss = padding.PSS(padding.MGF1(SHA256()), salt)
        signature = private_key("rsa dsc").sign(sign1.sig_structure, pss, SHA256())
        text = text_of(cose.encode_sign1(sign1.protected, sign1.payload, signature))
        assert verify(text, trust(dsc("rsa dsc")), at=AT).valid is valid


def test_borders_of_the_dsc() -> None:
    """A DSC is valid at its first and at its last second, and not outside."""
    certificate = sign_dsc(not_before=AT, not_after=AT + timedelta(days=1))
    text = signed(CLAIMS | {6: int(AT.timestamp()) - 9}, certificate=certificate)
    second = timedelta(seconds=1)
    expected = {
        certificate.not_before - second: Reason.DSC_NOT_YET_VALID,
        certificate.not_before: Reason.VALID,
        certificate.not_after: Reason.VALID,
        certificate.not_after + second: Reason.DSC_EXPIRED,
    }
    for at, reason in expected.items():
        assert verify(text, trust(certificate), at=at).reason is reason


@pytest.mark.parametrize(
    "at",
    [
        pytest.param("9999-12-31T23:59:59-12:00", id="after the last year"),
        pytest.param("0001-01-01T00:00:00+14:00", id="before the first year"),
    ],
)
def test_a_time_beyond_the_calendar(at: str) -> None:
    """A moment that UTC has no year for is an error of the caller."""
    with pytest.raises(InputError, match="years 1 to 9999"):
        verify(TEXT, trust(), at=datetime.fromisoformat(at))


def test_every_reason_is_reached() -> None:
    """Each reason there is stands in a table of this file, and has a step."""
    reached = {f[2] for f in FORGED} | {c[3] for c in dsc_cases()} | {Reason.DSC_KEY_USAGE}
    reached |= {Reason.DSC_UNTRUSTED, Reason.BEYOND_DSC}  # test_policy.py
    reached |= {reason for reason, step in STEP_OF.items() if step is Step.REVOCATION}
    # test_revocation.py
    assert reached == set(Reason)
    assert set(STEP_OF) == set(Reason)
    assert {fault.value for fault in Fault} <= {reason.value for reason in Reason}


def test_high_and_low_s_are_both_fine() -> None:
    """(r, n-s) verifies as (r, s) does: a signature is no identifier."""
    text = with_signature(lambda r, s: r + (N_P256 - int.from_bytes(s)).to_bytes(32))
    assert verify(text, trust(), at=AT)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_kids_collide(order: tuple[int, ...]) -> None:
    """Of several DSCs with the kid, the one whose key made the signature is found."""
    same_kid = [replace(dsc(name), kid=dsc().kid) for name in ("dsc", "another", "rsa dsc")]
    store = TrustStore([same_kid[place] for place in order])
    assert len(store) == 3
    verdict = verify(TEXT, store, at=AT)
    assert verdict.valid
    assert verdict.dsc == dsc()


@pytest.mark.parametrize(
    "public_key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()).public_key(), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate().public_key(), id="Ed25519"),
        pytest.param(rsa.generate_private_key(65537, 1024).public_key(), id="RSA 1024"),
    ],
)
def test_keys_that_no_hcert_may_have(public_key) -> None:
    """A DSC whose key fits neither algorithm signs nothing, whatever the header says."""
    certificate = odd_certificate("dsc", public_key=public_key)
    verdict = verify(signed(certificate=certificate), trust(certificate), at=AT)
    assert verdict.reason is Reason.ALG_MISMATCH


def test_time_borders() -> None:
    """Valid from the second of iat to the second of exp, and not a second before or after."""
    issued, expires = CLAIMS[6], CLAIMS[4]
    expected = {
        issued - 1: Reason.NOT_YET_VALID,
        issued: Reason.VALID,
        expires: Reason.VALID,
        expires + 1: Reason.EXPIRED,
    }
    for seconds, reason in expected.items():
        at = datetime.fromtimestamp(seconds, UTC)
        assert verify(TEXT, trust(), at=at).reason is reason


def test_a_naive_time_is_refused() -> None:
    """A datetime without an offset is an error of the caller, not a guess."""
    with pytest.raises(InputError):
        verify(TEXT, trust(), at=datetime(2026, 2, 1))


def test_now_is_the_default() -> None:
    """Without ``at`` the moment is now."""
    assert abs((verify(TEXT, trust()).at - datetime.now(UTC)).total_seconds()) < 60


def test_unknown_codes_are_warnings() -> None:
    """A code that the value sets don't know is a warning, and the Verdict stays valid."""
    verdict = verify(signed(entry(mp="NEW-1", co="XZ")), trust(), at=AT)
    assert verdict.valid
    assert len(verdict.warnings) == 2
    assert "NEW-1" not in "".join(verdict.warnings)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(TEXT) - 1),
    st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:aé\n"),
)
def test_no_changed_character_is_valid_with_another_payload(place: int, character: str) -> None:
    """No change of one character gives a valid Verdict with another payload."""
    changed = TEXT[:place] + character + TEXT[place + 1 :]
    verdict = verify(changed, trust(), at=AT)
    if verdict.valid:
        assert verdict.hcert.sign1.payload == inspect(TEXT).sign1.payload


@pytest.mark.parametrize("key_name", ["dsc", "rsa dsc"])
def test_no_changed_byte_is_valid_with_another_payload(key_name: str) -> None:
    """No change of one byte of the zlib stream gives a valid Verdict with another payload.

    Each byte is changed in three ways. The padding bits of a stored block's header may differ and
    the Verdict stay valid: they are no part of the message.
    """
    rng = random.Random(key_name)
    text = make_issuer(key_name).issue(RECORD)
    stream, payload = other.b45decode(text[4:]), inspect(text).sign1.payload
    valid = []
    for place in range(len(stream)):
        for mask in (1 << rng.randrange(8), 0xFF, rng.randrange(1, 256)):
            changed = bytearray(stream)
            changed[place] ^= mask
            verdict = verify(
                "HC1:" + other.b45encode(bytes(changed)).decode(), trust(dsc(key_name)), at=AT
            )
            if verdict.valid:
                valid.append(place)
                assert verdict.hcert.sign1.payload == payload
    assert set(valid) <= {2}  # the first block's header, of which five bits are padding


@settings(max_examples=150, deadline=None)
@given(st.text() | st.binary() | st.none())
def test_any_input_is_a_verdict(value: object) -> None:
    """Whatever is given as a text, the answer is a Verdict that says no."""
    verdict = verify(value, trust(), at=AT)
    assert not verdict.valid


def test_a_verdict_shows_no_personal_data() -> None:
    """repr, detail, warnings and explanation name no person, date of birth or UVCI."""
    texts = [TEXT, *(f[1] for f in FORGED if isinstance(f[1], str))]
    for text in texts:
        verdict = verify(text, trust(), at=AT)
        shown = repr(verdict) + verdict.explain() + repr(verdict.hcert) + str(verdict.warnings)
        for personal in ("Nguy", "NGUYEN", "nguyen", "Khai", "1987", "URN:UVCI", TEXT[10:30]):
            assert personal not in shown


def test_alg_of_an_rsa_dsc() -> None:
    """PS256 under an RSA DSC is valid; ES256 in its header is a mismatch."""
    assert verify(signed(key="rsa dsc"), trust(dsc("rsa dsc")), at=AT)
    text = signed(key="rsa dsc", protected={1: int(Alg.ES256), 4: dsc("rsa dsc").kid})
    assert verify(text, trust(dsc("rsa dsc")), at=AT).reason is Reason.ALG_MISMATCH
