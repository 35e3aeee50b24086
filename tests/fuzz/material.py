"""Keys, certificates and signatures for fuzzing, the same in every process.

A corpus of signed inputs is worth something only while its signatures hold, so the keys follow from
their names, serial numbers are fixed and ECDSA is deterministic (RFC 6979). Nothing here is secret.

>>> dsc("dsc").der == dsc("dsc").der and sign("dsc", b"m") == sign("dsc", b"m")
True
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256, shake_256

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from vaxpass_sign.check import TrustStore
from vaxpass_sign.x509 import Certificate, Subject, csca_to_sign, dsc_to_sign

__all__ = ["AT", "NOW", "TRUST", "csca", "dsc", "key", "sign", "sign_der", "sign_pkcs1", "trust"]

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
"""When the samples were issued."""
AT = NOW + timedelta(days=30)
"""For when they are verified."""

_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PRIMES = {"p": 816, "q": 114}
"""How far the first prime after a name's number is from it."""
_SALT = padding.PSS(padding.MGF1(SHA256()), salt_length=32)


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    """The private key of a name: RSA 2048 for "rsa", P-256 for any other."""
    if name == "rsa":
        return _rsa_key()
    number = int.from_bytes(sha256(name.encode()).digest(), "big") % (_P256_ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())


def _rsa_key() -> rsa.RSAPrivateKey:
    p, q = (_number(name) + gap for name, gap in _PRIMES.items())
    e, n = 65537, p * q
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(e, n)
    )
    return numbers.private_key()


def _number(name: str) -> int:
    """1024 bits, the two highest of them and the lowest set."""
    found = int.from_bytes(shake_256(name.encode()).digest(128), "big")
    return found | 3 << 1022 | 1


def sign_der(name: str, message: bytes) -> bytes:
    """A signature by the key of a name: ECDSA in DER, or PSS with a salt of 32 bytes."""
    private = key(name)
    if isinstance(private, rsa.RSAPrivateKey):
        return private.sign(message, _SALT, SHA256())
    return private.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))


def sign_pkcs1(message: bytes) -> bytes:
    """A signature by the RSA key as RS256 has it: PKCS #1 v1.5."""
    private = key("rsa")
    assert isinstance(private, rsa.RSAPrivateKey)
    return private.sign(message, padding.PKCS1v15(), SHA256())


def sign(name: str, message: bytes) -> bytes:
    """The same as COSE and JOSE have it: ECDSA as r‖s."""
    signature = sign_der(name, message)
    if name == "rsa":
        return signature
    r, s = decode_dss_signature(signature)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


@cache
def csca(name: str = "csca") -> Certificate:
    """A self-signed CA."""
    draft = csca_to_sign(
        key(name).public_key(),
        Subject("VN", "Fuzzing", f"CA {name}"),
        not_before=NOW - timedelta(days=365),
        not_after=NOW + timedelta(days=3650),
        serial=1,
    )
    return Certificate.from_bytes(draft.finish(sign(name, draft.tbs)))


@cache
def dsc(
    name: str,
    *,
    issuer: str = "csca",
    kinds: tuple[str, ...] = ("v", "t", "r"),
    begin: int = -30,
    days: int = 730,
) -> Certificate:
    """A DSC for the key of a name, valid from ``begin`` to ``days`` days after NOW."""
    draft = dsc_to_sign(
        key(name).public_key(),
        Subject("VN", "Fuzzing", f"DSC {name}"),
        csca=csca(issuer),
        not_before=NOW + timedelta(days=begin),
        not_after=NOW + timedelta(days=days),
        kinds=kinds,
        serial=int.from_bytes(sha256(name.encode()).digest()[:8], "big") + 2,
    )
    return Certificate.from_bytes(draft.finish(sign(issuer, draft.tbs)))


TRUST = {
    "dsc": dsc("dsc"),
    "rsa": dsc("rsa"),
    "tests": dsc("tests", kinds=("t",)),
    "ended": dsc("ended", days=10),
    "later": dsc("later", begin=60),
    "csca": csca(),
}
"""The certificates that are trusted, by the names of their keys."""


@cache
def trust(*, anchored: bool) -> TrustStore:
    """A store of these certificates, which has refused the stranger's."""
    refused = {dsc("stranger").kid: "it is a stranger's"} if anchored else {}
    return TrustStore(TRUST.values(), anchored=anchored, refused=refused)
