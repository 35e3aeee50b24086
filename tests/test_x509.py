"""DSC, CSCA and CSR: read, checked against each other, built, and checked by OpenSSL."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cryptography import x509 as cx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fuzz import trees
from issuing import dsc
from vaxpass_sign.errors import CertificateError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509 import (
    MAX_CERTIFICATE_BYTES,
    Certificate,
    Subject,
    ToBeSigned,
    check_issued_by,
    csca_to_sign,
    csr_to_sign,
    dsc_to_sign,
    load_certificates,
    pem,
    read_certificate,
)
from vaxpass_sign.x509.parsing import parse_strictly, parse_tolerantly
from work import at_most_calls

EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
P384_KEY = ec.generate_private_key(ec.SECP384R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
CSCA_NAME = Subject("VN", "Bộ Y tế", "CSCA VN")
DSC_NAME = Subject("VN", "Bộ Y tế", "DSC 1")

VACCINATION, OLD_ARC_TEST = "1.3.6.1.4.1.1847.2021.1.2", "1.3.6.1.4.1.0.1847.2021.1.1"
AKI, SKI = "2.5.29.35", "2.5.29.14"
BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE = "2.5.29.19", "2.5.29.15", "2.5.29.37"


def sign(key, message: bytes) -> bytes:
    """Sign as a Signer does: raw r‖s, or PSS with SHA-256 and a salt of 32 bytes."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


def finish(draft: ToBeSigned, key) -> Certificate:
    return Certificate.from_bytes(draft.finish(sign(key, draft.tbs)))


def make_csca(key=EC_KEY, name=CSCA_NAME, not_before=START, not_after=END) -> Certificate:
    draft = csca_to_sign(key.public_key(), name, not_before=not_before, not_after=not_after)
    return finish(draft, key)


def make_dsc(csca: Certificate, csca_key=EC_KEY, key=OTHER_KEY, **changes) -> Certificate:
    settings = {"not_before": START, "not_after": END} | changes
    return finish(dsc_to_sign(key.public_key(), DSC_NAME, csca=csca, **settings), csca_key)


def foreign(
    extensions=(),
    key=EC_KEY,
    issuer="Other CA",
    subject="Other CA",
    start=START,
    public_key=None,
    sign_with=None,
) -> Certificate:
    """A certificate that cryptography builds; extensions are (OID, critical, DER)."""
    names = [
        cx.Name([cx.NameAttribute(cx.NameOID.COMMON_NAME, text)]) for text in (subject, issuer)
    ]
    builder = (
        cx.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(public_key or key.public_key())
        .serial_number(5)
        .not_valid_before(start)
        .not_valid_after(END)
    )
    for oid, critical, der in extensions:
        value = cx.UnrecognizedExtension(cx.ObjectIdentifier(oid), der)
        builder = builder.add_extension(value, critical)
    hash_, pss = sign_with or (hashes.SHA256(), None)
    signed = builder.sign(key, hash_, rsa_padding=pss)
    return Certificate.from_bytes(signed.public_bytes(Encoding.DER))


CA_TRUE = (BASIC_CONSTRAINTS, True, bytes.fromhex("30030101ff"))
CERT_SIGN = (KEY_USAGE, True, bytes.fromhex("03020106"))
DIGITAL_SIGNATURE = (KEY_USAGE, True, bytes.fromhex("03020780"))
OWN_ID = (SKI, False, bytes.fromhex("0404aabbccdd"))
ISSUER_ID = (AKI, False, bytes.fromhex("30068004aabbccdd"))


# --- reading -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published_dscs() -> dict[bytes, str]:
    """The distinct DSCs of the EU's published vectors: DER → the id of a vector that has it."""
    path = Path(__file__).resolve().parents[2] / "shared/vectors/dcc_vectors_dev.jsonl.gz"
    if not path.exists():
        reason = f"the published vectors {path.name} are not beside the repository"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        vectors = [json.loads(line) for line in lines]
    return {base64.b64decode(v["TESTCTX"]["CERTIFICATE"]): v["id"] for v in vectors}


