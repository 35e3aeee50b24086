"""The bytes of a CSCA, a DSC or a CSR, for a key on a token to sign.

What is written follows RFC 5280 and eu-dcc-hcert-spec §5: a DSC signs HCERTs and nothing else,
names its CSCA by name and key identifier, and never outlives it. asn1crypto is imported late,
because reading a DSC seldom needs it.

>>> from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
>>> csr_to_sign(generate_private_key(SECP384R1()).public_key(), Subject("VN", "Ministry", "DSC 1"))
Traceback (most recent call last):
    ...
vaxpass_sign.errors.CertificateError: the DSC's key is EC secp384r1, expected EC secp256r1 ...
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vaxpass_sign.errors import CertificateError
from vaxpass_sign.hcert.alg import Alg
from vaxpass_sign.x509.certificate import KIND_OIDS, Certificate
from vaxpass_sign.x509.draft import Subject, ToBeSigned, algorithm_identifier
from vaxpass_sign.x509.key import PublicKey, alg_of_key, describe_key

__all__ = ["csca_to_sign", "csr_to_sign", "dsc_to_sign"]

_SERIAL_BITS = 159
"""20 octets at most, the sign bit included (RFC 5280 §4.1.2.2)."""


def csca_to_sign(
    public_key: PublicKey,
    subject: Subject,
    *,
    not_before: datetime,
    not_after: datetime,
    serial: int | None = None,
) -> ToBeSigned:
    """A self-signed CSCA; its own key must sign it.

    Critical: basicConstraints (CA, path length 0) and keyUsage (keyCertSign, cRLSign). The
    subject key identifier is SHA-1 of the key's bits (RFC 5280 §4.2.1.2), and the authority key
    identifier is the same.

    ``not_before`` and ``not_after`` are aware datetimes; ``serial`` is random unless given.
    Raises: CertificateError when the key is neither P-256 nor RSA of 2048 to 4096 bits, the times
    are naive or the wrong way round, or the serial is out of bounds.
    """
    alg = _required_alg(public_key, "the CSCA's key")
    spki = _spki(public_key)
    extensions = [
        _extension("basic_constraints", {"ca": True, "path_len_constraint": 0}, critical=True),
        _extension("key_usage", {"key_cert_sign", "crl_sign"}, critical=True),
        _extension("key_identifier", spki.sha1),
        _extension("authority_key_identifier", {"key_identifier": spki.sha1}),
    ]
    fields = {
        "serial_number": _serial(serial),
        "issuer": _name(subject),
        "validity": _validity(*_period(not_before, not_after, "the CSCA's validity")),
        "subject": _name(subject),
        "subject_public_key_info": spki,
    }
    return ToBeSigned(_tbs(alg, fields, extensions), alg, public_key)


def dsc_to_sign(  # noqa: PLR0913  (a DSC has this many facts, all named at the call)
    public_key: PublicKey,
    subject: Subject,
    *,
    csca: Certificate,
    not_before: datetime,
    not_after: datetime,
    kinds: Sequence[str] = ("v",),
    private_key_period: tuple[datetime, datetime] | None = None,
    serial: int | None = None,
) -> ToBeSigned:
    """A DSC; the key of ``csca`` must sign it, so ``alg`` is that key's.

    keyUsage is critical and holds digitalSignature alone; the extended key usage names ``kinds``
    (``v`` vaccination, ``t`` test, ``r`` recovery). ``private_key_period`` says when the key may
    sign, within the DSC's validity: shorter than it, so that credentials don't outlive their DSC.

    Raises: CertificateError when the key is neither P-256 nor RSA of 2048 to 4096 bits or is the
    CSCA's own, ``csca`` is no CA of the subject's country or has no key identifier, or a period
    does not lie within the one that bounds it.
    """
    _required_alg(public_key, "the DSC's key")
    signing_key = _check_csca(csca, subject)
    if public_key == signing_key:
        raise CertificateError("the DSC's key is the CSCA's, expected a key of its own; make one")
    begin, end = _period(not_before, not_after, "the DSC's validity")
    bounds = (csca.not_before, csca.not_after)
    _check_within((begin, end), bounds, "the DSC's validity", "the CSCA's")
    spki = _spki(public_key)
    extensions = [
        _extension("authority_key_identifier", {"key_identifier": csca.ski}),
        _extension("key_identifier", spki.sha1),
        *_usage_extensions(kinds),
    ]
    if private_key_period is not None:
        signing = _period(*private_key_period, "the private key period")
        _check_within(signing, (begin, end), "the private key period", "the DSC's validity")
        value = {"not_before": signing[0], "not_after": signing[1]}
        extensions.append(_extension("private_key_usage_period", value))
    alg = _required_alg(signing_key, "the CSCA's key")
    fields = {
        "serial_number": _serial(serial),
        "issuer": _load_name(csca.subject_der),
        "validity": _validity(begin, end),
        "subject": _name(subject),
        "subject_public_key_info": spki,
    }
    return ToBeSigned(_tbs(alg, fields, extensions), alg, signing_key)


def csr_to_sign(
    public_key: PublicKey, subject: Subject, *, kinds: Sequence[str] = ("v",)
) -> ToBeSigned:
    """A certificate request (PKCS #10, RFC 2986) for a DSC; the key itself must sign it.

    It asks for the key usage and extended key usage that :func:`dsc_to_sign` writes.

    Raises: CertificateError when the key is neither P-256 nor RSA of 2048 to 4096 bits.
    """
    from asn1crypto import csr

    alg = _required_alg(public_key, "the DSC's key")
    info = csr.CertificationRequestInfo(
        {
            "version": "v1",
            "subject": _name(subject),
            "subject_pk_info": _spki(public_key),
            "attributes": [{"type": "extension_request", "values": [_usage_extensions(kinds)]}],
        }
    )
    return ToBeSigned(info.dump(), alg, public_key)


# --- checks ----------------------------------------------------------------------------------


def _required_alg(key: PublicKey | None, what: str) -> Alg:
    alg = alg_of_key(key)
    if alg is None:
        raise CertificateError(
            f"{what} is {describe_key(key)}, expected EC secp256r1 or RSA 2048 to 4096; "
            "make a new key of that type"
        )
    return alg


def _check_csca(csca: Certificate, subject: Subject) -> PublicKey:
    """The key that must sign. A DSC speaks for its CSCA's country, never for another."""
    usage = csca.key_usage
    if not csca.is_ca or csca.ski is None or (usage is not None and "keyCertSign" not in usage):
        raise CertificateError(
            f"{csca.subject} is no CSCA; expected basicConstraints CA true, keyCertSign and a "
            "subject key identifier; give the CSCA's certificate"
        )
    if csca.country not in (None, subject.country):
        raise CertificateError(
            f"the DSC's country is {subject.country}, expected the CSCA's; "
            "change the subject or give the CSCA of that country"
        )
    if csca.public_key is None:
        raise CertificateError(f"the CSCA's key is {csca.key_description}; give another CSCA")
    return csca.public_key


def _period(not_before: datetime, not_after: datetime, what: str) -> tuple[datetime, datetime]:
    """Both in UTC and whole seconds, because certificates hold no fractions (RFC 5280 §4.1.2.5)."""
    if not_before.tzinfo is None or not_after.tzinfo is None:
        raise CertificateError(
            f"{what} has a time without an offset, expected aware datetimes; add the time zone"
        )
    begin, end = (t.astimezone(UTC).replace(microsecond=0) for t in (not_before, not_after))
    if begin >= end:
        raise CertificateError(
            f"{what} runs from {begin.isoformat()} to {end.isoformat()}, "
            "expected an end after its beginning; swap or mend them"
        )
    return begin, end


def _check_within(
    inner: tuple[datetime, datetime], outer: tuple[datetime, datetime], what: str, bounds: str
) -> None:
    (begin, end), (first, last) = inner, outer
    if not (first <= begin and end <= last):
        raise CertificateError(
            f"{what} runs from {begin.isoformat()} to {end.isoformat()}, expected within {bounds}, "
            f"{first.isoformat()} to {last.isoformat()}; shorten it"
        )


def _serial(serial: int | None) -> int:
    if serial is None:
        return 1 + secrets.randbelow(2**_SERIAL_BITS - 1)
    if not 1 <= serial < 2**_SERIAL_BITS:
        raise CertificateError(
            f"the serial has {serial.bit_length()} bits and sign, expected a positive number of "
            f"at most {_SERIAL_BITS} bits; leave it out for a random one"
        )
    return serial


# --- ASN.1 -----------------------------------------------------------------------------------


def _tbs(alg: Alg, fields: dict[str, Any], extensions: list[Any]) -> bytes:
    from asn1crypto import x509

    tbs = x509.TbsCertificate(
        {
            "version": "v3",
            "signature": algorithm_identifier(alg),
            **fields,
            "extensions": extensions,
        }
    )
    return bytes(tbs.dump())


def _extension(name: str, value: object, *, critical: bool = False) -> dict[str, object]:
    return {"extn_id": name, "critical": critical, "extn_value": value}


def _usage_extensions(kinds: Sequence[str]) -> list[dict[str, object]]:
    if not kinds or not set(kinds) <= KIND_OIDS.keys():
        raise CertificateError(
            "the kinds that the DSC may sign are empty or unknown; expected one or more of "
            "v (vaccination), t (test), r (recovery)"
        )
    return [
        _extension("key_usage", {"digital_signature"}, critical=True),
        _extension("extended_key_usage", sorted(KIND_OIDS[kind] for kind in set(kinds))),
    ]


def _spki(key: PublicKey) -> Any:
    from asn1crypto import keys

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return keys.PublicKeyInfo.load(der)


def _name(subject: Subject) -> Any:
    from asn1crypto import x509

    return x509.Name.build(
        {
            "country_name": subject.country,
            "organization_name": subject.organisation,
            "common_name": subject.common_name,
        }
    )


def _load_name(der: bytes) -> Any:
    from asn1crypto import x509

    return x509.Name.load(der)


def _validity(begin: datetime, end: datetime) -> dict[str, Any]:
    from asn1crypto import x509

    # RFC 5280 §4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050 (and before 1950, which
    # UTCTime can't say).
    return {
        name: x509.Time({"utc_time" if 1950 <= moment.year < 2050 else "general_time": moment})
        for name, moment in (("not_before", begin), ("not_after", end))
    }
