"""Software CSCAs, DSCs and issuers for tests; the same building code as production uses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vaxpass_sign.check import TrustStore
from vaxpass_sign.issuer import Issuer
from vaxpass_sign.keys.software import SoftwareSigner
from vaxpass_sign.record.model import VaccinationRecord
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
"""The moment at which the tests' issuers issue."""
AT = NOW + timedelta(days=30)
"""A moment at which what they issued is valid."""

RECORD = VaccinationRecord(
    surname="Nguyễn",
    given_name="Thị Minh Khai",
    birth_date="1987-04-12",
    product="EU/1/20/1528",
    dose_number=2,
    dose_total=2,
    vaccination_date="2021-11-20",
)


def clock() -> float:
    return NOW.timestamp()


def signer_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> SoftwareSigner:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SoftwareSigner.from_pem(pem)


@cache
def private_key(name: str):
    """A key by name: ``rsa…`` is RSA 2048, anything else P-256. The same for the whole session."""
    if name.startswith("rsa"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def sign_csca(key_name: str = "csca") -> Certificate:
    signer = signer_of(private_key(key_name))
    draft = csca_to_sign(
        signer.public_key,
        Subject("VN", "Test ministry", f"CSCA {key_name}"),
        not_before=NOW - timedelta(days=365),
        not_after=NOW + timedelta(days=3650),
    )
    return Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))


@cache
def csca() -> Certificate:
    return sign_csca()


def sign_dsc(key_name: str = "dsc", public_key=None, **changes) -> Certificate:
    """A DSC of the test CSCA for a named key, or for any public key; valid for two years."""
    signer = signer_of(private_key("csca"))
    facts = {
        "csca": csca(),
        "not_before": NOW - timedelta(days=30),
        "not_after": NOW + timedelta(days=730),
    } | changes
    draft = dsc_to_sign(
        public_key or private_key(key_name).public_key(),
        Subject("VN", "Test ministry", f"DSC {key_name}"),
        **facts,
    )
    return Certificate.from_bytes(draft.finish(signer.sign([draft.tbs])[0]))


_cached_dsc = cache(sign_dsc)


def dsc(key_name: str = "dsc") -> Certificate:
    """The named key's DSC; the same for the whole session."""
    return _cached_dsc(key_name)


def make_issuer(key_name: str = "dsc", **changes) -> Issuer:
    """An issuer with a software key, whose clock stands at NOW."""
    facts = {
        "signer": signer_of(private_key(key_name)),
        "dsc": changes.pop("dsc", None) or dsc(key_name),
        "country": "VN",
        "name": "Bộ Y tế",
        "clock": clock,
    } | changes
    return Issuer(**facts)


def trust(*dscs: Certificate) -> TrustStore:
    return TrustStore(dscs or [dsc()])