def test_every_published_dsc_is_read(published_dscs):
    """Each published DSC gives a kid, a validity, a key and the kinds that it may sign."""
    assert len(published_dscs) == 48
    found = [Certificate.from_bytes(der) for der in published_dscs]
    assert all(c.kid == hashlib.sha256(c.der).digest()[:8] for c in found)
    assert all(c.not_before < c.not_after for c in found)
    algs = [(c.alg, c.key_description) for c in found]
    assert algs.count((Alg.ES256, "EC secp256r1")) == 46
    assert algs.count((Alg.PS256, "RSA 2048")) == 1
    assert algs.count((None, "EC secp384r1")) == 1
    assert sum(c.entry_kinds != frozenset("vtr") for c in found) > 5
    assert sum(c.private_key_period != (None, None) for c in found) == 8


def test_both_ways_of_reading_agree(published_dscs):
    """cryptography and asn1crypto give the same facts for each published DSC."""
    for der, vector in published_dscs.items():
        assert parse_strictly(der) == parse_tolerantly(der), vector


@pytest.mark.parametrize(
    ("oid", "der"),
    [
        pytest.param(BASIC_CONSTRAINTS, bytes.fromhex("3003010100"), id="explicit-default"),
        pytest.param(EXTENDED_KEY_USAGE, bytes.fromhex("3000"), id="empty-extended-key-usage"),
    ],
)
def test_dscs_that_break_der_are_read(oid, der):
    """A DSC whose extensions cryptography refuses is read all the same, key and usage too."""
    odd = foreign([DIGITAL_SIGNATURE, (oid, True, der)])
    with pytest.raises(CertificateError):
        parse_strictly(odd.der)
    assert odd.public_key == EC_KEY.public_key()
    assert odd.key_usage == {"digitalSignature"}
    assert not odd.is_ca
    assert odd.extended_key_usage == frozenset()
    assert odd.entry_kinds == frozenset("vtr")


@pytest.mark.parametrize(
    ("oids", "kinds"),
    [
        pytest.param([], "vtr", id="no-oid"),
        pytest.param([VACCINATION], "v", id="vaccination"),
        pytest.param([OLD_ARC_TEST], "t", id="test-in-the-arc-with-0"),
        pytest.param([OLD_ARC_TEST, VACCINATION], "vt", id="both-arcs"),
        pytest.param(["1.3.6.1.5.5.7.3.2"], "vtr", id="another-oid-only"),
        pytest.param(["1.3.6.1.5.5.7.3.2", "1.3.6.1.4.1.1847.2021.1.3"], "r", id="another-and-r"),
    ],
)
def test_entry_kinds(oids, kinds):
    """The OIDs of both arcs limit what a DSC may sign; other OIDs don't count."""
    usage = cx.ExtendedKeyUsage([cx.ObjectIdentifier(oid) for oid in oids]) if oids else None
    extensions = [(EXTENDED_KEY_USAGE, False, usage.public_bytes())] if usage else []
    dsc = foreign(extensions)
    assert dsc.extended_key_usage == frozenset(oids)
    assert dsc.entry_kinds == frozenset(kinds)


@pytest.mark.parametrize(
    ("key", "alg", "description"),
    [
        pytest.param(EC_KEY, Alg.ES256, "EC secp256r1", id="p256"),
        pytest.param(P384_KEY, None, "EC secp384r1", id="p384"),
        pytest.param(RSA_KEY, Alg.PS256, "RSA 2048", id="rsa-2048"),
        pytest.param(rsa.generate_private_key(65537, 1024), None, "RSA 1024", id="rsa-1024"),
        pytest.param(
            ed25519.Ed25519PrivateKey.generate(), None, "unusable (1.3.101.112)", id="ed25519"
        ),
    ],
)
def test_the_key_decides_the_algorithm(key, alg, description):
    """P-256 signs ES256, RSA from 2048 bits PS256, and any other key nothing."""
    dsc = foreign(public_key=key.public_key())
    assert (dsc.alg, dsc.key_description) == (alg, description)
    assert (dsc.public_key is None) == description.startswith("unusable")


