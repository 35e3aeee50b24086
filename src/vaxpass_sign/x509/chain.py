"""The chain of one: was this DSC issued by this CSCA?

The trust framework has no intermediate: each DSC is issued by its country's CSCA, which is trusted
out of band. Revocation of DSCs (CRL, OCSP) and the CSCA's own expiry are left to the trust list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA224

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.x509.signature import SHA2, Hashes, check_signature

if TYPE_CHECKING:
    from vaxpass_sign.x509.certificate import Certificate

__all__ = ["check_issued_by"]

_HASHES: Hashes = {"sha224": SHA224, **SHA2}

# Extensions that this package processes; a critical one outside of them must lead to refusal
# (RFC 5280 §4.2). Policies are listed because none is required here (§6.1.1, any-policy).
_PROCESSED = frozenset(
    {"2.5.29.14", "2.5.29.15", "2.5.29.16", "2.5.29.19", "2.5.29.32", "2.5.29.35", "2.5.29.37"}
)


def check_issued_by(dsc: Certificate, csca: Certificate) -> None:
    """Return when ``csca`` issued ``dsc``; nothing is said about the time now.

    1. The CSCA is a CA, and its key usage, where given, holds keyCertSign (RFC 5280 §6.1.4 k, n).
    2. The DSC's issuer is the CSCA's subject, byte for byte.
    3. The DSC's authority key identifier is the CSCA's subject key identifier.
    4. The DSC's validity begins within the CSCA's.
    5. Neither holds a critical extension that is not processed here (§4.2).
    6. The CSCA's key signed the DSC: ECDSA, PKCS #1 v1.5 or PSS, with SHA-2.

    Raises: CertificateError that names the first step that failed.
    """
    name = f"DSC {dsc.kid.hex()}"
    usage = csca.key_usage
    if not csca.is_ca or (usage is not None and "keyCertSign" not in usage):  # 1
        raise CertificateError(
            f"{csca.subject} is no CA (basicConstraints CA {csca.is_ca}, key usage "
            f"{_listed(usage)}), expected CA True and keyCertSign; give the CSCA's certificate"
        )
    if dsc.issuer_der != csca.subject_der:  # 2
        raise CertificateError(
            f"{name} was issued by {dsc.issuer}, expected {csca.subject}; find its own CSCA"
        )
    if dsc.aki is None or dsc.aki != csca.ski:  # 3
        raise CertificateError(
            f"{name} names the issuer key {_hex(dsc.aki)}, expected the CSCA's {_hex(csca.ski)}; "
            "find the CSCA with that key"
        )
    if not csca.not_before <= dsc.not_before <= csca.not_after:  # 4
        raise CertificateError(
            f"{name} begins {dsc.not_before:%Y-%m-%d}, expected within the CSCA's "
            f"{csca.not_before:%Y-%m-%d} to {csca.not_after:%Y-%m-%d}; find the CSCA of that time"
        )
    from asn1crypto import x509

    try:
        signed = x509.Certificate.load(dsc.der, strict=True)
        _check_critical(name, signed)  # 5
        _check_critical("the CSCA", x509.Certificate.load(csca.der, strict=True))
        _check_signature(name, signed, csca)  # 6
    # ValueError and its like come from asn1crypto (odd algorithm parameters) and from keys that
    # cryptography can't use.
    except (ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as error:
        raise CertificateError(
            f"{name}: its signature by {csca.key_description} can't be checked; expected ECDSA, "
            "PKCS #1 v1.5 or PSS with SHA-2; ask its country for another DSC"
        ) from error


def _check_critical(name: str, certificate: Any) -> None:
    for extension in certificate["tbs_certificate"]["extensions"]:
        oid = extension["extn_id"].dotted
        if extension["critical"].native and oid not in _PROCESSED:
            raise CertificateError(
                f"{name} holds the critical extension {oid}, which is not understood here, so it "
                "must be refused (RFC 5280 §4.2); ask its country for another certificate"
            )


def _check_signature(name: str, signed: Any, csca: Certificate) -> None:
    tbs, algorithm = signed["tbs_certificate"], signed["signature_algorithm"]
    # RFC 5280 §4.1.1.2: the signed algorithm identifier and the outer one are the same.
    if tbs["signature"].dump() != algorithm.dump():
        raise ValueError("two different signature algorithms")
    bits = signed["signature_value"]
    # A signature is whole bytes. Where its last bit is 0, a count of unused bits could be changed
    # and give the same certificate another kid.
    if bits.contents[0] != 0:
        raise ValueError("a signature with unused bits")
    try:
        check_signature(
            csca.public_key, algorithm, algorithm.hash_algo, bits.native, tbs.dump(), _HASHES
        )
    except InvalidSignature as error:
        raise CertificateError(
            f"{name} was not signed by the key of {csca.subject}; do not use it, "
            "get it again from its country"
        ) from error


def _listed(names: frozenset[str] | None) -> str:
    return "absent" if names is None else "+".join(sorted(names)) or "empty"


def _hex(identifier: bytes | None) -> str:
    return "(none)" if identifier is None else identifier.hex()
