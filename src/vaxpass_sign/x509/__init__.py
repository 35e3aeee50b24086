"""DSC and CSCA: what one says, who issued it, and the bytes of one to be signed elsewhere.

Rules that this package keeps:

* Reading takes bytes and raises CertificateError, nothing else, whatever the bytes are.
* The kid is the first 8 bytes of SHA-256 over the DER (eu-dcc-hcert-spec §2.6.3).
* Published DSCs that break strict parsers are read all the same: cryptography first, asn1crypto
  (imported late) for those that it refuses.
* Building is pure and never sees a private key: it gives bytes to sign, takes the signature of a
  token, and lets no certificate out whose signature does not verify.

>>> from datetime import UTC, datetime
>>> from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
>>> from vaxpass_sign.hcert.alg import Alg
>>> from vaxpass_sign.x509 import Subject, csca_to_sign
>>> draft = csca_to_sign(
...     generate_private_key(SECP256R1()).public_key(),
...     Subject(country="VN", organisation="Ministry of Health", common_name="CSCA"),
...     not_before=datetime(2026, 1, 1, tzinfo=UTC),
...     not_after=datetime(2036, 1, 1, tzinfo=UTC),
... )
>>> draft.alg is Alg.ES256
True
>>> draft.finish(bytes(64))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.CertificateError: the signature does not verify with EC secp256r1 ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vaxpass_sign.x509.certificate import (
    DSC_OIDS,
    MAX_CERTIFICATE_BYTES,
    Certificate,
    load_certificates,
    pem,
    read_certificate,
)
from vaxpass_sign.x509.chain import check_issued_by
from vaxpass_sign.x509.key import PublicKey, alg_of_key, describe_key

if TYPE_CHECKING:
    from vaxpass_sign.x509.building import csca_to_sign, csr_to_sign, dsc_to_sign
    from vaxpass_sign.x509.draft import Subject, ToBeSigned

__all__ = [
    "DSC_OIDS",
    "MAX_CERTIFICATE_BYTES",
    "Certificate",
    "PublicKey",
    "Subject",
    "ToBeSigned",
    "alg_of_key",
    "check_issued_by",
    "csca_to_sign",
    "csr_to_sign",
    "describe_key",
    "dsc_to_sign",
    "load_certificates",
    "pem",
    "read_certificate",
]

# Verifying a credential reads certificates and builds none, and it is done by a program that
# starts anew for each: the building half is imported when it is first used.
_BUILDING = {
    "Subject": "draft",
    "ToBeSigned": "draft",
    "csca_to_sign": "building",
    "csr_to_sign": "building",
    "dsc_to_sign": "building",
}


def __getattr__(name: str) -> object:
    if name not in _BUILDING:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_BUILDING[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