def test_facts_of_a_dsc():
    """Every field of a DSC that we built says what was put in."""
    period = (START, START + timedelta(days=90))
    csca = make_csca()
    dsc = make_dsc(csca, kinds=("v", "t"), private_key_period=period, serial=77)
    assert dsc.subject == "C=VN, O=Bộ Y tế, CN=DSC 1"
    assert dsc.issuer == csca.subject == "C=VN, O=Bộ Y tế, CN=CSCA VN"
    assert (dsc.country, dsc.organisation, dsc.common_name) == ("VN", "Bộ Y tế", "DSC 1")
    assert (dsc.serial, dsc.not_before, dsc.not_after) == (77, START, END)
    assert dsc.private_key_period == period
    assert dsc.key_usage == {"digitalSignature"}
    assert dsc.entry_kinds == {"v", "t"}
    assert (dsc.is_ca, csca.is_ca) == (False, True)
    assert dsc.aki == csca.ski
    assert csca.key_usage == {"keyCertSign", "cRLSign"}


ONE = make_csca()
TWO = make_csca(OTHER_KEY)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(ONE.der, id="der"),
        pytest.param(pem(ONE.der), id="pem"),
        pytest.param(pem(ONE.der).replace(b"\n", b"\r\n"), id="pem-crlf"),
        pytest.param(b"0 subject: CSCA\n" + pem(ONE.der), id="text-before"),
        pytest.param(pem(b"\x30\x00", "CERTIFICATE REQUEST") + pem(ONE.der), id="other-block"),
    ],
)
def test_one_certificate_is_read(data):
    """PEM and DER of a certificate give the same certificate."""
    assert Certificate.from_bytes(data) == ONE


def test_a_bundle_keeps_its_order():
    """A PEM bundle gives its certificates in the order of the file."""
    assert load_certificates(pem(TWO.der) + b"\n# note\n" + pem(ONE.der)) == [TWO, ONE]


def with_serial_bytes_repeated(der: bytes) -> bytes:
    return der.replace(b"\x06\x03\x55\x1d\x23", b"\x06\x03\x55\x1d\x0e")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(b"hello", "neither PEM nor DER", id="text"),
        pytest.param(pem(b"\x30\x00", "CERTIFICATE REQUEST"), "other PEM blocks", id="csr"),
        pytest.param(pem(ONE.der)[:-30], "has no end", id="pem-cut"),
        pytest.param(pem(ONE.der).replace(b"MII", b"M!I"), "not base64", id="pem-not-base64"),
        pytest.param(pem(ONE.der) + pem(TWO.der), "found 2 certificates", id="two"),
        pytest.param(ONE.der[:-1], "no readable X.509", id="der-cut"),
        pytest.param(ONE.der + b"\0", "no readable X.509", id="der-and-more"),
        pytest.param(b"\x30\x80" * 20_000, "no readable X.509", id="nested"),
        pytest.param(bytes(MAX_CERTIFICATE_BYTES + 1), "larger than 65536", id="too-large"),
        pytest.param(with_serial_bytes_repeated(ONE.der), "2.5.29.14 twice", id="same-ext-twice"),
    ],
)
def test_what_is_no_certificate_is_refused(data, message):
    """Bytes that aren't exactly one certificate are refused with a reason on one line."""
    with pytest.raises(CertificateError, match=message) as caught:
        Certificate.from_bytes(data)
    assert "\n" not in str(caught.value)


def test_files(tmp_path):
    """A certificate file is read, and a file that isn't one is named in the error."""
    path = tmp_path / "dsc.pem"
    path.write_bytes(pem(ONE.der))
    assert read_certificate(path) == read_certificate(str(path)) == ONE
    path.write_bytes(b"x")
    for bad in (path, tmp_path / "none.pem", tmp_path):
        with pytest.raises(CertificateError, match=str(bad)):
            read_certificate(bad)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_bytes(data):
    """Random bytes, bare or as DER or PEM, raise CertificateError and nothing else."""
    for text in (data, b"\x30\x82" + data, pem(data)):
        with pytest.raises(CertificateError):
            load_certificates(text)


CHANGES = st.lists(
    st.tuples(st.integers(0, 10_000), st.integers(0, 255), st.sampled_from("scid")),
    min_size=1,
    max_size=5,
)


def changed(data: bytes, changes: list[tuple[int, int, str]]) -> bytes:
    out = bytearray(data)
    for place, byte, kind in changes:
        at = place % (len(out) or 1)
        if kind == "s":
            out[at : at + 1] = bytes([byte])
        elif kind == "c":
            del out[at + 1 :]
        elif kind == "i":
            out[at:at] = bytes([byte]) * (byte % 7)
        else:
            del out[at : at + byte % 9]
    return bytes(out)


@given(st.sampled_from([ONE, make_dsc(ONE), make_dsc(ONE, key=RSA_KEY)]), CHANGES)
@settings(max_examples=400, deadline=None)
def test_damaged_certificates(certificate, changes):
    """A damaged certificate is read or raises CertificateError, and is never issued by anyone."""
    damaged = changed(certificate.der, changes)
    assume(damaged != certificate.der)

    def read_and_check():
        found = Certificate.from_bytes(damaged)
        assert "\n" not in found.subject + found.issuer + repr(found)
        check_issued_by(found, ONE)

    with pytest.raises(CertificateError) as caught:
        read_and_check()
    assert "\n" not in str(caught.value)


def test_names_are_escaped():
    """A name can't break a line, colour a terminal or pass for a second attribute."""
    hostile = foreign(subject="a\n\x1b[31m, O=Ministry")
    assert hostile.subject == "CN=a\\u000a\\u001b[31m\\, O=Ministry"
    assert hostile.organisation is None


def test_pickle_and_equality():
    """A certificate survives pickling, and equals one with the same DER."""
    copy = pickle.loads(pickle.dumps(ONE))
    assert copy == ONE
    assert copy.public_key == ONE.public_key
    assert len({ONE, copy, TWO}) == 2


def test_import_is_light():
    """Importing x509 brings in neither asn1crypto nor cryptography.x509; reading a DSC needs no
    asn1crypto."""
    code = (
        "import sys; from vaxpass_sign.x509 import Certificate\n"
        "assert not {'asn1crypto', 'cryptography.x509'} & set(sys.modules)\n"
        f"Certificate.from_bytes(bytes.fromhex('{ONE.der.hex()}'))\n"
        "assert 'asn1crypto' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- the chain of one --------------------------------------------------------------------------


PKCS1 = (hashes.SHA256(), padding.PKCS1v15())
PSS_384 = (hashes.SHA384(), padding.PSS(padding.MGF1(hashes.SHA384()), 48))


@pytest.mark.parametrize(
    ("key", "sign_with"),
    [
        pytest.param(EC_KEY, None, id="p256-sha256"),
        pytest.param(P384_KEY, (hashes.SHA384(), None), id="p384-sha384"),
        pytest.param(EC_KEY, (hashes.SHA512(), None), id="p256-sha512"),
        pytest.param(RSA_KEY, PKCS1, id="rsa-pkcs1"),
        pytest.param(RSA_KEY, PSS_384, id="rsa-pss-sha384"),
    ],
)
def test_issued_by_any_usual_csca(key, sign_with):
    """A DSC that cryptography signed with a CSCA's key is accepted for each usual algorithm."""
    csca = foreign([CA_TRUE, CERT_SIGN, OWN_ID], key, sign_with=sign_with)
    dsc = foreign([ISSUER_ID], key, subject="DSC", sign_with=sign_with)
    check_issued_by(dsc, csca)


GOOD_CSCA = foreign([CA_TRUE, CERT_SIGN, OWN_ID])
GOOD_DSC = foreign([ISSUER_ID], subject="DSC")
SMALL_RSA = rsa.generate_private_key(65537, 1024)
UNKNOWN_CRITICAL = ("1.2.3.4", True, b"\x05\x00")


@pytest.mark.parametrize(
    ("dsc", "csca", "message"),
    [
        pytest.param(GOOD_DSC, foreign([CERT_SIGN, OWN_ID]), "is no CA", id="no-constraints"),
        pytest.param(
            GOOD_DSC, foreign([CA_TRUE, DIGITAL_SIGNATURE, OWN_ID]), "is no CA", id="no-cert-sign"
        ),
        pytest.param(
            foreign([ISSUER_ID], issuer="B"), GOOD_CSCA, "was issued by CN=B", id="other-name"
        ),
        pytest.param(foreign(), GOOD_CSCA, r"issuer key \(none\)", id="no-aki"),
        pytest.param(
            GOOD_DSC, foreign([CA_TRUE, CERT_SIGN]), r"CSCA's \(none\)", id="csca-without-ski"
        ),
        pytest.param(
            foreign([(AKI, False, bytes.fromhex("30038001aa"))]),
            GOOD_CSCA,
            "issuer key aa, expected the CSCA's aabbccdd",
            id="other-aki",
        ),
        pytest.param(
            foreign([ISSUER_ID], start=START - timedelta(days=1)),
            GOOD_CSCA,
            "begins 2025-12-31",
            id="before-the-csca",
        ),
        pytest.param(
            foreign([ISSUER_ID, UNKNOWN_CRITICAL]), GOOD_CSCA, "critical", id="unknown-critical"
        ),
        pytest.param(
            foreign([ISSUER_ID], OTHER_KEY), GOOD_CSCA, "was not signed by", id="other-key"
        ),
        pytest.param(
            foreign([ISSUER_ID], RSA_KEY, sign_with=PKCS1),
            GOOD_CSCA,
            "can't be checked",
            id="other-kind-of-key",
        ),
        pytest.param(
            foreign([ISSUER_ID], SMALL_RSA, sign_with=PKCS1),
            foreign([CA_TRUE, CERT_SIGN, OWN_ID], SMALL_RSA, sign_with=PKCS1),
            "can't be checked",
            id="rsa-1024",
        ),
    ],
)
def test_not_issued_by(dsc, csca, message):
    """A DSC that its supposed CSCA did not issue is refused by the step that failed."""
    with pytest.raises(CertificateError, match=message):
        check_issued_by(dsc, csca)


def test_two_signature_algorithms_are_refused():
    """The signed and the outer algorithm must be the same (RFC 5280 §4.1.1.2)."""
    ecdsa_sha256 = bytes.fromhex("06082a8648ce3d040302")
    at = GOOD_DSC.der.rindex(ecdsa_sha256)
    der = bytearray(GOOD_DSC.der)
    der[at + len(ecdsa_sha256) - 1] = 3
    with pytest.raises(CertificateError, match="can't be checked"):
        check_issued_by(Certificate.from_bytes(bytes(der)), GOOD_CSCA)


def test_unused_bits_of_a_signature_are_refused():
    """No byte outside the signed part can be changed to give a DSC another kid."""
    signed = next(dsc for dsc in iter(lambda: make_dsc(ONE), None) if not dsc.der[-1] & 1)
    count = len(signed.der) - len(cx.load_der_x509_certificate(signed.der).signature) - 1
    der = signed.der[:count] + b"\x01" + signed.der[count + 1 :]
    other = Certificate.from_bytes(der)
    assert other.kid != signed.kid
    with pytest.raises(CertificateError, match="can't be checked"):
        check_issued_by(other, ONE)


# --- building ----------------------------------------------------------------------------------

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(
    OPENSSL is None and not os.environ.get("CI"), reason="the program openssl is not installed"
)
BOTH_KEYS = pytest.mark.parametrize(
    ("csca_key", "dsc_key"),
    [
        pytest.param(EC_KEY, OTHER_KEY, id="es256-es256"),
        pytest.param(EC_KEY, RSA_KEY, id="es256-ps256"),
        pytest.param(RSA_KEY, EC_KEY, id="ps256-es256"),
    ],
)


def openssl(*arguments: str, **files: bytes) -> str:
    """Run openssl; {name} in an argument is a file with that content."""
    assert OPENSSL, "the program openssl is not installed"
    ran = subprocess.run([OPENSSL, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@needs_openssl
@BOTH_KEYS
def test_openssl_verifies_the_chain(csca_key, dsc_key, tmp_path):
    """`openssl verify -x509_strict` accepts a DSC with its CSCA."""
    csca = make_csca(csca_key)
    dsc = make_dsc(csca, csca_key, dsc_key)
    (tmp_path / "csca.pem").write_bytes(pem(csca.der))
    (tmp_path / "dsc.pem").write_bytes(pem(dsc.der))
    at = str(int((START + timedelta(days=1)).timestamp()))
    told = openssl(
        *("verify", "-x509_strict", "-check_ss_sig", "-attime", at),
        *("-CAfile", str(tmp_path / "csca.pem"), str(tmp_path / "dsc.pem")),
    )
    assert told.strip().endswith("OK")


@needs_openssl
def test_openssl_shows_the_extensions(tmp_path):
    """`openssl x509 -text` shows the profile: what is critical, and nothing more than is needed."""
    csca = make_csca()
    dsc = make_dsc(csca, kinds=("v", "r"), private_key_period=(START, END))
    shown = {}
    for name, der in (("csca", csca.der), ("dsc", dsc.der)):
        path = tmp_path / name
        path.write_bytes(der)
        lines = openssl("x509", "-inform", "DER", "-in", str(path), "-noout", "-text")
        body = lines.split("X509v3 extensions:")[1].split("Signature Algorithm")[0]
        shown[name] = [line.strip() for line in body.splitlines() if line.strip()]
    key_id, own_id = (":".join(f"{b:02X}" for b in x) for x in (csca.ski, dsc.ski))
    assert shown["csca"] == [
        *("X509v3 Basic Constraints: critical", "CA:TRUE, pathlen:0"),
        *("X509v3 Key Usage: critical", "Certificate Sign, CRL Sign"),
        *("X509v3 Subject Key Identifier:", key_id),
        *("X509v3 Authority Key Identifier:", key_id),
    ]
    assert shown["dsc"] == [
        *("X509v3 Authority Key Identifier:", key_id),
        *("X509v3 Subject Key Identifier:", own_id),
        *("X509v3 Key Usage: critical", "Digital Signature"),
        "X509v3 Extended Key Usage:",
        "1.3.6.1.4.1.1847.2021.1.2, 1.3.6.1.4.1.1847.2021.1.3",
        "X509v3 Private Key Usage Period:",
        "Not Before: Jan  1 00:00:00 2026 GMT, Not After: Jan  1 00:00:00 2036 GMT",
    ]


@needs_openssl
@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["es256", "ps256"])
def test_openssl_verifies_the_csr(key, tmp_path):
    """`openssl req -verify` accepts a CSR, which asks for the usage that a DSC has."""
    draft = csr_to_sign(key.public_key(), DSC_NAME)
    der = draft.finish(sign(key, draft.tbs))
    path = tmp_path / "dsc.csr"
    path.write_bytes(pem(der, "CERTIFICATE REQUEST"))
    assert "verify OK" in openssl("req", "-in", str(path), "-noout", "-verify")
    request = cx.load_der_x509_csr(der)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    usage, extended = request.extensions
    assert usage.critical
    assert usage.value.digital_signature
    assert [oid.dotted_string for oid in extended.value] == [VACCINATION]


@BOTH_KEYS
def test_cryptography_and_we_verify_the_chain(csca_key, dsc_key):
    """cryptography and check_issued_by both find that the CSCA issued itself and the DSC."""
    csca = make_csca(csca_key)
    dsc = make_dsc(csca, csca_key, dsc_key)
    issuer = cx.load_der_x509_certificate(csca.der)
    for issued in (csca, dsc):
        cx.load_der_x509_certificate(issued.der).verify_directly_issued_by(issuer)
        check_issued_by(issued, csca)
    assert dsc.public_key == dsc_key.public_key()
    own = cx.SubjectKeyIdentifier.from_public_key(dsc_key.public_key())
    assert dsc.ski == own.digest


def test_times_around_2050():
    """Times are UTCTime through 2049 and GeneralizedTime from 2050, in UTC, in whole seconds."""
    zone = timezone(timedelta(hours=7))
    csca = make_csca(
        not_before=datetime(2026, 1, 1, 6, 59, 59, 999_999, tzinfo=zone),
        not_after=datetime(2050, 1, 1, 7, tzinfo=zone),
    )
    assert b"\x17\x0d251231235959Z\x18\x0f20500101000000Z" in csca.der
    assert csca.not_before == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_serials_are_random():
    """A serial is positive, of at most 159 bits, and another one each time."""
    serials = [make_csca().serial for _ in range(20)]
    assert len(set(serials)) == 20
    assert all(0 < serial < 2**159 for serial in serials)
    assert max(serial.bit_length() for serial in serials) > 140


LEAF = make_dsc(ONE)
BERLIN = Subject("DE", "Amt", "DSC")
NAIVE = START.replace(tzinfo=None)


def dsc_of(**changes):
    def build():
        given = {
            "public_key": OTHER_KEY.public_key(),
            "subject": DSC_NAME,
            "csca": ONE,
            "not_before": START,
            "not_after": END,
        } | changes
        return dsc_to_sign(given.pop("public_key"), given.pop("subject"), **given)

    return build


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(dsc_of(public_key=P384_KEY.public_key()), "EC secp384r1", id="p384-dsc"),
        pytest.param(dsc_of(public_key=SMALL_RSA.public_key()), "RSA 1024", id="rsa-1024-dsc"),
        pytest.param(dsc_of(public_key=EC_KEY.public_key()), "a key of its own", id="csca-key"),
        pytest.param(dsc_of(csca=LEAF), "is no CSCA", id="dsc-as-csca"),
        pytest.param(dsc_of(csca=foreign([CA_TRUE, CERT_SIGN])), "is no CSCA", id="csca-no-ski"),
        pytest.param(
            dsc_of(csca=foreign([CA_TRUE, OWN_ID], P384_KEY, sign_with=(hashes.SHA384(), None))),
            "CSCA's key is EC secp384r1",
            id="p384-csca",
        ),
        pytest.param(dsc_of(subject=BERLIN), "country is DE", id="another-country"),
        pytest.param(dsc_of(kinds=()), "empty or unknown", id="no-kinds"),
        pytest.param(dsc_of(kinds=("v", "x")), "empty or unknown", id="unknown-kind"),
        pytest.param(
            dsc_of(not_before=START - timedelta(seconds=1)), "within the CSCA's", id="too-early"
        ),
        pytest.param(
            dsc_of(not_after=END + timedelta(seconds=1)), "within the CSCA's", id="too-late"
        ),
        pytest.param(dsc_of(not_after=START), "after its beginning", id="empty-validity"),
        pytest.param(dsc_of(not_before=NAIVE), "without an offset", id="naive-time"),
        pytest.param(
            dsc_of(private_key_period=(START, END + timedelta(days=1))),
            "private key period runs",
            id="key-period-too-long",
        ),
        pytest.param(dsc_of(serial=0), "the serial", id="serial-0"),
        pytest.param(dsc_of(serial=2**159), "the serial", id="serial-160-bits"),
        pytest.param(lambda: Subject("vn", "O", "CN"), "country", id="small-country"),
        pytest.param(lambda: Subject("VNM", "O", "CN"), "country", id="three-letters"),
        pytest.param(lambda: Subject("VN", "", "CN"), "organisation", id="empty-organisation"),
        pytest.param(lambda: Subject("VN", "O", "x" * 65), "common_name", id="long-name"),
        pytest.param(lambda: Subject("VN", "O", "a\nb"), "common_name", id="control-character"),
    ],
)
def test_what_must_not_be_built(build, message):
    """A certificate that breaks the profile is refused before anything is signed."""
    with pytest.raises(CertificateError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_64_vietnamese_characters_fit():
    """The limit of 64 counts characters of NFC, not bytes."""
    name = Subject("VN", "ế" * 64, "e\u0302\u0301" * 64)
    assert make_csca(name=name).common_name == "ế" * 64


DRAFT = dsc_to_sign(OTHER_KEY.public_key(), DSC_NAME, csca=ONE, not_before=START, not_after=END)
GOOD_SIGNATURE = sign(EC_KEY, DRAFT.tbs)
PSS_DRAFT = csr_to_sign(RSA_KEY.public_key(), DSC_NAME)


@pytest.mark.parametrize(
    ("draft", "signature"),
    [
        pytest.param(DRAFT, sign(OTHER_KEY, DRAFT.tbs), id="the-dsc-key-signed"),
        pytest.param(DRAFT, sign(EC_KEY, b"other"), id="another-message"),
        pytest.param(DRAFT, bytes(64), id="zeros"),
        pytest.param(DRAFT, b"\xff" * 64, id="above-n"),
        pytest.param(DRAFT, b"", id="empty"),
        pytest.param(DRAFT, GOOD_SIGNATURE[:-1], id="short"),
        pytest.param(DRAFT, EC_KEY.sign(DRAFT.tbs, ec.ECDSA(hashes.SHA256())), id="der"),
        pytest.param(PSS_DRAFT, bytes(256), id="pss-zeros"),
        pytest.param(
            PSS_DRAFT, RSA_KEY.sign(PSS_DRAFT.tbs, padding.PKCS1v15(), hashes.SHA256()), id="pkcs1"
        ),
        pytest.param(
            PSS_DRAFT,
            RSA_KEY.sign(
                PSS_DRAFT.tbs, padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256()
            ),
            id="pss-salt-20",
        ),
    ],
)
def test_a_bad_signature_makes_no_certificate(draft, signature):
    """finish refuses every signature that does not verify with the key that must sign."""
    with pytest.raises(CertificateError, match="the signature"):
        draft.finish(signature)


@given(st.integers(0, 511))
@settings(max_examples=50, deadline=None)
def test_one_flipped_bit_makes_no_certificate(bit):
    """A signature with one flipped bit is refused."""
    flipped = bytearray(GOOD_SIGNATURE)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CertificateError):
        DRAFT.finish(bytes(flipped))


# --- hostile names ---------------------------------------------------------------------------


def with_attribute(value: bytes) -> bytes:
    """A DSC whose subject has one more attribute, 1.2.3.4; its signature does not hold."""
    values = trees.load_der(dsc().der)
    subject = values[0][1][0][1][5]
    subject[1].append([0x31, trees.der(0x30, trees.der(6, bytes.fromhex("2a0304")), value)])
    return trees.dump_der(values)


def test_a_nested_name_is_not_built() -> None:
    """What is nested in an attribute that nobody knows is shown as its bytes, and at once."""
    data = with_attribute(trees.nested_der(MAX_CERTIFICATE_BYTES - 2000, 200))
    with at_most_calls(20_000):
        read = Certificate.from_bytes(data)
    assert ", 1.2.3.4=#3082" in read.subject
    assert len(read.subject) == 1001


def test_a_text_of_an_attribute_that_nobody_knows() -> None:
    """Text is text, in either way of reading."""
    data = with_attribute(trees.der(12, "chữ".encode()))
    for facts in (parse_strictly(data), parse_tolerantly(data)):
        assert facts.subject[-1] == ("1.2.3.4", "chữ")
